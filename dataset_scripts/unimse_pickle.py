"""MOSI and MOSEI as the authors of UniMSE store them: `{'train', 'valid', 'test'}`, each a list of items.

An item is `((words, visual, audio, text, visual length, audio length), label, id)`, visual `(T_v, d_v)` and audio
`(T_a, d_a)`. `words` is a list of words or a text; `text` is the utterance as text, or `(T, d)` features of it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats import RawFormat
from dataset_scripts.pickled_splits import (
    find_pickles,
    load_splits,
    matrix,
    same_width,
    unpadded,
)
from dataset_scripts.readers import Reading, StoredSet
from dataset_scripts.sentiment import (
    Benchmark,
    Row,
    Rows,
    as_text,
    name_parts,
    new_reading,
    relative_name,
    short,
)

SET_NAME = "unimse-authors"
_ITEM = "((words, visual, audio, text, visual length, audio length), label, id)"
_PAUSE = "sp"


def unimse_format(benchmark: Benchmark) -> RawFormat:
    """The authors' pickle."""
    return RawFormat(
        "unimse-pickle",
        f"the UniMSE authors' pickle of {benchmark.name.upper()}, lists of {_ITEM}",
        lambda source: bool(find_pickles(source, "unimse")),
        lambda source: _read(benchmark, source),
    )


def _read(benchmark: Benchmark, source: Path) -> Reading:
    paths = find_pickles(source, "unimse") or ([source] if source.is_file() else [])
    if len(paths) != 1:
        found = ", ".join(relative_name(path, source) for path in paths) or "none"
        raise FileNotFoundError(
            f"{benchmark.name}: expected one pickle with lists of {_ITEM} in {source}, found {found}; name the file"
        )
    path = paths[0]
    reading = new_reading(benchmark, f"unimse-pickle: {relative_name(path, source)}")
    rows, sequences = Rows(benchmark, reading), {}
    for split, (where, items) in load_splits(path, (list, tuple), f"a list of {_ITEM}").items():
        for place, item in enumerate(items):
            row, found = _read_item(benchmark, item, split, f"{where}, item {place}")
            name = rows.add(row, f"{where}, item {place}")
            if name is not None:
                sequences.setdefault(name, found)
    sizes = _sizes(path, sequences)
    if sizes:
        reading.stored.append(
            StoredSet(SET_NAME, sizes, relative_name(path, source), lambda row_id: sequences.get(row_id, {}))
        )
    return rows.finish()


def _read_item(benchmark: Benchmark, item: Any, split: str, where: str) -> tuple[Row, dict[str, np.ndarray]]:
    parts = _members(item)
    inputs = _members(parts[0]) if len(parts) == 3 else []
    if len(inputs) != 6:
        raise ValueError(f"{where}: expected {_ITEM}, got {short(item)} of other parts")
    words, visual, audio, text, visual_length, audio_length = inputs
    video, clip = _name(benchmark, parts[2], where)
    found = {
        "visual": _sequence(visual, visual_length, f"{where}: visual"),
        "audio": _sequence(audio, audio_length, f"{where}: audio"),
    }
    if as_text(text) is None and isinstance(text, np.ndarray) and text.ndim == 2:
        found["text"] = unpadded(matrix(text, f"{where}: text"), None)
    score = _score(parts[1], f"{where}: label")
    row = Row(video, clip, split, score, _words(text) or _words(words))
    return row, {modality: value for modality, value in found.items() if value is not None}


def _members(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        return list(value)
    return list(value) if isinstance(value, (list, tuple)) else []


def _name(benchmark: Benchmark, value: Any, where: str) -> tuple[str, str]:
    """Video and clip; `video[row]` counts the rows of the labels, the clips of MOSI begin at 1."""
    for _ in range(3):
        value = _cells(value)[0] if len(_cells(value)) == 1 else value
    video, clip = name_parts(value, where)
    if (as_text(value) or "").endswith("]") and clip.isdecimal():
        clip = str(int(clip) + benchmark.first_clip)
    return video, clip


def _cells(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray):
        return list(value.reshape(-1)) if value.size == 1 else []
    return list(value) if isinstance(value, (list, tuple)) else []


def _sequence(value: Any, length: Any, where: str) -> np.ndarray | None:
    if value is None:
        return None
    found = matrix(value, where)
    if length is not None:
        cells = np.asarray(length).reshape(-1) if isinstance(length, (int, float, np.generic, np.ndarray)) else []
        if len(cells) != 1 or cells.dtype.kind not in "iuf" or not 0 <= cells[0] < 2**31 or cells[0] % 1:
            raise ValueError(f"{where}: expected a number of steps, got {short(length)}")
        return unpadded(found, int(cells[0]))
    return unpadded(found, None)


def _score(value: Any, where: str) -> float:
    """The first cell of a label: a number, `(1, 1)`, or MOSEI's `(1, 7)`, whose first is the sentiment."""
    try:
        cells = np.asarray(value).reshape(-1)
    except (ValueError, TypeError, OverflowError, RecursionError):
        cells = np.empty(0)
    if not len(cells) or cells.dtype.kind not in "biuf":
        raise ValueError(f"{where}: expected a number, got {short(value)}")
    return float(cells[0])


def _words(value: Any) -> str | None:
    """A text, or the words of a list without pauses; `None` for what is neither."""
    if as_text(value) is not None:
        return as_text(value)
    members = list(value) if isinstance(value, np.ndarray) and value.ndim == 1 else _members(value)
    words = [as_text(one) for one in members]
    if not words or None in words:
        return None
    return " ".join(word for word in words if word != _PAUSE)


def _sizes(path: Path, sequences: dict[str, dict[str, np.ndarray]]) -> dict[str, int]:
    sizes = {}
    for modality in ("text", "audio", "visual"):
        widths = [found[modality].shape[1] for found in sequences.values() if modality in found]
        if widths:
            sizes[modality] = same_width(widths, f"{path}: {modality}")
    return {modality: size for modality, size in sizes.items() if size}
