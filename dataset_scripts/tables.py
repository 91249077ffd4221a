"""Tables of strings from text files: csv, tsv, and jsonl with one object a line.

Files come with a byte order mark, in cp1252 or UTF-16, with other line ends, with columns renamed a little: all of that
is read. What cannot be is one message that names the file, the line, and how many more lines are wrong.
"""

import codecs
import csv
import difflib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_SEPARATORS = {";": "';'", "\t": "tabs", ",": "','", "|": "'|'"}


@dataclass(frozen=True)
class CsvTable:
    """A table of strings.

    Args:
        path: the file.
        columns: the names that the loader asked for, then the file's own.
        rows: dicts of strings.
        lines: the line on which each row ends.
        encoding: the one that worked.
        renamed: name in the file -> column, where only case, blanks, dashes or underscores differ.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    lines: list[int]
    encoding: str
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        return zip(self.lines, self.rows, strict=True)


class WrongLines:
    """Collects what is wrong with the lines of a file: one message says how many there are and shows the first."""

    def __init__(self):
        self._count, self._first = 0, ""

    def add(self, problem: object) -> None:
        self._first = self._first or str(problem)
        self._count += 1

    def raise_if_any(self) -> None:
        """Raise a `ValueError` with the first problem, and the number where there are more."""
        if self._count:
            more = f"{self._count} rows are wrong, first: " if self._count > 1 else ""
            raise ValueError(f"{more}{self._first}")


def read_csv(path: Path, required: Sequence[str], optional: Sequence[str] = (), delimiter: str = ",") -> CsvTable:
    """Read a csv file with a header. Everything stays a string, so ids keep leading zeros and dashes.

    UTF-8 or UTF-16 with a byte order mark, else UTF-8, lines that are not as cp1252; any line ends; quoted fields may
    hold line breaks. Columns are found by name whatever their case, blanks, dashes and underscores. Rows of nothing
    but blanks and columns without a name are passed over.

    Args:
        path: the file.
        required: columns that must be there.
        optional: columns that may be; used to suggest a name for a misspelt one.
        delimiter: what separates the fields; a tab for tsv.

    Raises:
        ValueError: empty file, a header only, another separator, a missing or repeated column, rows with another
            number of fields, a quotation mark that is not closed, or bytes that are no text; names file and line.
    """
    text, encoding = read_encoded_text(path)
    _refuse_nul(path, text)
    records = _records(path, text, delimiter)
    _, _, header = next(records, (0, 0, None))
    if header is None:
        raise ValueError(f"{path}: expected a table with the columns {', '.join(required)}, but the file is empty")
    _check_separator(path, header, required, delimiter)
    columns, renamed = match_columns(path, header, required, optional)
    rows, lines, wrong = [], [], WrongLines()
    for first, last, fields in records:
        if len(fields) == len(columns):
            rows.append({name: value for name, value in zip(columns, fields, strict=True) if name})
            lines.append(last)
        else:
            wrong.add(_wrong_count(path, first, last, columns, fields))
    wrong.raise_if_any()
    if not rows:
        raise ValueError(f"{path}: a header and no rows; the file is not whole")
    return CsvTable(path, tuple(filter(None, columns)), rows, lines, encoding, renamed)


def read_jsonl(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> CsvTable:
    """Read a file with one JSON object a line, as `read_csv` reads a csv file.

    `null` and an absent key are the empty string; whole numbers and numbers become strings.

    Args:
        path: the file.
        required: keys that some line must have.
        optional: keys that may be there.

    Raises:
        ValueError: as `read_csv`; and lines that are no JSON object, a value that is a list, an object or a boolean.
    """
    text, encoding = read_encoded_text(path)
    objects, lines, wrong = [], [], WrongLines()
    for number, line in enumerate(split_lines(text), start=1):
        if line.strip():
            try:
                objects.append(_json_row(line))
                lines.append(number)
            except (ValueError, RecursionError) as error:
                wrong.add(f"{path}, line {number}: {_json_problem(error)}")
    wrong.raise_if_any()
    if not objects:
        raise ValueError(f"{path}: expected one JSON object a line, but the file is empty")
    names = list(dict.fromkeys(name for row in objects for name in row))
    columns, renamed = match_columns(path, names, required, optional)
    rows = [
        {column: row.get(name, "") for name, column in zip(names, columns, strict=True) if column} for row in objects
    ]
    return CsvTable(path, tuple(filter(None, columns)), rows, lines, encoding, renamed)


def read_text(path: Path) -> str:
    """The text of a file: UTF-8 or UTF-16 with a byte order mark, else UTF-8, lines that are not as cp1252."""
    return read_encoded_text(path)[0]


def read_encoded_text(path: Path) -> tuple[str, str]:
    """As `read_text`, and which encoding it was: `utf-8`, `utf-16`, `cp1252`, or in how many lines which."""
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return raw.decode("utf-16"), "utf-16"
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: begins as UTF-16 and goes on otherwise ({error.reason}); save as UTF-8"
            ) from error
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _decoded_by_lines(path, raw)


def _decoded_by_lines(path: Path, raw: bytes) -> tuple[str, str]:
    """Older dumps are cp1252, and UTF-8 files may have a line of one in them: each line as what it is."""
    lines, as_cp1252, as_utf8 = [], 0, 0
    for number, line in enumerate(raw.splitlines(keepends=True), start=1):
        try:
            lines.append(line.decode("utf-8"))
            as_utf8 += not line.isascii()
        except UnicodeDecodeError:
            lines.append(_cp1252_line(path, number, line))
            as_cp1252 += 1
    return "".join(lines), f"utf-8, and cp1252 in {as_cp1252} line{'s' * (as_cp1252 > 1)}" if as_utf8 else "cp1252"


def _cp1252_line(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {number}: byte {line[error.start]:#04x} is neither UTF-8 nor cp1252; save the file as UTF-8"
        ) from error


def split_lines(text: str) -> list[str]:
    """Lines of a text; unlike `str.splitlines` it does not end one at a form feed or a line separator inside it."""
    return re.split(r"\r\n|\r|\n", text)


def match_columns(
    path: Path, names: Sequence[str], required: Sequence[str], optional: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Names of a file -> the columns that they mean, one each, and those of them that are spelt otherwise.

    A name means a column when it is equal, or else differs in case, blanks, dashes or underscores only. Others stay.

    Raises:
        ValueError: a required column is missing, one comes twice, or one is nearly that of an optional column.
    """
    names = [name.strip() for name in names]
    known = {_loose(name): name for name in (*required, *optional)}
    free = {loose: name for loose, name in known.items() if name not in names}
    columns = [free.get(_loose(name), name) for name in names]
    _refuse_repeated(path, names, columns)
    for name in required:
        if name not in columns:
            others = [column for column in columns if column and column not in (*required, *optional)]
            near = difflib.get_close_matches(name, others, n=1, cutoff=0.5)
            hint = f"; the nearest is {_shortened(near[0])!r}" if near else ""
            found = _shortened(", ".join(filter(None, columns)))
            raise ValueError(f"{path}: the column {name!r} is missing{hint} (found: {found or 'none'})")
    for name in columns:
        near = difflib.get_close_matches(name, optional, n=1, cutoff=0.85)
        if name not in (*required, *optional) and near and near[0] not in columns:
            raise ValueError(f"{path}: unknown column {_shortened(name)!r}; rename it to {near[0]!r} if that is meant")
    renamed = {name: column for name, column in zip(names, columns, strict=True) if name != column}
    return columns, renamed


