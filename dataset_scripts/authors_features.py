"""The features that the authors of UniMSE stored for MELD and IEMOCAP: pickles that lie beside the raw files.

    {"audio": [train, valid, test], "video": [train, valid, test]}     each a dict: id -> array (T, d)

A clip without features is an array of zeros, (157, 64) for sound and (32, 64) for pictures; shorter clips are filled up
with steps of zeros. Ids are written in several ways (`0_0`, `dia0_utt0`, `train_0_0`, a tuple), so each benchmark tells
which row an id means.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats import candidate_files
from dataset_scripts.pickles import load_pickle, peek_pickle, problem_of
from dataset_scripts.readers import Reading, StoredSet
from dataset_scripts.schema import SPLITS
from dataset_scripts.sentiment import relative_name

SET_NAME = "unimse-authors"
WITHOUT_ROW = "features of the authors without a row, not used"
OTHER_FORM = "features of the authors of another shape, not used"
SECOND = "second features of the authors for a row, not used"
NO_FEATURES = "rows without features of the authors"
PICKLE_NOT_USED = "pickle not used"
_ENDINGS = (".pkl", ".pickle", ".p")
_MODALITY_OF_KEY = {"audio": "audio", "video": "visual"}
_KEYS_OF_OTHERS = {"text", "raw_text", "vision", "labels"}
_FORM = "{'audio': [train, valid, test], 'video': [train, valid, test]} with a dict id -> array in each place"


def attach_authors_features(
    reading: Reading,
    source: Path,
    folders: Iterable[Path],
    row_of: Callable[[str, str], str | None],
    others: Collection[Path] = (),
) -> None:
    """Look for the authors' pickles and add what they hold to `reading.stored`.

    A pickle that merely lies beside the rows does not stop their reading: one that is broken, unsafe or of another form
    is noted with the reason.

    Args:
        reading: with all its rows.
        source: the raw folder, for the names in the report.
        folders: where such pickles may lie; their subfolders are not looked into.
        row_of: (split, id as text) -> id of the row, or `None` where it names none.
        others: pickles in these folders that are read as something else.
    """
    collected, names = _Collected(reading, row_of), []
    for path in (path for folder in folders for path in find_pickles(folder) if path not in others):
        try:
            modalities = _modalities(path)
        except (ValueError, OSError) as error:
            note_not_used(reading, path, source, error)
            continue
        names.append(relative_name(path, source))
        for modality, parts in modalities.items():
            for split, part in zip(SPLITS, parts, strict=True):
                collected.add(part, f"{path.name}, {modality}", split, modality)
    if collected.sizes:
        collected.note_rows_without()
        reading.stored.append(StoredSet(SET_NAME, collected.sizes, ", ".join(names), collected.get))


def find_pickles(place: Path) -> list[Path]:
    """The files of a folder that are pickles by their names, or `place` itself if it is one."""
    return [path for path in candidate_files(place, "*") if path.suffix.lower() in _ENDINGS]


def note_not_used(reading: Reading, path: Path, source: Path, error: ValueError | OSError) -> None:
    """Count a pickle that was let be; the reason names it as a report may, without the folders above `source`."""
    name = relative_name(path, source)
    reason = f"{path}: {error.strerror}" if isinstance(error, OSError) else str(error)
    reading.notes.add(PICKLE_NOT_USED, " ".join(reason.replace(str(path), name).split()))


class _Collected:
    """The arrays of each row: views of the files, never copies."""

    def __init__(self, reading: Reading, row_of: Callable[[str, str], str | None]):
        self.reading, self.row_of = reading, row_of
        self.splits = {item.example["id"]: item.example["split"] for item in reading.items}
        self.arrays: dict[str, dict[str, np.ndarray]] = {}
        self.sizes: dict[str, int] = {}

    def add(self, part: Mapping, where: str, split: str, modality: str) -> None:
        """Sort the arrays of one dict by row; what cannot be used is counted."""
        notes = self.reading.notes
        for key, value in part.items():
            name = key_text(key)
            row_id = self.row_of(split, name)
            if row_id not in self.splits:
                notes.add(WITHOUT_ROW, f"{where}: {name[:80]}", split=split)
                continue
            array = as_sequence(value)
            if array is None or array.shape[1] != self.sizes.setdefault(modality, array.shape[1]):
                notes.add(OTHER_FORM, f"{where}: {row_id}: {describe(value)}", split=split)
            elif modality in self.arrays.setdefault(row_id, {}):
                notes.add(SECOND, f"{where}: {row_id}", split=split)
            else:
                self.arrays[row_id][modality] = array

    def note_rows_without(self) -> None:
        for row_id, split in self.splits.items():
            if row_id not in self.arrays:
                self.reading.notes.add(NO_FEATURES, row_id, split=split)

    def get(self, row_id: str) -> dict[str, np.ndarray]:
        return {modality: trim_zero_steps(array) for modality, array in self.arrays.get(row_id, {}).items()}


def key_text(key: Any) -> str:
    """An id as text: parts of a tuple are joined by `_`, the ending of a file name is taken off."""
    parts = key if isinstance(key, tuple) else (key,)
    return re.sub(r"\.[A-Za-z]\w{1,3}$", "", "_".join(map(as_text, parts)))


def as_text(value: Any) -> str:
    """A string or number of a pickle as text that can be written: halves of surrogate pairs become `?`."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    short = isinstance(value, (float, np.number)) or isinstance(value, int) and value.bit_length() <= 64
    return str(value) if short else f"a {type(value).__name__}"


def trim_zero_steps(sequence: np.ndarray) -> np.ndarray:
    """A view of `(T, d)` without the steps of zeros at both ends; a sequence of nothing else stays as it is."""
    steps = np.flatnonzero(sequence.any(axis=1))
    return sequence[steps[0] : steps[-1] + 1] if len(steps) else sequence


def begins_as_theirs(path: Path) -> bool:
    """Whether a pickle has the authors' keys near its beginning and none of other pickles'; never raises."""
    names = peek_pickle(path)
    return bool(names & set(_MODALITY_OF_KEY)) and not names & _KEYS_OF_OTHERS


def _modalities(path: Path) -> dict[str, Sequence[Mapping]]:
    """Modality -> the dicts of training, validation and test set. What begins otherwise is not read to its end."""
    if not begins_as_theirs(path):
        raise ValueError(problem_of(path) or f"{path}: expected {_FORM}, got something else")
    content = load_pickle(path, encoding="latin1")
    if not isinstance(content, Mapping) or not set(content) & set(_MODALITY_OF_KEY):
        raise ValueError(f"{path}: expected {_FORM}, got a {type(content).__name__}")
    modalities = {}
    for key, modality in _MODALITY_OF_KEY.items():
        parts = content.get(key, ({}, {}, {}))
        if not isinstance(parts, (list, tuple)) or [isinstance(part, Mapping) for part in parts] != [True] * 3:
            raise ValueError(f"{path}: expected {_FORM}, got something else under {key!r}")
        modalities[modality] = parts
    return modalities


def as_sequence(value: Any) -> np.ndarray | None:
    """`(T, d)` numbers as they are, a vector `(d,)` as one step; `None` for anything else."""
    if isinstance(value, list) and all(isinstance(number, (int, float, np.number)) for number in value):
        value = np.array(value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.ndim not in (1, 2):
        return None
    return np.atleast_2d(value) if value.size else None


def describe(value: Any) -> str:
    """Type and shape, for messages."""
    if value is None:
        return "nothing"
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
