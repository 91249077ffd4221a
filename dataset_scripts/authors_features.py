"""The features that the authors of UniMSE stored for MELD and IEMOCAP: pickles that lie beside the raw files.

    {"audio": [train, valid, test], "video": [train, valid, test]}     each a dict: id -> array (T, d)

A clip without features is an array of zeros, (157, 64) for sound and (32, 64) for pictures; shorter clips are filled up
with steps of zeros. Ids are written in several ways (`0_0`, `dia0_utt0`, `train_0_0`, a tuple), so each benchmark tells
which row an id means.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.pickles import load_pickle, peek_pickle
from dataset_scripts.readers import Reading, StoredSet
from dataset_scripts.schema import SPLITS

SET_NAME = "unimse-authors"
WITHOUT_ROW = "features of the authors without a row, not used"
OTHER_FORM = "features of the authors of another shape, not used"
SECOND = "second features of the authors for a row, not used"
NO_FEATURES = "rows without features of the authors"
PICKLES = (".pkl", ".pickle", ".p")
_MODALITY_OF_KEY = {"audio": "audio", "video": "visual"}
_KEYS_OF_OTHERS = {"text", "raw_text", "vision", "labels"}
_FORM = "{'audio': [train, valid, test], 'video': [train, valid, test]} with a dict id -> array in each place"


def attach_authors_features(
    reading: Reading, source: Path, folders: Iterable[Path], row_of: Callable[[str, str], str | None]
) -> None:
    """Look for the authors' pickles and add what they hold to `reading.stored`.

    Args:
        reading: with all its rows.
        source: the raw folder, for the names in the report.
        folders: where such pickles may lie; their subfolders are not looked into.
        row_of: (split, id as text) -> id of the row, or `None` where it names none.

    Raises:
        ValueError: a pickle that begins like the authors' and is broken, unsafe or of another form; names the file.
    """
    collected = _Collected(reading, row_of)
    files = [path for folder in folders for path in _candidates(folder)]
    for path in files:
        for modality, parts in _modalities(path).items():
            for split, part in zip(SPLITS, parts, strict=True):
                collected.add(part, f"{path.name}, {modality}", split, modality)
    if collected.sizes:
        collected.note_rows_without()
        names = ", ".join(path.relative_to(source).as_posix() for path in files)
        reading.stored.append(StoredSet(SET_NAME, collected.sizes, names, collected.get))


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


def _candidates(folder: Path) -> list[Path]:
    """The pickles of a folder that begin as the authors' do."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICKLES and path.is_file() and not path.name.startswith("._"):
            names = peek_pickle(path)
            if names & set(_MODALITY_OF_KEY) and not names & _KEYS_OF_OTHERS:
                found.append(path)
    return found


def _modalities(path: Path) -> dict[str, Sequence[Mapping]]:
    """Modality -> the dicts of training, validation and test set."""
    try:
        content = load_pickle(path, encoding="latin1")
    except ValueError as error:
        raise type(error)(f"{error}; to read the rest without its features, move it away") from None
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
