"""Tables of a leaderboard as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.leaderboard_format import legend
from trainer.leaderboard_tables import Cell, Table, source_table
from trainer.results_file import Results


def markdown_table(header: Sequence[str], rows: Sequence[Sequence]) -> list[str]:
    """Lines of a Markdown table; a pipe or line break inside a cell is escaped."""
    lines = [list(header), ["---"] * len(header), *rows]
    return [
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    ]


def render_table(table: Table) -> list[str]:
    """A table without its title: notes as a list, the table, footnotes as a list; ends with an empty line."""
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    lines = [f"- {note}" for note in table.notes] + ([""] if table.notes else [])
    lines += [*markdown_table(table.header, rows), ""]
    return lines + [f"- {note}" for note in table.footnotes] + ([""] if table.footnotes else [])


def _cell(cell: Cell) -> str:
    return f"`{cell.text}`" if cell.code else cell.text


def render_tables(tables: Mapping[str, Sequence[Table]]) -> list[str]:
    """Every table of every benchmark, as `all_tables` gives them, each under its title."""
    parts = [table for tables_of_one in tables.values() for table in tables_of_one]
    return [line for table in parts for line in (f"### {table.title}", "", *render_table(table))]


def render_page(
    title: str,
    tables: Mapping[str, Sequence[Table]],
    runs: Sequence[Results],
    names: Mapping[Path, str],
) -> str:
    """A page: legend, the tables of its benchmarks, where the numbers come from."""
    lines = [f"# {title}", "", *legend(runs), "", "## Results", "", *render_tables(tables)]
    sources = source_table(runs, names)
    return "\n".join([*lines, f"## {sources.title}", "", *render_table(sources)]).rstrip() + "\n"