def _refuse_repeated(path: Path, names: list[str], columns: list[str]) -> None:
    for column in filter(None, columns):
        spellings = [name for name, meant in zip(names, columns, strict=True) if meant == column]
        if len(spellings) > 1:
            spelt = "" if set(spellings) == {column} else f" (as {_shortened(', '.join(spellings))})"
            raise ValueError(f"{path}: the column {_shortened(column)!r} comes more than once{spelt}; keep one")


def _loose(name: str) -> str:
    """`Dialogue_ID`, `dialogue id` and `Dialogue-ID` are one."""
    return re.sub(r"[\s_-]+", "", name).lower()


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and fields of each row that has something in it; the header is one of them."""
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=delimiter)
    first = 1
    try:
        for fields in reader:
            if reader.line_num == len(lines):
                _check_closed(path, first, lines[first - 1 :], delimiter)
            if any(value.strip() for value in fields):
                yield first, reader.line_num, fields
            first = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {first}: not a table ({error}); is a quotation mark not closed?") from error


def _check_closed(path: Path, first: int, lines: list[str], delimiter: str) -> None:
    """Refuse a last row that ends within quotation marks: it has swallowed the rows after it."""
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise ValueError(
                f"{path}, line {first}: a quotation mark is not closed up to the end of the file"
            ) from None


def _check_separator(path: Path, header: list[str], required: Sequence[str], delimiter: str) -> None:
    """Refuse a header that makes sense with another separator only."""
    wanted = set(map(_loose, required))
    if wanted & set(map(_loose, header)):
        return
    line = delimiter.join(header)
    for other, shown in _SEPARATORS.items():
        if other != delimiter and wanted & set(map(_loose, line.split(other))):
            hint = "; save it so, or with the ending .tsv" if other == "\t" else "; save it so"
            raise ValueError(f"{path}: its fields are separated by {shown}, expected {_SEPARATORS[delimiter]}{hint}")


def _wrong_count(path: Path, first: int, last: int, columns: list[str], fields: list[str]) -> str:
    where = f"line {last}" if first == last else f"lines {first} to {last}"
    expected = f"expected {len(columns)} fields ({_shortened(', '.join(columns))}), got {len(fields)}"
    return f"{path}, {where}: {expected}; quote fields that hold commas"


def _refuse_nul(path: Path, text: str) -> None:
    place = text.find("\0")
    if place >= 0:
        line = text.count("\n", 0, place) + 1
        raise ValueError(f"{path}, line {line}: holds a NUL byte; the file is damaged or no text: save it as UTF-8")


def _json_row(line: str) -> dict[str, str]:
    row = json.loads(line, object_pairs_hook=_object, parse_constant=_refuse_constant)
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, got {type(row).__name__}")
    return {name: _json_cell(name, value) for name, value in row.items()}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} comes twice")
    return row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected numbers that are finite, got {name}; write null where there is none")


def _json_cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{_shortened(name)!r}: expected text, a number or null, got {type(value).__name__}")
    text = str(value)
    if _NO_TEXT.search(name) or _NO_TEXT.search(text):
        raise ValueError(f"{_shortened(name)!r}: holds a character that is no text (NUL or half of a pair)")
    return text


def _json_problem(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "expected a JSON object, got values nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"not a JSON object ({error.msg} at character {error.pos + 1})"
    return str(error)


def _shortened(text: str, length: int = 200) -> str:
    """Text for a message: no more than `length` characters, none that moves the cursor."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: length + 1])
    return text if len(text) <= length else f"{text[:length]} ..."
