"""What can be wrong with a file, one thing at a time: bytes, lines, tables, encodings, JSON.

A mutation is a function `(random, path)` that changes the file where it lies. `mutation_groups` gives those that make
sense for a kind of file; others are in fuzz_places.py (the file as a whole) and fuzz_structures.py (csd files and
pickles).
"""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz_places import PLACES

Mutation = Callable[[Random, Path], None]

HOSTILE_FIELDS = (
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e400",
    "1e308",
    "99999999999999999999999",
    "0x10",
    "1_000",
    "3,5",
    "１２",  # full-width digits: int() takes them
    "²",  # a digit that int() does not take
    "½",
    "None",
    "[]",
    "=1+1",
    "-",
    "--help",
    "../../outside",
    "/etc/hostname",
    "a/b\\c",
    ".",
    "..",
    "x\x00y",
    "line\nbreak",
    "\u202eright to left",
    "\u2028",
    "😀",
    "é" * 300,  # longer than a file name may be
    "x" * 140_000,  # longer than csv's own limit of a field
    "00:00:61,000",
    "-00:00:01,5",
    "train",
    "TEST",
    "Neutral",
    "___",
)
HOSTILE_VALUES = (None, True, 0, -1, 1.5, float("nan"), float("inf"), 10**400, "", "x", [], {}, [[]], [None], {"": 0})


def _split_lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True) or [b""]


# ---- bytes


def flip_bytes(random: Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 4, 32))):
        if data:
            data[random.randrange(len(data))] = random.choice((0, 0xFF, 0x80, random.randrange(256)))
    path.write_bytes(data)


def flip_early_bytes(random: Random, path: Path) -> None:
    """In the first 200 bytes, where containers keep their structure."""
    data = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 2, 8))):
        if data:
            data[random.randrange(min(len(data), 200))] = random.randrange(256)
    path.write_bytes(data)


def truncate(random: Random, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: random.randrange(len(data) + 1)])


def insert_bytes(random: Random, path: Path) -> None:
    data, count = path.read_bytes(), random.choice((1, 7, 4096))
    place = random.randrange(len(data) + 1)
    path.write_bytes(data[:place] + random.randbytes(count) + data[place:])


def remove_chunk(random: Random, path: Path) -> None:
    data = path.read_bytes()
    start = random.randrange(len(data) + 1)
    path.write_bytes(data[:start] + data[start + random.choice((1, 16, 500)) :])


def repeat_chunk(random: Random, path: Path) -> None:
    data = path.read_bytes()
    start = random.randrange(len(data) + 1)
    end = start + random.choice((1, 16, 500))
    path.write_bytes(data[:end] + data[start:])


def zero_header(random: Random, path: Path) -> None:
    data, count = path.read_bytes(), random.choice((4, 16, 64))
    path.write_bytes(bytes(min(count, len(data))) + data[count:])


def overwrite_with_noise(random: Random, path: Path) -> None:
    path.write_bytes(random.randbytes(random.choice((1, 100, 5000))))


def overwrite_with_web_page(random: Random, path: Path) -> None:
    """What a download behind a login leaves."""
    path.write_text("<!DOCTYPE html>\n<html><body>Sign in to continue, please</body></html>\n")


# ---- lines


def drop_line(random: Random, path: Path) -> None:
    lines = _split_lines(path.read_bytes())
    del lines[random.randrange(len(lines))]
    path.write_bytes(b"".join(lines))


def repeat_line(random: Random, path: Path) -> None:
    lines = _split_lines(path.read_bytes())
    lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
    path.write_bytes(b"".join(lines))


def swap_lines(random: Random, path: Path) -> None:
    lines = _split_lines(path.read_bytes())
    first, second = random.randrange(len(lines)), random.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    path.write_bytes(b"".join(lines))


def cut_line(random: Random, path: Path) -> None:
    lines = _split_lines(path.read_bytes())
    number = random.randrange(len(lines))
    lines[number] = lines[number][: random.randrange(len(lines[number]) + 1)] + b"\n"
    path.write_bytes(b"".join(lines))


def keep_first_line(random: Random, path: Path) -> None:
    path.write_bytes(_split_lines(path.read_bytes())[0])


