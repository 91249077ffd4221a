"""What the loaders share: the result of reading a raw folder (csv: `tables`; csd: `csd`).

A loader's `read(source, ...)` gives a `Reading`: rows without features, where each row's media lies, features that the
raw files bring along, and tallies of everything that was skipped or odd.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.schema import number_utterances, order_examples
from dataset_scripts.tables import CsvTable

# Reasons that every loader words alike, so that a report can be read by a program.
LABEL_OUTSIDE = "label outside the set"
DUPLICATE = "duplicate of an earlier row"
NO_SPLIT = "in no split"
ANY_SPLIT = "any"


class Tally:
    """Counts by reason, each with its first example: what a report says instead of a log line per row."""

    def __init__(self):
        self._entries: dict[str, dict[str, Any]] = {}

    def add(self, reason: str, example: str, count: int = 1, split: str = ANY_SPLIT) -> None:
        """Count `reason`; `split` says where, if that is known."""
        entry = self._entries.setdefault(reason, {"count": 0, "first": example, "splits": {}})
        entry["count"] += count
        entry["splits"][split] = entry["splits"].get(split, 0) + count

    def count(self, reason: str, split: str | None = None) -> int:
        """How often, over all splits or in one."""
        entry = self._entries.get(reason, {"count": 0, "splits": {}})
        return entry["count"] if split is None else entry["splits"].get(split, 0)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """`{reason: {"count": n, "first": example, "splits": {split: n}}}` in the order of first appearance."""
        return {reason: {**entry, "splits": dict(entry["splits"])} for reason, entry in self._entries.items()}


@dataclass(frozen=True)
class Span:
    """A stretch of a media file.

    Args:
        path: the file.
        start, end: seconds from its beginning; `None` = from the start, to the end.
        half: `left` or `right` half of the picture only; `None` = all of it.
    """

    path: Path
    start: float | None = None
    end: float | None = None
    half: str | None = None


@dataclass(frozen=True)
class Item:
    """One row and where its media lies. `longest`: seconds beyond which the clip is taken to be wrongly cut."""

    example: dict[str, Any]
    audio: Span | None = None
    visual: Span | None = None
    longest: float | None = None


@dataclass(frozen=True)
class StoredSet:
    """A named set of features that the raw files bring along, such as COVAREP or a pickle's three modalities.

    Args:
        name: lower-case letters, digits, `-`, `_` and `.`; becomes a config of the prepared dataset.
        sizes: width of each modality it has: of `text`, `audio`, `visual`.
        source: the files it came from, relative to the raw folder.
        get: row id -> modality -> `(T, d)` array without padding; a modality the row lacks is left out.
    """

    name: str
    sizes: Mapping[str, int]
    source: str
    get: Callable[[str], Mapping[str, np.ndarray]]


@dataclass
class Reading:
    """What a loader read: `items` in row order, the `layout` it detected, and tallies for the report.

    `rows_read` counts the labelled rows of the raw files; `skipped` those that were left out, with the reason; `notes`
    what was odd but kept; `stored` the features the raw files bring along; `expected` the published rows of each split.
    """

    dataset: str
    layout: str
    items: list[Item] = field(default_factory=list)
    rows_read: int = 0
    skipped: Tally = field(default_factory=Tally)
    notes: Tally = field(default_factory=Tally)
    expected: dict[str, int] = field(default_factory=dict)
    stored: list[StoredSet] = field(default_factory=list)
    _places: dict[str, tuple[Item, str]] = field(default_factory=dict, repr=False)

    def add(self, item: Item, where: str) -> bool:
        """Add a row. One that repeats an earlier row in everything is counted and left out.

        Returns:
            Whether the row was added.

        Raises:
            ValueError: its id came before with other content; names both places.
        """
        name = item.example["id"]
        if name not in self._places:
            self._places[name] = (item, where)
            self.items.append(item)
            return True
        earlier, first = self._places[name]
        if earlier != item:
            raise ValueError(f"{where}: {name} comes a second time with other content (first: {first}); keep one")
        self.skipped.add(DUPLICATE, f"{where}: {name}", split=item.example["split"])
        return False

    def free_name(self, name: str) -> str:
        """`name` for a stored set, or `name-2` and so on where the sets that are there have it."""
        taken = {stored.name for stored in self.stored} | {"default"}
        number, free = 2, name
        while free in taken:
            number, free = number + 1, f"{name}-{number}"
        return free

    def note_encoding(self, table: CsvTable) -> None:
        """Tell the report that a file was not UTF-8, or that its columns are spelt a little differently."""
        if table.encoding != "utf-8":
            self.notes.add(f"read as {table.encoding}", table.path.name)
        for name, column in table.renamed.items():
            self.notes.add("column by another spelling", f"{table.path.name}: {name!r} read as {column!r}")

    def place(self, positions: Sequence[Any]) -> None:
        """Number the utterances by `positions` (one an item), then put the items in the order of the table."""
        number_utterances([item.example for item in self.items], positions)
        self.items = order_examples(self.items, key=lambda item: item.example)


def clean_text(text: str | None) -> str | None:
    """Text with every run of white space as one blank; `None` where nothing is left."""
    return " ".join((text or "").split()) or None


def parse_float(value: str, where: str) -> float:
    """A number of a text file; the `ValueError` says where it stands."""
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{where}: expected a number, got {value!r}") from None


def natural_key(name: str) -> tuple:
    """Sorts `clip_10` after `clip_9`: runs of digits compare as numbers, and before letters."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)
