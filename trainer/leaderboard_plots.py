"""Pictures of a leaderboard: a bar chart of the ranking metric per benchmark, and confusion matrices.

Drawn with matplotlib's Agg backend, without a display; where matplotlib is not installed nothing is drawn. The PNG
files carry no date or version, so the same results give the same bytes.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from trainer.metric_names import Metric
from trainer.results_groups import Entry, Section, primary_metric

_COLORS = ("#3b6ea5", "#c8743a", "#5b9a68", "#8d6bb0", "#b8505f", "#7a7a7a")
_BAR_INCHES, _DPI = 0.42, 120


def write_plots(tables: Mapping[str, Sequence[Section]], folder: Path) -> list[Path]:
    """Draw all pictures of `build_sections`' tables.

    Writes `<benchmark>-<metric>.png` for each benchmark that is ranked, and for each section whose first entry has
    confusion matrices `<benchmark>-protocol<number>-confusion.png`, summed over that entry's seeds.

    Returns:
        The files written; none where matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for benchmark, sections in tables.items():
        metric = primary_metric([entry for section in sections for entry in section.entries])
        if metric is not None:
            written.append(_draw_bars(benchmark, metric, sections, folder / f"{benchmark}-{metric.key}.png"))
        for section in sections:
            labels, columns, matrix = summed_confusion(section.entries[0], benchmark)
            if labels:
                path = folder / f"{benchmark}-protocol{section.number}-confusion.png"
                written.append(_draw_confusion(section, labels, columns, matrix, path))
    return written


def summed_confusion(entry: Entry, benchmark: str) -> tuple[list[str], list[str], np.ndarray]:
    """(gold labels, columns, counts summed over the seeds).

    The columns are the labels, and `no label` where an output was unparsable or outside the set. No labels where a run
    lacks the matrix or has another label set.
    """
    parts = [one.content["confusion"].get(benchmark) for one in entry.results]
    if any(part is None or part["labels"] != parts[0]["labels"] for part in parts):
        return [], [], np.zeros((0, 0), dtype=int)
    labels, matrix = parts[0]["labels"], np.sum([part["matrix"] for part in parts], axis=0)
    other = np.sum([part.get("other", [0] * len(labels)) for part in parts], axis=0)
    if other.any():
        return labels, [*labels, "no label"], np.column_stack([matrix, other])
    return labels, labels, matrix


def _new_figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Software": None})
    return path


def _draw_bars(benchmark: str, metric: Metric, sections: Sequence[Section], path: Path) -> Path:
    """One horizontal bar per entry, one colour per protocol, the deviation over seeds as a whisker."""
    lines = [(section, entry) for section in sections for entry in section.entries]
    figure, axes = _new_figure(8.0, 1.4 + _BAR_INCHES * (len(lines) + 0.6 * len(sections)))
    scale = 100 if metric.kind == "percent" else 1
    positions, at = [], 0.0
    for number, (section, entry) in enumerate(lines):
        at += 0.6 if number and section is not lines[number - 1][0] else 0.0
        positions.append(at)
        at += 1.0
        _draw_bar(axes, positions[-1], entry, metric, scale, _COLORS[(section.number - 1) % len(_COLORS)])
    axes.set_yticks(positions, [_bar_name(section, entry) for section, entry in lines])
    axes.set_ylim(positions[-1] + 0.6, -0.6)  # the first entry on top
    _, right = axes.get_xlim()
    axes.set_xlim(0, 112 if metric.kind == "percent" else 1.15 * right)  # room for the number beside the bar
    if metric.kind == "percent":
        axes.set_xticks(range(0, 101, 20))
    better = "lower" if metric.lower_is_better else "higher"
    axes.set_xlabel(f"{metric.title}{' (%)' if metric.kind == 'percent' else ''}, {better} is better")
    protocols = ": one colour per protocol; colours are not comparable" if len(sections) > 1 else ""
    axes.set_title(f"{benchmark}{protocols}", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, path)


def _draw_bar(axes, position: float, entry: Entry, metric: Metric, scale: int, color: str) -> None:
    score = entry.scores.get(metric.key)
    if score is None or score.mean is None:
        axes.text(0, position, " n/a", va="center")
        return
    mean, deviation = scale * score.mean, scale * (score.std or 0)
    axes.barh(position, mean, height=0.7, color=color, xerr=deviation or None, ecolor="black", capsize=3)
    text = f"{mean:.2f}" if metric.kind == "percent" else f"{mean:.3f}"
    axes.annotate(text, (mean + deviation, position), xytext=(6, 0), textcoords="offset points", va="center")


def _bar_name(section: Section, entry: Entry) -> str:
    modalities = "+".join(name[0].upper() for name in section.protocol["modalities"])
    seeds = f"{len(entry.seeds)} seed{'s' if len(entry.seeds) > 1 else ''}"
    return f"{entry.name}\nprotocol {section.number}, {modalities}, {seeds}"


def _draw_confusion(section: Section, labels: list[str], columns: list[str], matrix: np.ndarray, path: Path) -> Path:
    """Shares of each gold class as colour, counts as numbers."""
    entry, support = section.entries[0], matrix.sum(axis=1)
    shares = matrix / np.maximum(support[:, None], 1)
    figure, axes = _new_figure(2.6 + 0.75 * len(columns), 2.0 + 0.62 * len(labels))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axes.set_yticks(range(len(labels)), [f"{label} ({count})" for label, count in zip(labels, support, strict=True)])
    axes.set(xlabel="predicted", ylabel="gold (samples)")
    seeds = ("seed " if len(entry.seeds) == 1 else "seeds ") + ", ".join(map(str, entry.seeds))
    axes.set_title(f"{section.benchmark}, protocol {section.number}: {entry.name}, {seeds}", loc="left", fontsize=10)
    figure.colorbar(image, label="share of the gold class")
    return _save(figure, path)