def blank_lines(random: Random, path: Path) -> None:
    lines = _split_lines(path.read_bytes())
    lines.insert(random.randrange(len(lines) + 1), random.choice((b"\n", b"\n\n\n", b"  \t\n", b"\x0c\n", b",,,\n")))
    path.write_bytes(b"".join(lines))


def stray_byte(random: Random, path: Path) -> None:
    """A NUL, a byte of no encoding, an end-of-file sign, half of a character, a form feed."""
    data = path.read_bytes()
    place = random.randrange(len(data) + 1)
    path.write_bytes(
        data[:place] + random.choice((b"\0", b"\x81", b"\xff", b"\x1a", b"\xe2\x80", b"\x0c")) + data[place:]
    )


def change_token(random: Random, path: Path) -> None:
    """One word or number of a text file becomes hostile; separators stay."""
    parts = re.split(r"(___|[\s\[\]:,\-]+)", path.read_bytes().decode("utf-8", "replace"))
    words = [index for index in range(0, len(parts), 2) if parts[index]]
    if words:
        parts[random.choice(words)] = random.choice(HOSTILE_FIELDS)
    path.write_text("".join(parts), encoding="utf-8", errors="replace", newline="")


def change_separator(random: Random, path: Path) -> None:
    data = path.read_bytes()
    there = [sign for sign in (b"___", b"\t", b",", b";", b" - ", b"[", b":", b'"') if sign in data]
    if there:
        count = random.choice((1, -1))
        path.write_bytes(
            data.replace(random.choice(there), random.choice((b"", b";", b"\t", b"__", b",", b"'")), count)
        )


# ---- tables


def _read_table(path: Path) -> tuple[list[list[str]], str]:
    csv.field_size_limit(10**7)
    delimiter = "\t" if path.suffix == ".tsv" else ","
    text = path.read_bytes().decode("utf-8-sig", "replace")
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row] or [[""]], delimiter


