"""Tables of a leaderboard as Markdown, in which what a results file says is text and never markup."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.leaderboard_format import legend
from trainer.leaderboard_tables import Cell, Table, source_table
from trainer.results_file import Results

# What GitHub's Markdown would not show as it stands, and no more, so that a page reads well without being rendered.
_MARKUP = re.compile(
    r"[\\`|~$]"
    r"|(?<!\s)\*|\*(?!\s|$)"  # not a star between spaces
    r"|(?<![^\W_])_|_(?![^\W_])"  # not `_` inside a word
    r"|\[(?![-+]?[\d.]+, [-+]?[\d.]+\](?![(\[:]))"  # not an interval
    r"|!(?=\[)|<(?=[A-Za-z/!?])|&(?=#?[A-Za-z0-9]+;)"  # not `<0.01` or `a & b`
)
# What would begin a heading, a list, a rule or a quotation at the start of a line.
_BLOCK = re.compile(r"^(?:(?=#{1,6}(?:\s|$)|[-+](?:\s|$)|-{3,}|>)|(\d+)(?=[.)](?:\s|$)))")


def escape_text(text: str) -> str:
    """One line of Markdown that shows the text itself, in a cell or outside; line breaks become spaces."""
    line = _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
    return _BLOCK.sub(lambda found: f"{found[1] or ''}\\", line)


def code_span(text: str) -> str:
    """The text in a fixed width, for a cell: fenced by more backticks than it has in a row, pipes escaped.

    HTML where it has a backslash before a pipe, which no code span in a cell can show.
    """
    line = " ".join(text.split())
    if "\\|" in line:
        return "<code>" + re.sub(r"[^\w\s]|_", lambda found: f"&#{ord(found[0])};", line) + "</code>"
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line[:1] == "`" or line[-1:] == "`" else ""
    return f"{fence}{space}{line}{space}{fence}".replace("|", "\\|")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence]) -> list[str]:
    """Lines of a Markdown table; a cell is a `Cell` or anything that is shown as text."""
    lines = [list(map(_cell, header)), ["---"] * len(header), *(map(_cell, row) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(cell) -> str:
    if not isinstance(cell, Cell):
        return escape_text(str(cell))
    return code_span(cell.text) if cell.code else escape_text(cell.text)


def render_table(table: Table) -> list[str]:
    """A table without its title: notes as a list, the table, footnotes as a list; ends with an empty line."""
    return [*text_list(table.notes), *markdown_table(table.header, table.rows), "", *text_list(table.footnotes)]


def text_list(lines: Sequence[str]) -> list[str]:
    """Texts as a Markdown list with an empty line after it; nothing where there are none."""
    return [*(f"- {escape_text(line)}" for line in lines), ""] if lines else []


def render_tables(tables: Mapping[str, Sequence[Table]]) -> list[str]:
    """Every table of every benchmark, as `all_tables` gives them, each under its title."""
    parts = [table for tables_of_one in tables.values() for table in tables_of_one]
    return [line for table in parts for line in (f"### {escape_text(table.title)}", "", *render_table(table))]


def render_page(
    title: str,
    tables: Mapping[str, Sequence[Table]],
    runs: Sequence[Results],
    names: Mapping[Path, str],
) -> str:
    """A page: legend, the tables of its benchmarks, where the numbers come from."""
    lines = [f"# {escape_text(title)}", "", *legend(runs), "", "## Results", "", *render_tables(tables)]
    sources = source_table(runs, names)
    return "\n".join([*lines, f"## {sources.title}", "", *render_table(sources)]).rstrip() + "\n"
