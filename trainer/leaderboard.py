"""The leaderboard: results files of runs in, one table per benchmark out, as Markdown, CSV and HTML, with plots.

A group of runs stands with mean and sample standard deviation over its seeds, ranked only against groups with the same
protocol and the same scored data; each such set is a section of its own. Numbers of publications stand in a table of
their own, marked "quoted". Everything is a function of the files given: written twice, it is byte-equal.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.utils.outputs import check_files, claimed, mark_stale, replaced_files
from trainer.leaderboard_csv import render_csv
from trainer.leaderboard_format import file_names
from trainer.leaderboard_html import render_html
from trainer.leaderboard_markdown import render_page
from trainer.leaderboard_plots import write_plots
from trainer.leaderboard_tables import Table, all_tables
from trainer.predictions_file import check_predictions
from trainer.published_results import read_published
from trainer.results_file import Results, read_all_results
from trainer.results_groups import Section, build_sections

# The names that a call wrote, one a line, so that the next one removes what it does not write any more.
WRITTEN = ".leaderboard-files"
_OURS = re.compile(r"[\w.-]+\.(?:html|md|csv)|plots/[\w.-]+\.png", re.ASCII)


@dataclass(frozen=True)
class Board:
    """All that is shown of some results files.

    Attributes:
        runs: the files, in the order of their names.
        names: path -> the name that tables give it.
        checks: path -> `recomputed` or `no predictions`.
        sections: benchmark -> what may be ranked together.
        tables: benchmark -> its tables.
    """

    runs: tuple[Results, ...]
    names: dict[Path, str]
    checks: dict[Path, str]
    sections: dict[str, list[Section]]
    tables: dict[str, list[Table]]


def build_board(paths: Sequence[str | Path]) -> Board:
    """Read and check results files and the predictions beside them, and make the tables.

    Raises:
        ValueError: without files, on a wrong results file, on a number that its predictions do not give, or one run
            and seed given twice under one protocol.
    """
    if not paths:
        raise ValueError("leaderboard: expected at least one results file; write one with `unimse evaluate ... --out`")
    runs = read_all_results(paths)
    names = file_names(runs)
    runs = sorted(runs, key=lambda one: names[one.path])
    checks = {one.path: check_predictions(one) for one in runs}
    sections = build_sections(runs)
    return Board(tuple(runs), names, checks, sections, all_tables(sections, checks))


def write_leaderboard(results: Sequence[Path], out: Path, all_entries: bool = False) -> list[Path]:
    """Write the tables and, where matplotlib is installed, the pictures.

    `leaderboard.html` (one file with everything, sortable), `leaderboard.md`, `<benchmark>.md`, `<benchmark>.csv`
    (unrounded) and `plots/*.png`.

    Args:
        results: results files; at least one.
        out: folder, made where it does not exist; the files of an earlier call (their names stand in
            `.leaderboard-files`) are replaced or removed. Nothing else is.
        all_entries: draw confusion matrix, intensities and states of every entry, not only of each section's first.

    Returns:
        The files written, sorted.

    Raises:
        ValueError: as `build_board`, and then nothing is written; or on text states of other samples.
        FileExistsError: a file that would be written is there and is not of an earlier call.
        OSError: `out` cannot be written, or its disk is full; names it.
    """
    with claimed(out, "leaderboard"):
        board = build_board(results)
        earlier = _written_before(out)
        with replaced_files(out, "leaderboard") as new:
            written = _write_board(board, new, all_entries)
            check_files((out / name for name in written), lambda path: path.relative_to(out).as_posix() in earlier)
            (new / WRITTEN).write_text("".join(f"{name}\n" for name in written), encoding="utf-8")
            mark_stale(new, earlier - set(written))
    return [out / name for name in written]


def _write_board(board: Board, folder: Path, all_entries: bool) -> list[str]:
    """Write all files of a board; returns their names, sorted."""
    pictures = write_plots(board.sections, folder / "plots", all_entries)
    texts = {"leaderboard.html": render_html(board.tables, pictures, board.runs, board.names)}
    texts["leaderboard.md"] = render_page("Leaderboard", board.tables, board.runs, board.names)
    for benchmark, sections in board.sections.items():
        own = [one for one in board.runs if benchmark in one.benchmarks]
        tables = {benchmark: board.tables[benchmark]}
        texts[f"{benchmark}.md"] = render_page(f"Leaderboard: {benchmark}", tables, own, board.names)
        quoted = [result for result in read_published() if result["benchmark"] == benchmark]
        texts[f"{benchmark}.csv"] = render_csv(sections, quoted, board.names, board.checks)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted([*texts, *(picture.path.relative_to(folder).as_posix() for picture in pictures)])


def _written_before(out: Path) -> set[str]:
    """Names of the files that an earlier call wrote."""
    listed = out / WRITTEN
    names = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    return {name for name in names if _OURS.fullmatch(name)}  # whatever was written into the list
