"""A leaderboard as one HTML file that needs no network: tables that sort and filter, pictures inside.

Its parts lie beside this file: `leaderboard.html`, the page, `leaderboard_parts.html`, what other pages show too,
`leaderboard.css`, and `leaderboard.js`, which sorts and filters. Without JavaScript the page still reads as it stands.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from trainer.leaderboard_format import legend
from trainer.leaderboard_tables import Cell, Table, source_table
from trainer.plots_style import Picture
from trainer.results_file import Results

_FOLDER = Path(__file__).parent
STYLE, SCRIPT = _FOLDER / "leaderboard.css", _FOLDER / "leaderboard.js"
# The column that names a row; it stays in sight when a wide table is scrolled sideways.
_ROW_NAMES = ("run", "model", "file")
# The ids that the page itself has.
_PAGE_IDS = ("sources", "filter")


def render_html(
    tables: Mapping[str, Sequence[Table]],
    pictures: Sequence[Picture],
    runs: Sequence[Results],
    names: Mapping[Path, str],
) -> str:
    """The page of `all_tables` and of the pictures of `write_plots`."""
    from markupsafe import Markup

    ids = _anchors(tables)
    page = _template("leaderboard.html").render(
        anchor=lambda *parts: ids[parts],
        legend=legend(runs),
        tables=tables,
        pictures={benchmark: [one for one in pictures if one.benchmark == benchmark] for benchmark in tables},
        sources=source_table(runs, names),
        style=Markup(STYLE.read_text(encoding="utf-8")),
        script=Markup(SCRIPT.read_text(encoding="utf-8")),
    )
    return page.rstrip() + "\n"


def render_tables(tables: Sequence[Table]) -> str:
    """A filter and the tables, for another page, which has STYLE and calls `start` of SCRIPT."""
    parts = _template("leaderboard_parts.html").module
    return "".join([parts.filter(), *(parts.draw(table, anchor(table.name)) for table in tables)])


def render_pictures(pictures: Sequence[Picture]) -> str:
    """The pictures, held by the text itself, for another page, which has STYLE."""
    return str(_template("leaderboard_parts.html").module.draw_pictures(pictures))


def _template(name: str):
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(_FOLDER)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"data_uri": _data_uri, "sort_value": sort_value, "row_name": _row_name}
    return environment.get_template(name)


def anchor(*parts: str) -> str:
    """The id of a benchmark or a table: `meld-protocol-1`."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def _anchors(tables: Mapping[str, Sequence[Table]]) -> dict[tuple[str, ...], str]:
    """(benchmark,) and (benchmark, table's name) -> an id that the page has once; the second of two gets a number."""
    ids, used = {}, set(_PAGE_IDS)
    for parts in [(name,) for name in tables] + [(name, table.name) for name in tables for table in tables[name]]:
        base = anchor(*parts)
        ids[parts] = next(one for number in count(1) if (one := f"{base}-{number}" if number > 1 else base) not in used)
        used.add(ids[parts])
    return ids


def sort_value(cell: Cell) -> str:
    """What the page sorts a cell by: the number in full or the text; empty where there is no value."""
    return "" if cell.value is None else str(cell.value)


def _row_name(table: Table) -> int:
    return next(index for index, name in enumerate(table.header) if name in _ROW_NAMES)


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.path.read_bytes()).decode("ascii")
