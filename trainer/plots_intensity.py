"""Sentiment intensity: gold against predicted, from the predictions beside the results files."""

from pathlib import Path

import numpy as np

from trainer.leaderboard_format import format_score
from trainer.metric_names import METRICS
from trainer.plots_style import COLORS, Picture, entry_title, new_figure, save
from trainer.predictions_file import read_predictions
from trainer.results_groups import Entry, Section

_MANY = 3000  # more points are drawn smaller
_JITTER = 0.05


def draw_intensity(section: Section, entry: Entry, path: Path) -> Picture | None:
    """Points of all seeds with the identity line; `None` without gold sentiment or predictions."""
    gold, predicted, unparsed = intensities(entry)
    if not len(gold):
        return None
    title = entry_title(section, entry)
    scores = [f"{METRICS[key].title} {format_score(METRICS[key], entry.scores.get(key))}" for key in ("mae", "corr")]
    reach = 1.05 * max(3.0, np.abs(gold).max(), np.abs(predicted).max())
    jitter = np.random.default_rng(0).uniform(-_JITTER, _JITTER, (2, len(gold)))
    style = {"s": 12 if len(gold) <= _MANY else 6, "alpha": opacity(len(gold)), "linewidths": 0}
    with new_figure(5.0, 5.4) as figure:
        axis = figure.add_subplot()
        axis.plot([-reach, reach], [-reach, reach], color="black", linewidth=0.8, linestyle="--")
        axis.scatter(gold + jitter[0], predicted + jitter[1], color=COLORS[0], zorder=3, **style)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="gold", ylabel="predicted")
        figure.suptitle(f"{title}\n{', '.join(scores)}", x=0.01, ha="left", fontsize=10.5)
        return save(figure, path, section.benchmark, f"Intensity, {title}", _caption(entry, len(gold), unparsed))


def opacity(points: int) -> float:
    """The more points, the fainter each, so that many can be told from few on the same spot."""
    return max(0.12, min(0.35, 800 / points))


def intensities(entry: Entry) -> tuple[np.ndarray, np.ndarray, int]:
    """(gold, predicted, how many outputs were no label) of all seeds; empty where any seed has no predictions."""
    gold, predicted, unparsed = [], [], 0
    for one in entry.results:
        rows = read_predictions(one)
        if rows is None:
            return np.zeros(0), np.zeros(0), 0
        for row in rows:
            if row["dataset"] != entry.benchmark or row["sentiment"] is None:
                continue
            if row["predicted_sentiment"] is None:
                unparsed += 1
            else:
                gold.append(row["sentiment"])
                predicted.append(row["predicted_sentiment"])
    return np.array(gold), np.array(predicted), unparsed


def _caption(entry: Entry, points: int, unparsed: int) -> str:
    seeds = ("Seed " if len(entry.seeds) == 1 else "Seeds ") + ", ".join(map(str, entry.seeds))
    left_out = f"; {unparsed:,} outputs that are no label are not drawn" if unparsed else ""
    return (
        f"{seeds}: {points:,} predictions, each moved at random by at most {_JITTER}, the darker the more{left_out}. "
        "Dashed: predicted equals gold."
    )
