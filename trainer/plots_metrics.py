"""Bars of metrics with their spread: one picture of the ranking metric, one of the main metrics side by side."""

from collections.abc import Sequence
from pathlib import Path

from trainer.leaderboard_format import format_value
from trainer.metric_names import METRICS, Metric
from trainer.plots_style import COLORS, MOST_SECTIONS, Picture, new_figure, protocol_name, save
from trainer.results_groups import Entry, Score, Section, primary_metric

MAIN_METRICS = ("mae", "corr", "acc7", "acc2_has0", "acc2_non0", "f1_non0", "accuracy", "weighted_f1", "macro_f1")
_MOST_ENTRIES = 12
_BAR_INCHES, _GAP = 0.36, 0.6
_WHISKERS = "Whiskers: the bootstrap interval for one seed, the standard deviation over the seeds for several."


def draw_metrics(benchmark: str, sections: Sequence[Section], folder: Path) -> list[Picture]:
    """`<benchmark>-<metric>.png` of the metric that ranks, and `<benchmark>-metrics.png` where there are several."""
    entries = [entry for section in sections for entry in section.entries]
    primary = primary_metric(entries)
    if primary is None:
        return []
    found = {key for entry in entries for key in entry.scores}
    main = [METRICS[key] for key in MAIN_METRICS if key in found]
    title = f"{benchmark}: {primary.title}"
    pictures = [_draw(benchmark, title, [primary], sections, folder / f"{benchmark}-{primary.key}.png")]
    if len(main) > 1:
        title = f"{benchmark}: main metrics"
        pictures.append(_draw(benchmark, title, main, sections, folder / f"{benchmark}-metrics.png"))
    return pictures


def _draw(benchmark: str, title: str, metrics: Sequence[Metric], sections: Sequence[Section], path: Path) -> Picture:
    drawn = sections[:MOST_SECTIONS]
    lines = [(section, entry) for section in drawn for entry in section.entries[:_MOST_ENTRIES]]
    positions = _positions(lines)
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    height = 1.1 + _BAR_INCHES * (positions[-1] + 1)
    width = 8.0 if columns == 1 else 2.6 + 2.5 * columns
    with new_figure(width, 0.7 + rows * height) as figure:
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        for axis, metric in zip(axes, metrics, strict=False):
            _draw_panel(axis, metric, lines, positions)
        for axis in list(axes)[len(metrics) :]:
            axis.remove()
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        return save(figure, path, benchmark, title, _caption(sections))


def _positions(lines: Sequence[tuple[Section, Entry]]) -> list[float]:
    """Where the bars stand, with a gap between sections."""
    positions, at = [], 0.0
    for number, (section, _) in enumerate(lines):
        at += _GAP if number and section is not lines[number - 1][0] else 0.0
        positions.append(at)
        at += 1.0
    return positions


def _draw_panel(axis, metric: Metric, lines: Sequence[tuple[Section, Entry]], positions: Sequence[float]) -> None:
    scale = 100 if metric.kind == "percent" else 1
    ends = []
    for (section, entry), position in zip(lines, positions, strict=True):
        color = COLORS[(section.number - 1) % len(COLORS)]
        ends.append(_draw_bar(axis, position, entry.scores.get(metric.key), metric, scale, color))
    axis.set_yticks(positions, [_name(section, entry) for section, entry in lines], fontsize=8.5)
    axis.set_ylim(positions[-1] + 0.6, -0.6)  # the first entry on top
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    high = 100 if metric.kind == "percent" else max(high, 1e-9)
    room = 0.16 if len(axis.figure.axes) == 1 else 0.34  # for the number beside the bar
    axis.set_xlim(1.05 * min(low, 0), high + room * (high - min(low, 0)))
    if metric.kind == "percent":
        axis.set_xticks(range(0, 101, 25))
    better = "lower" if metric.lower_is_better else "higher"
    axis.set_xlabel(f"{metric.title}{' (%)' if metric.kind == 'percent' else ''}, {better} is better")


def _draw_bar(axis, position: float, score: Score | None, metric: Metric, scale: int, color: str) -> tuple:
    """Draw one bar; returns the lowest and highest point that it reaches."""
    if score is None or score.mean is None:
        axis.text(0, position, " n/a", va="center")
        return 0, 0
    low, high = spread(score)
    mean = scale * score.mean
    axis.barh(position, mean, height=0.7, color=color)
    if high > low:
        whisker = [[max(mean - scale * low, 0)], [max(scale * high - mean, 0)]]
        axis.errorbar(mean, position, xerr=whisker, fmt="none", ecolor="black", elinewidth=1, capsize=2.5)
    end = max(scale * high, mean, 0)
    text = format_value(metric, score.mean)
    axis.annotate(text, (end, position), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5)
    return min(scale * low, mean), end


def spread(score: Score) -> tuple[float, float]:
    """Ends of the whisker: the interval of one seed, mean ± deviation of several, the value itself without either."""
    if score.interval is not None:
        return score.interval
    return score.mean - (score.std or 0), score.mean + (score.std or 0)


def _name(section: Section, entry: Entry) -> str:
    seeds = f"{len(entry.seeds)} seed{'s' if len(entry.seeds) > 1 else ''}"
    return f"{entry.name}, {seeds}\n{protocol_name(section)}"


def _caption(sections: Sequence[Section]) -> str:
    parts = [_WHISKERS]
    if len(sections) > 1:
        parts.append("One colour for each protocol; bars of different protocols are not comparable.")
    if len(sections) > len(COLORS):
        parts.append(f"Colours come again after {len(COLORS)} protocols.")
    if len(sections) > MOST_SECTIONS:
        parts.append(f"Only the first {MOST_SECTIONS} of {len(sections)} protocols are drawn.")
    cut = [section for section in sections[:MOST_SECTIONS] if len(section.entries) > _MOST_ENTRIES]
    if cut:
        numbers = ", ".join(str(section.number) for section in cut)
        parts.append(f"Only the first {_MOST_ENTRIES} entries of protocol {numbers} are drawn.")
    return " ".join(parts)
