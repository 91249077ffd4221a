"""Pickles of the form `{'train': ..., 'valid': ..., 'test': ...}`: which kind one is, its splits, its sequences.

Three kinds are known: `mmsa` and `mult` hold a dict of arrays a split, `unimse` a list of items a split.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats import candidate_files
from dataset_scripts.pickles import load_pickle, peek_root
from dataset_scripts.readers import Reading, StoredSet
from dataset_scripts.schema import SPLITS
from dataset_scripts.sentiment import SPLIT_NAMES, relative_name, short

PATTERNS = ("*.pkl", "*.pickle", "*/*.pkl", "*/*.pickle")
_MMSA_KEYS = {"raw_text", "text_bert", "annotations", "regression_labels", "classification_labels"}
_MULT_KEYS = {"text", "audio", "vision", "labels", "id"}


def find_pickles(source: Path, kind: str) -> list[Path]:
    """The pickles of one kind at `source` or one level below it, `aligned` before `unaligned`; by their contents."""
    found = [path for path in candidate_files(source, *PATTERNS) if pickle_kind(path) == kind]
    return sorted(found, key=lambda path: ("unaligned" in path.name or "noalign" in path.name, path))


def pickle_kind(path: Path) -> str | None:
    """`mmsa`, `mult`, `unimse` or `None`, by the beginning of the file; never raises for what the file holds."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return _kind(str(path), facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=256)
def _kind(path: str, _time: int, _size: int) -> str | None:
    root = peek_root(path)
    split = next((root[name] for name in SPLIT_NAMES if name in root), None) if isinstance(root, dict) else None
    if isinstance(split, dict):
        keys = {key for key in split if isinstance(key, str)}
        return "mmsa" if keys & _MMSA_KEYS else "mult" if keys & _MULT_KEYS else None
    return "unimse" if isinstance(split, (list, tuple)) else None


def load_splits(path: Path, kinds: tuple[type, ...], expected: str) -> dict[str, tuple[str, Any]]:
    """Split of the prepared dataset -> the key of the pickle, as `file: key` for messages, and what it holds.

    Args:
        path: the pickle.
        kinds: the types a split's content may have.
        expected: these in words, for the message.

    Raises:
        ValueError: no pickle, or not the three splits with such contents; names file and key.
    """
    root = load_pickle(path, encoding="latin1")
    if not isinstance(root, dict):
        raise ValueError(f"{path}: expected a dict with the keys train, valid and test, got {short(root)}")
    content = {SPLIT_NAMES[key]: (key, root[key]) for key in map(_as_key, root) if key in SPLIT_NAMES and key in root}
    if len(content) != 3:
        found = ", ".join(short(key) for key in list(root)[:8]) or "none"
        raise ValueError(f"{path}: expected the keys train, valid and test, found {found}")
    for key, value in content.values():
        if not isinstance(value, kinds):
            raise ValueError(f"{path}: {key}: expected {expected}, got {short(value)}")
    return {split: (f"{path}: {content[split][0]}", content[split][1]) for split in SPLITS}


def _as_key(key: Any) -> str:
    return key if isinstance(key, str) else ""


def need(content: Mapping[str, Any], key: str, where: str) -> Any:
    """`content[key]`, or a `ValueError` that names the file, the key and those that are there."""
    if key not in content:
        found = ", ".join(short(one) for one in list(content)[:12]) or "none"
        raise ValueError(f"{where}: expected the key {key!r}, found {found}")
    return content[key]


