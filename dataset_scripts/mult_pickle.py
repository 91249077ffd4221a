"""MOSI and MOSEI as CMU and MulT distribute them: pickles of padded arrays without the words.

    mosi_data.pkl, mosi_data_noalign.pkl, mosei_senti_data.pkl, mosei_senti_data_noalign.pkl
    {train, valid, test} -> text (N, T, 300), audio, vision, labels (N, 1, 1), id

An id is `<video>_<clip>` as bytes or text, or the columns video, start and end. There the number of the clip is not
known: the start in seconds takes its place in the row's id. Padding is zero steps at either end. The words are not in
the file: `text` is `None`, and the word vectors are the set's text features.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats import RawFormat
from dataset_scripts.pickle_cells import shown
from dataset_scripts.pickled_splits import (
    PickledSet,
    Sequences,
    find_pickles,
    load_splits,
    need,
    note_unused,
    own_files,
    values_of,
)
from dataset_scripts.readers import Reading
from dataset_scripts.sentiment import (
    Benchmark,
    Row,
    Rows,
    as_text,
    name_parts,
    new_reading,
    relative_name,
    scores_of,
)

_MODALITIES = {"text": "text", "audio": "audio", "vision": "visual"}


def mult_format(benchmark: Benchmark, usual: str) -> RawFormat:
    """The pickles of CMU and MulT.

    Args:
        benchmark: the benchmark.
        usual: the file's usual name.
    """
    return RawFormat(
        "mult-pickle",
        f"pickles of CMU or MulT such as {usual}",
        lambda source: bool(find_pickles(source, "mult")),
        lambda source: _read(benchmark, source, usual),
    )


def _read(benchmark: Benchmark, source: Path, usual: str) -> Reading:
    paths = find_pickles(source, "mult") or ([source] if source.is_file() else [])
    if not paths:
        raise FileNotFoundError(f"{benchmark.name}: no pickle of CMU or MulT, such as {usual}, in {source}")
    reading = new_reading(benchmark, "")
    loaded = ((path, _Pickle(path, benchmark.first_clip)) for path in paths)
    pickles = own_files(benchmark, reading, source, ((path, found, found.videos()) for path, found in loaded))
    files = ", ".join(relative_name(path, source) for path, _ in pickles)
    reading.layout = f"mult-pickle: {files}, features only, no words"
    rows = Rows(benchmark, reading)
    for number, (_, found) in enumerate(pickles):
        if number:
            found.features.attach(reading, source, ((place, row) for place, row, _ in found.rows), rows.find)
        else:
            _add_rows(rows, found)
        found.features.store(reading, source)
    note_unused(reading, source, paths)
    return rows.finish()


def _add_rows(rows: Rows, found: "_Pickle") -> None:
    for place, row, where in found.rows:
        name = rows.add(row, where)
        if name is not None:
            found.features.places.setdefault(name, (row.split, place))
            if row.start is not None:
                rows.reading.notes.add("number of the clip not known; its start takes the place", name, split=row.split)


class _Pickle:
    """A pickle of CMU or MulT, checked: `rows` are (place within its split, row, where it stands).

    Args:
        path: the file.
        first_clip: see `sentiment.name_parts`.

    Raises:
        ValueError: a key is missing, or its content has another shape; names file, split and key.
    """

    def __init__(self, path: Path, first_clip: int):
        content = load_splits(path, (dict,), "a dict of arrays")
        name = _set_name(path, content)
        self.features = PickledSet(name, path, aligned=name == "mult-aligned")
        self.rows: list[tuple[int, Row, str]] = []
        for split, (where, arrays) in content.items():
            self._read_split(split, where, arrays, first_clip)

    def videos(self) -> Iterator[str]:
        """The video of every row."""
        return (row.video for _, row, _ in self.rows)

    def _read_split(self, split: str, where: str, arrays: Mapping[str, Any], first_clip: int) -> None:
        names = values_of(need(arrays, "id", where), f"{where}: id")
        scores = scores_of(need(arrays, "labels", where), len(names), f"{where}: labels")
        for key, modality in _MODALITIES.items():
            if key in arrays:
                self.features.put(split, modality, Sequences(arrays[key], len(names), f"{where}: {key}"))
        for place, (name, score) in enumerate(zip(names, scores, strict=True)):
            row = _row(name, split, score, f"{where}: row {place}", first_clip)
            self.rows.append((place, row, f"{where}, row {place}"))


def _set_name(path: Path, content: Mapping[str, tuple[str, Mapping[str, Any]]]) -> str:
    """By the file's name, else by whether all modalities have as many steps."""
    name = path.name.lower()
    if "noalign" in name or "unalign" in name:
        return "mult-noalign"
    if "align" in name:
        return "mult-aligned"
    steps = {
        np.shape(arrays[key])[1:2] for _, arrays in content.values() for key in _MODALITIES if _is_array(arrays, key)
    }
    return "mult-aligned" if len(steps) == 1 else "mult-noalign"


def _is_array(arrays: Mapping[str, Any], key: str) -> bool:
    return isinstance(arrays.get(key), np.ndarray)


def _row(name: Any, split: str, score: float, where: str, first_clip: int) -> Row:
    """A row by its id: `video_clip`, or video, start and end."""
    parts = list(name.reshape(-1)) if isinstance(name, np.ndarray) else name
    if isinstance(parts, (list, tuple)) and len(parts) == 3:
        video, start, end = as_text(parts[0]), _seconds(parts[1]), _seconds(parts[2])
        if video is None or start is None or end is None or end < start:
            raise ValueError(f"{where}: id: expected a video, its start and end, got {', '.join(map(shown, parts))}")
        return Row(video, f"{start:.3f}", split, score, start=max(0.0, start), end=max(0.0, end), order=start)
    if isinstance(parts, (list, tuple)):
        parts = parts[0] if len(parts) == 1 else parts
    video, clip = name_parts(parts, where, first_clip)
    return Row(video, clip, split, score)


def _seconds(value: Any) -> float | None:
    if isinstance(value, np.complexfloating):  # which float() takes, with a warning
        return None
    try:
        seconds = float(as_text(value) or value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None
