"""Pickles of the form `{'train': ..., 'valid': ..., 'test': ...}`: which kind one is, its splits, its sequences.

Three kinds are known: `mmsa` and `mult` hold a dict of arrays a split, `unimse` a list of items a split.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats import candidate_files
from dataset_scripts.pickle_cells import ListBudget, as_numbers, shown
from dataset_scripts.pickles import load_pickle, peek_root, problem_of
from dataset_scripts.readers import Reading, StoredSet, clean_text
from dataset_scripts.schema import SPLITS
from dataset_scripts.sentiment import SPLIT_NAMES, Benchmark, Row, not_its_videos, other_benchmark, relative_name

PATTERNS = ("*.pkl", "*.pickle", "*/*.pkl", "*/*.pickle")
_ROUNDING = 1e-3  # of labels; files hold them with three digits or more
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
        raise ValueError(f"{path}: expected a dict with the keys train, valid and test, got {shown(root)}")
    content = {SPLIT_NAMES[key]: (key, root[key]) for key in map(_as_key, root) if key in SPLIT_NAMES and key in root}
    if len(content) != 3:
        found = ", ".join(shown(key) for key in list(root)[:8]) or "none"
        raise ValueError(f"{path}: expected the keys train, valid and test, found {found}")
    for key, value in content.values():
        if not isinstance(value, kinds):
            raise ValueError(f"{path}: {key}: expected {expected}, got {shown(value)}")
    return {split: (f"{path}: {content[split][0]}", content[split][1]) for split in SPLITS}


def _as_key(key: Any) -> str:
    return key if isinstance(key, str) else ""


def need(content: Mapping[str, Any], key: str, where: str) -> Any:
    """`content[key]`, or a `ValueError` that names the file, the key and those that are there."""
    if key not in content:
        found = ", ".join(shown(one) for one in list(content)[:12]) or "none"
        raise ValueError(f"{where}: expected the key {key!r}, found {found}")
    return content[key]


def values_of(value: Any, where: str) -> list[Any]:
    """A list, a tuple or the first axis of an array, as a list."""
    if isinstance(value, np.ndarray) and value.ndim:
        return list(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    raise ValueError(f"{where}: expected a list or an array, got {shown(value)}")


def lengths_of(value: Any, count: int, where: str) -> list[int]:
    """Numbers of time steps, one a row."""
    values = [one.item() if isinstance(one, np.generic) else one for one in values_of(value, where)]
    if len(values) != count:
        raise ValueError(f"{where}: expected {count} lengths, one a row, got {len(values)}")
    for row, length in enumerate(values):
        whole = isinstance(length, int) or (isinstance(length, float) and length.is_integer())
        if not whole or length < 0:
            raise ValueError(f"{where}: expected a number of steps for row {row}, got {shown(values[row])}")
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
                raise ValueError(f"{where}: expected numbers of shape (rows, steps, width), got {shown(value)}")
            self._rows, self.width = value, value.shape[2]
            self.steps: int | None = value.shape[1]
        else:
            rows, lists = values_of(value, where), ListBudget()
            self._rows = [matrix(row, f"{where}, row {place}", lists) for place, row in enumerate(rows)]
            self.width = same_width([row.shape[1] for row in self._rows], where)
            self.steps = None
        if len(self._rows) != count:
            raise ValueError(f"{where}: expected {count} rows as there are ids, got {len(self._rows)}")
        if self.width == 0 and count:
            raise ValueError(f"{where}: expected at least one column, got {shown(value)}")
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, place: int) -> np.ndarray:
        """`(T, d)` with its padding."""
        return self._rows[place]

    def length(self, place: int) -> int | None:
        """Steps of a row that are not padding; `None` = not known."""
        return None if self._lengths is None else self._lengths[place]


def matrix(value: Any, where: str, lists: ListBudget) -> np.ndarray:
    """`(T, d)` numbers; what is taken out of lists is charged to `lists`.

    Raises:
        ValueError: another shape, no numbers, or more numbers in lists than there may be.
    """
    try:
        found = as_numbers(value, 2, lists)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if found is None or found.ndim != 2:
        raise ValueError(f"{where}: expected numbers of shape (steps, width), got {shown(value)}")
    return found


def same_width(widths: Iterable[int], where: str) -> int:
    """The one width of all of them."""
    found = sorted(set(widths))
    if len(found) > 1:
        raise ValueError(f"{where}: expected one width, got {', '.join(map(str, found[:5]))}")
    return found[0] if found else 0


def unpadded(sequences: Mapping[str, np.ndarray], length: int | None) -> dict[str, np.ndarray]:
    """Aligned sequences without the zero steps that fill them up: all are cut at the same places.

    Args:
        sequences: modality -> `(T, d)`, all of one T; a single one is aligned with itself.
        length: how many steps are not padding; `None` = steps at both ends that are zero in all of them are cut. Files
            pad at the end or at the front: the front is taken for padding where the end is not zero.
    """
    with np.errstate(invalid="ignore"):  # damaged files hold NaNs that signal
        filled = np.logical_or.reduce([sequence.any(axis=1) for sequence in sequences.values()])
    steps = len(filled)
    if length is None:
        places = np.flatnonzero(filled)
        window = slice(places[0], places[-1] + 1) if len(places) else slice(0)
    elif length < steps and filled[length:].any() and not filled[: steps - length].any():
        window = slice(steps - length, None)
    else:
        window = slice(length)
    return {modality: sequence[window] for modality, sequence in sequences.items()}


@dataclass
class PickledSet:
    """Collects the sequences of a pickle under the ids of the rows, and gives them as a `StoredSet`.

    Args:
        name: of the set.
        path: the pickle.
        aligned: whether step t of all modalities is the same word.
    """

    name: str
    path: Path
    aligned: bool
    sequences: dict[tuple[str, str], Sequences] = field(default_factory=dict)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)

    def put(self, split: str, modality: str, sequences: Sequences) -> None:
        """Add one modality of one split; its width must be that of the other splits.

        Raises:
            ValueError: it is not.
        """
        for (other, known), earlier in self.sequences.items():
            if known == modality and len(earlier) and len(sequences) and earlier.width != sequences.width:
                raise ValueError(
                    f"{self.path}: {modality}: expected one width, got {earlier.width} in {other} and "
                    f"{sequences.width} in {split}"
                )
        self.sequences[split, modality] = sequences

    def get(self, row_id: str) -> Mapping[str, np.ndarray]:
        """As `StoredSet.get`."""
        split, place = self.places.get(row_id, ("", 0))
        parts = {modality: part for (one, modality), part in self.sequences.items() if one == split}
        rows = {modality: part.row(place) for modality, part in parts.items()}
        lengths = {modality: part.length(place) for modality, part in parts.items()}
        if self.aligned and len({len(row) for row in rows.values()}) == 1:
            return unpadded(rows, max((one for one in lengths.values() if one is not None), default=None))
        return {modality: unpadded({modality: row}, lengths[modality])[modality] for modality, row in rows.items()}

    def attach(self, reading: Reading, source: Path, rows: Iterable[tuple[int, Row]], find: Callable) -> None:
        """Give the features of a further file to rows that are there already, and count what does not agree with them.

        Args:
            reading: with all its rows.
            source: the raw folder.
            rows: (place within its split, row) as this file has it.
            find: a `Row` -> the example of the same segment, or `None`.
        """
        file, notes = relative_name(self.path, source), reading.notes
        for place, row in rows:
            example, name = find(row), f"{row.split}/{row.video}_{row.clip}"
            if example is None:
                notes.add(f"features in {file} without a row", name, split=row.split)
            elif example["id"] in self.places:
                notes.add(f"second features in {file} for a row, not used", example["id"], split=row.split)
            else:
                self.places[example["id"]] = (row.split, place)
                for what in _contradictions(row, example):
                    notes.add(f"{what} in {file} is another than the row's, not taken", example["id"], split=row.split)

    def store(self, reading: Reading, source: Path) -> None:
        """Give the set to a reading, and count rows without features."""
        file = relative_name(self.path, source)
        for item in reading.items:
            if item.example["id"] not in self.places:
                reading.notes.add(f"row without features in {file}", item.example["id"], split=item.example["split"])
        sizes = {modality: part.width for (_, modality), part in self.sequences.items() if part.width}
        if sizes:
            reading.stored.append(StoredSet(reading.free_name(self.name), sizes, file, self.get))


def _contradictions(row: Row, example: Mapping[str, Any]) -> Iterable[str]:
    """In what a row of a further file is not what the row it belongs to is."""
    if row.split != example["split"]:
        yield "split"
    if row.score is not None and not math.isnan(row.score) and abs(row.score - example["sentiment"]) > _ROUNDING:
        yield "label"
    text, known = clean_text(row.text), example["text"]
    if text is not None and known is not None and text.casefold() != known.casefold():
        yield "text"


def own_files(
    benchmark: Benchmark, reading: Reading, source: Path, loaded: Iterable[tuple[Path, Any, Iterable]]
) -> list:
    """What was loaded of those files that are the benchmark's; files of the other benchmark's videos are counted.

    Args:
        benchmark: the one that is read.
        reading: for the notes.
        source: the raw folder.
        loaded: file, what was loaded, and the ids of its videos.

    Raises:
        ValueError: there are only files of the other benchmark, and no rows yet.
    """
    own, others = [], []
    for path, content, videos in loaded:
        other = other_benchmark(benchmark, videos)
        if other is None:
            own.append((path, content))
        else:
            others.append((path, other))
    for path, other in others:
        if not own and not reading.items:
            raise ValueError(not_its_videos(path, benchmark, other))
        reading.notes.add(f"file of {other.upper()}'s videos, not used", relative_name(path, source))
    return own


def note_unused(reading: Reading, source: Path, used: Iterable[Path]) -> None:
    """Count the pickles in a folder that were not used, with the reason."""
    left = set(candidate_files(source, *PATTERNS)) - set(used) if source.is_dir() else set()
    for path in sorted(left):
        kind, name = pickle_kind(path), relative_name(path, source)
        reason = f"of the form {kind}-pickle" if kind else problem_of(path) or "of no known form"
        reading.notes.add(
            "pickle not used", reason.replace(str(path), name) if str(path) in reason else f"{name}: {reason}"
        )
