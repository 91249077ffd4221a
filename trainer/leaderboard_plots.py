"""All pictures of a leaderboard; where matplotlib is not installed there are none."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from trainer.metric_names import OVERALL
from trainer.plots_confusion import draw_confusion
from trainer.plots_intensity import draw_intensity
from trainer.plots_metrics import draw_metrics
from trainer.plots_states import draw_states
from trainer.plots_style import Picture
from trainer.results_groups import Entry, Section


def write_plots(sections: Mapping[str, Sequence[Section]], folder: Path, all_entries: bool = False) -> list[Picture]:
    """Draw the pictures of `build_sections`' result.

    Writes for each benchmark that is ranked `<benchmark>-<metric>.png` and `<benchmark>-metrics.png` (bars with their
    spread); for each section `<benchmark>-protocol<number>-confusion.png`, `-intensity.png` (gold against predicted
    sentiment) and `-states.png` (t-SNE, under `overall`), where its files have what that needs.

    Args:
        folder: made where it does not exist.
        all_entries: draw every entry of a section, the second as `...-confusion-2.png`, instead of the first alone.
    """
    if find_spec("matplotlib") is None:
        return []
    pictures = []
    for benchmark, parts in sections.items():
        pictures += draw_metrics(benchmark, parts, folder)
        for section in parts:
            pictures += _draw_section(section, folder, all_entries)
    return pictures


def _draw_section(section: Section, folder: Path, all_entries: bool) -> list[Picture]:
    pictures = []
    for number, entry in enumerate(section.entries if all_entries else section.entries[:1], start=1):
        start, end = f"{section.benchmark}-protocol{section.number}-", f"-{number}.png" if number > 1 else ".png"
        pictures.append(draw_confusion(section, entry, folder / f"{start}confusion{end}"))
        pictures.append(draw_intensity(section, entry, folder / f"{start}intensity{end}"))
        if section.benchmark == OVERALL:
            pictures.append(_draw_states(entry, folder / f"{start}states{end}"))
    return [picture for picture in pictures if picture is not None]


def _draw_states(entry: Entry, path: Path) -> Picture | None:
    """The states of the first seed that has them: t-SNE of several trainings have no axes in common."""
    drawn = (draw_states(one, entry.benchmark, path) for one in entry.results)
    return next((picture for picture in drawn if picture is not None), None)
