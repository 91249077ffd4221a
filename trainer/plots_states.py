"""t-SNE of the text state before and after fusion, coloured by emotion and by data set, as in the paper."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.leaderboard_format import modality_letters
from trainer.plots_style import COLORS, GREY, Picture, new_figure, save
from trainer.predictions_file import read_predictions
from trainer.results_file import Results
from trainer.states_file import read_states

MOST_SAMPLES, FEWEST_SAMPLES = 2000, 5
NO_EMOTION = "no gold emotion"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


def draw_states(results: Results, benchmark: str, path: Path) -> Picture | None:
    """Two rows (before, after) of two panels (emotion, data set); `None` without states or predictions beside.

    Raises:
        ValueError: an id of the states is none of the predictions.
    """
    states, rows = read_states(results), read_predictions(results)
    if states is None or rows is None or len(states[0]) < FEWEST_SAMPLES:
        return None
    ids, before, after = states
    chosen = choose(len(ids))
    emotions, datasets = _gold(results, [ids[index] for index in chosen], rows)
    title = f"Text states of {results.run}, seed {results.seed}, {modality_letters(results.protocol['modalities'])}"
    with new_figure(9.6, 9.0) as figure:
        axes = figure.subplots(3, 2, height_ratios=(1, 1, 0.16))  # the last row holds the legends
        for line, (name, matrix) in zip(axes, (("before", before), ("after", after)), strict=False):
            points = embed(matrix[chosen])
            _scatter(line[0], points, emotions, _order(results, emotions))
            _scatter(line[1], points, datasets, sorted(set(datasets)))
            line[0].set_title(f"{name} fusion, by gold emotion")
            line[1].set_title(f"{name} fusion, by data set")
        for drawn, place in zip(axes[1], axes[2], strict=True):
            place.set_axis_off()
            place.legend(*drawn.get_legend_handles_labels(), loc="upper left", ncols=3, fontsize=8, frameon=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        return save(figure, path, benchmark, f"t-SNE, {title}", _caption(len(chosen), len(ids)))


def choose(samples: int) -> np.ndarray:
    """Indices of at most MOST_SAMPLES samples, the same on every call, in order."""
    if samples <= MOST_SAMPLES:
        return np.arange(samples)
    return np.sort(np.random.default_rng(0).choice(samples, MOST_SAMPLES, replace=False))


def embed(states: np.ndarray) -> np.ndarray:
    """t-SNE of (n, d) states, (n, 2); the same bytes on every call: seeded, and on one thread."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if not np.ptp(states, axis=0).any():
        return np.zeros((len(states), 2))  # all states are one point, which t-SNE would divide by
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        return TSNE(init="pca", perplexity=min(30, (len(states) - 1) / 3), random_state=0).fit_transform(states)


def _gold(results: Results, ids: Sequence[str], rows: Sequence[dict]) -> tuple[list[str], list[str]]:
    known = {row["id"]: row for row in rows}
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise ValueError(f"{results.path}: states: expected ids of the predictions, got {unknown[0]!r}")
    found = [known[name] for name in ids]
    return [row["emotion"] or NO_EMOTION for row in found], [row["dataset"] for row in found]


def _order(results: Results, emotions: Sequence[str]) -> list[str]:
    """Rows without a gold emotion first, that is, below the others; then the emotions as the benchmarks order them."""
    found = set(emotions)
    listed = dict.fromkeys(name for part in results.content["confusion"].values() for name in part["labels"])
    own = [name for name in listed if name in found]
    return [*([NO_EMOTION] if NO_EMOTION in found else []), *own, *sorted(found - {*own, NO_EMOTION})]


def _scatter(axis, points: np.ndarray, names: Sequence[str], order: Sequence[str]) -> None:
    size = 16 if len(points) <= 600 else 8
    place = 0
    for name in order:
        members = points[[other == name for other in names]]
        style = {"color": GREY, "marker": ".", "alpha": 0.4}
        if name != NO_EMOTION:
            style = {"color": COLORS[place % len(COLORS)], "marker": _MARKERS[place % len(_MARKERS)], "alpha": 0.75}
            place += 1
        axis.scatter(members[:, 0], members[:, 1], s=size, linewidths=0, label=f"{name} ({len(members)})", **style)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(True)


def _caption(drawn: int, samples: int) -> str:
    part = f"{drawn:,} of {samples:,} samples, drawn at random. " if drawn < samples else f"{samples:,} samples. "
    return part + "t-SNE keeps neighbours together; sizes of groups and distances between them mean nothing."
