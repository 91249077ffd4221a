"""All pictures of a leaderboard; where matplotlib is not installed there are none."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from trainer.metric_names import OVERALL
from trainer.plots_confusion import draw_confusion
from trainer.plots_intensity import draw_intensity
from trainer.plots_metrics import draw_metrics
from trainer.plots_states import draw_states
from trainer.plots_style import MOST_SECTIONS, Picture
from trainer.results_groups import Entry, Section


def write_plots(
    sections: Mapping[str, Sequence[Section]],
    folder: Path,
    all_entries: bool = False,
    on_error: Callable[[ValueError], None] | None = None,
) -> list[Picture]:
    """Draw the pictures of `build_sections`' result, of each benchmark's first MOST_SECTIONS sections.

    Writes for each benchmark that is ranked `<benchmark>-<metric>.png` and `<benchmark>-metrics.png` (bars with their
    spread); for each section `<benchmark>-protocol<number>-confusion.png`, `-intensity.png` (gold against predicted
    sentiment) and `-states.png` (t-SNE, under `overall`), where its files have what that needs.

    Args:
        folder: made where it does not exist.
        all_entries: draw every entry of a section, the second as `...-confusion-2.png`, instead of the first alone.
        on_error: is told why a picture of a section could not be drawn, and the others are; without it that is raised.
    """
    if find_spec("matplotlib") is None:
        return []
    pictures = []
    for benchmark, parts in sections.items():
        pictures += draw_metrics(benchmark, parts, folder)
        for section in parts[:MOST_SECTIONS]:
            pictures += _draw_section(section, folder, all_entries, on_error)
    return pictures


def _draw_section(
    section: Section, folder: Path, all_entries: bool, on_error: Callable[[ValueError], None] | None
) -> list[Picture]:
    pictures = []
    for number, entry in enumerate(section.entries if all_entries else section.entries[:1], start=1):
        start, end = f"{section.benchmark}-protocol{section.number}-", f"-{number}.png" if number > 1 else ".png"
        for name, draw in _DRAWN.items():
            try:
                pictures.append(draw(section, entry, folder / f"{start}{name}{end}"))
            except ValueError as error:
                if on_error is None:
                    raise
                on_error(error)
    return [picture for picture in pictures if picture is not None]


def _draw_states(section: Section, entry: Entry, path: Path) -> Picture | None:
    """The states of the first seed that has them: t-SNE of several trainings have no axes in common."""
    if section.benchmark != OVERALL:
        return None
    drawn = (draw_states(one, entry.benchmark, path) for one in entry.results)
    return next((picture for picture in drawn if picture is not None), None)


_DRAWN = {"confusion": draw_confusion, "intensity": draw_intensity, "states": _draw_states}