def _write_table(path: Path, rows: list[list[str]], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def drop_column(random: Random, path: Path) -> None:
    rows, delimiter = _read_table(path)
    column = random.randrange(len(rows[0]))
    _write_table(path, [row[:column] + row[column + 1 :] for row in rows], delimiter)


def repeat_column(random: Random, path: Path) -> None:
    rows, delimiter = _read_table(path)
    column = random.randrange(len(rows[0]))
    _write_table(path, [row + row[column : column + 1] for row in rows], delimiter)


def rename_column(random: Random, path: Path) -> None:
    rows, delimiter = _read_table(path)
    column = random.randrange(len(rows[0]))
    name = rows[0][column]
    rows[0][column] = random.choice((name[:-1], name.upper(), f" {name} ", "", f"{name}s", "column", name[::-1]))
    _write_table(path, rows, delimiter)


def swap_columns(random: Random, path: Path) -> None:
    """Header and fields no longer belong together."""
    rows, delimiter = _read_table(path)
    random.shuffle(rows[0])
    _write_table(path, rows, delimiter)


def change_field(random: Random, path: Path) -> None:
    rows, delimiter = _read_table(path)
    row = random.choice(rows[1:] or rows)
    row[random.randrange(len(row))] = random.choice(HOSTILE_FIELDS)
    _write_table(path, rows, delimiter)


def change_column(random: Random, path: Path) -> None:
    """A whole column becomes one hostile value."""
    rows, delimiter = _read_table(path)
    column, value = random.randrange(len(rows[0])), random.choice(HOSTILE_FIELDS)
    _write_table(path, [rows[0], *([*row[:column], value, *row[column + 1 :]] for row in rows[1:])], delimiter)


def repeat_row_with_change(random: Random, path: Path) -> None:
    """An id comes twice, with other content."""
    rows, delimiter = _read_table(path)
    row = list(random.choice(rows[1:] or rows))
    row[random.randrange(len(row))] = random.choice(HOSTILE_FIELDS)
    _write_table(path, [*rows, row], delimiter)


def extra_field(random: Random, path: Path) -> None:
    rows, delimiter = _read_table(path)
    random.choice(rows).append("more")
    _write_table(path, rows, delimiter)


def break_quotes(random: Random, path: Path) -> None:
    text = path.read_bytes()
    place = random.randrange(len(text) + 1)
    path.write_bytes(text[:place] + random.choice((b'"', b'""', b'"\n', b"',")) + text[place:])


def other_delimiter(random: Random, path: Path) -> None:
    rows, delimiter = _read_table(path)
    _write_table(path, rows, random.choice([sign for sign in ";\t|," if sign != delimiter]))


# ---- encodings


def re_encode(random: Random, path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    path.write_bytes(
        text.encode(random.choice(("cp1252", "utf-16", "utf-16-le", "utf-8-sig", "utf-32", "cp037")), "replace")
    )


def other_line_ends(random: Random, path: Path) -> None:
    lines = path.read_bytes().splitlines()
    path.write_bytes(random.choice((b"\r\n", b"\r", b"\n\r", b"\r\r\n", b"\x0b")).join(lines))


# ---- JSON


def change_json(random: Random, path: Path) -> None:
    """One value of a JSON file, or of one line of a JSON Lines file, becomes another or goes away."""
    lines = [path.read_text(encoding="utf-8")]
    if path.suffix == ".jsonl":
        lines = lines[0].splitlines() or [""]
    number = random.randrange(len(lines))
    try:
        content = json.loads(lines[number])
    except ValueError:
        return flip_bytes(random, path)
    lines[number] = json.dumps(replace_node(random, content, HOSTILE_VALUES))
    path.write_text("\n".join(lines), encoding="utf-8")


def nest_json(random: Random, path: Path) -> None:
    """Deeper than a recursive parser goes."""
    deep = random.choice(("[" * 200_000, '{"a":' * 100_000, "[" * 500 + "]" * 500))
    path.write_text(deep, encoding="utf-8")


def replace_node(random: Random, content: Any, values: tuple) -> Any:
    """A copy of nested dicts, lists and tuples with one node replaced, removed, repeated or renamed."""
    if not isinstance(content, dict | list | tuple) or not content or random.random() < 0.15:
        return random.choice(values)
    if isinstance(content, dict):
        return _change_dict(random, content, values)
    items, place = list(content), random.randrange(len(content))
    action = random.random()
    if action < 0.1:
        del items[place]
    elif action < 0.2:
        items.append(items[place])
    else:
        items[place] = replace_node(random, items[place], values)
    return type(content)(items) if type(content) in (list, tuple) else items


def _change_dict(random: Random, content: dict, values: tuple) -> dict:
    changed, key = dict(content), random.choice(list(content))
    action = random.random()
    if action < 0.15:
        del changed[key]
    elif action < 0.25:
        changed[random.choice((f"{key}_", "", 7, str(key).upper()))] = changed.pop(key)
    else:
        changed[key] = replace_node(random, changed[key], values)
    return changed


BYTES = (flip_bytes, truncate, insert_bytes, remove_chunk, repeat_chunk, zero_header)
BYTES += (overwrite_with_noise, overwrite_with_web_page)
LINES = (drop_line, repeat_line, swap_lines, cut_line, keep_first_line, blank_lines, stray_byte)
LINES += (change_token, change_separator, re_encode, other_line_ends)
TABLE = (drop_column, repeat_column, rename_column, swap_columns, change_field, change_field, change_field)
TABLE += (change_column, repeat_row_with_change, extra_field, break_quotes, other_delimiter)
JSON = (change_json, change_json, change_json, nest_json)

MUTATIONS: dict[str, tuple[tuple[Mutation, ...], ...]] = {
    ".csv": (BYTES, LINES, TABLE, TABLE, PLACES),
    ".tsv": (BYTES, LINES, TABLE, TABLE, PLACES),
    ".txt": (BYTES, LINES, LINES, LINES, PLACES),
    ".annotprocessed": (BYTES, LINES, LINES, LINES, PLACES),
    ".json": (BYTES, LINES, JSON, JSON, PLACES),
    ".jsonl": (BYTES, LINES, JSON, JSON, PLACES),
}
MEDIA = (BYTES, (flip_early_bytes,), PLACES)


def mutation_groups(path: Path) -> tuple[tuple[Mutation, ...], ...]:
    """The groups of mutations for a file by its suffix; groups are drawn evenly, then one of their mutations."""
    from tests.fuzz_structures import CSD, PICKLE  # which uses `replace_node` from here

    structured = {".csd": (BYTES, CSD, CSD, CSD, PLACES)}
    structured |= dict.fromkeys((".pkl", ".pickle"), (BYTES, PICKLE, PICKLE, PICKLE, PLACES))
    return {**MUTATIONS, **structured}.get(path.suffix, MEDIA)