def values_of(value: Any, where: str) -> list[Any]:
    """A list, a tuple or the first axis of an array, as a list."""
    if isinstance(value, np.ndarray) and value.ndim:
        return list(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    raise ValueError(f"{where}: expected a list or an array, got {short(value)}")


def lengths_of(value: Any, count: int, where: str) -> list[int]:
    """Numbers of time steps, one a row."""
    values = [one.item() if isinstance(one, np.generic) else one for one in values_of(value, where)]
    if len(values) != count:
        raise ValueError(f"{where}: expected {count} lengths, one a row, got {len(values)}")
    for row, length in enumerate(values):
        whole = isinstance(length, int) or (isinstance(length, float) and length.is_integer())
        if not whole or length < 0:
            raise ValueError(f"{where}: expected a number of steps for row {row}, got {short(values[row])}")
    return [int(length) for length in values]


class Sequences:
    """One modality of one split: an `(N, T, d)` array, or N arrays `(T_i, d)`; rows are views, nothing is copied.

    Args:
        value: as the pickle has it.
        count: the number of rows.
        where: file, split and key for messages.
        lengths: steps of each row that are not padding; `None` = not known.

    Raises:
        ValueError: another shape, another number of rows, or no numbers.
    """

    def __init__(self, value: Any, count: int, where: str, lengths: Sequence[int] | None = None):
        if isinstance(value, np.ndarray) and value.dtype != object:
            if value.ndim != 3 or value.dtype.kind not in "biuf":
                raise ValueError(f"{where}: expected numbers of shape (rows, steps, width), got {short(value)}")
            self._rows, self.width = value, value.shape[2]
            self.steps: int | None = value.shape[1]
        else:
            self._rows = [matrix(row, f"{where}, row {place}") for place, row in enumerate(values_of(value, where))]
            self.width = same_width([row.shape[1] for row in self._rows], where)
            self.steps = None
        if len(self._rows) != count:
            raise ValueError(f"{where}: expected {count} rows as there are ids, got {len(self._rows)}")
        if self.width == 0 and count:
            raise ValueError(f"{where}: expected at least one column, got {short(value)}")
        self._lengths = lengths

    def row(self, place: int) -> np.ndarray:
        """`(T, d)` without padding."""
        return unpadded(self._rows[place], None if self._lengths is None else self._lengths[place])


def matrix(value: Any, where: str) -> np.ndarray:
    """`(T, d)` numbers.

    Raises:
        ValueError: another shape, or no numbers.
    """
    try:
        found = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        found = np.empty(0, object)
    if found.ndim != 2 or found.dtype.kind not in "biuf":
        raise ValueError(f"{where}: expected numbers of shape (steps, width), got {short(value)}")
    return found


def same_width(widths: Iterable[int], where: str) -> int:
    """The one width of all of them."""
    found = sorted(set(widths))
    if len(found) > 1:
        raise ValueError(f"{where}: expected one width, got {', '.join(map(str, found[:5]))}")
    return found[0] if found else 0


def unpadded(sequence: np.ndarray, length: int | None) -> np.ndarray:
    """A sequence without the zero steps that fill it up.

    Args:
        sequence: `(T, d)`.
        length: how many steps are not padding; `None` = steps of nothing but zeros are cut from both ends. Files pad
            at the end or at the front: the front is taken for padding where the end is not zero.
    """
    if length is not None:
        steps = len(sequence)
        with np.errstate(invalid="ignore"):  # damaged files hold NaNs that signal
            at_the_front = length < steps and sequence[length:].any() and not sequence[: steps - length].any()
        if at_the_front:
            return sequence[steps - length :]
        return sequence[:length]
    with np.errstate(invalid="ignore"):
        filled = np.flatnonzero(sequence.any(axis=1))
    return sequence[filled[0] : filled[-1] + 1] if len(filled) else sequence[:0]


@dataclass
class PickledSet:
    """Collects the sequences of a pickle under the ids of the rows, and gives them as a `StoredSet`."""

    name: str
    path: Path
    sequences: dict[tuple[str, str], Sequences] = field(default_factory=dict)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)

    def put(self, split: str, modality: str, sequences: Sequences) -> None:
        """Add one modality of one split; its width must be that of the other splits.

        Raises:
            ValueError: it is not.
        """
        for (other, known), earlier in self.sequences.items():
            if known == modality and len(earlier._rows) and len(sequences._rows) and earlier.width != sequences.width:
                raise ValueError(
                    f"{self.path}: {modality}: expected one width, got {earlier.width} in {other} and "
                    f"{sequences.width} in {split}"
                )
        self.sequences[split, modality] = sequences

    def get(self, row_id: str) -> Mapping[str, np.ndarray]:
        """As `StoredSet.get`."""
        split, place = self.places.get(row_id, ("", 0))
        return {modality: sequences.row(place) for (one, modality), sequences in self.sequences.items() if one == split}

    def store(self, reading: Reading, source: Path) -> None:
        """Give the set to a reading, and count rows and features that have no counterpart; its name must be new."""
        file = relative_name(self.path, source)
        for item in reading.items:
            if item.example["id"] not in self.places:
                reading.notes.add(f"row without features in {file}", item.example["id"], split=item.example["split"])
        taken = {stored.name for stored in reading.stored}
        name = self.name if self.name not in taken else f"{self.name}-{len(taken)}"
        sizes = {modality: part.width for (_, modality), part in self.sequences.items() if part.width}
        if sizes:
            reading.stored.append(StoredSet(name, sizes, file, self.get))
