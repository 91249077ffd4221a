"""MOSI and MOSEI as the authors of UniMSE store them: `{'train', 'valid', 'test'}`, each a list of items.

An item is `((words, visual, audio, text, visual length, audio length), label, id)`, visual `(T_v, d_v)` and audio
`(T_a, d_a)`. `words` is a list of words or a text; `text` is the utterance as text, or `(T, d)` features of it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats import RawFormat
from dataset_scripts.pickle_cells import ListBudget, as_numbers, shown
from dataset_scripts.pickled_splits import (
    find_pickles,
    load_splits,
    matrix,
    note_unused,
    own_files,
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
)

SET_NAME = "unimse-authors"
_ITEM = "((words, visual, audio, text, visual length, audio length), label, id)"
_PAUSE = "sp"
_LABEL_CELLS, _MOST_WORDS, _MOST_LETTERS = 1000, 10_000, 1 << 20


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
    reading = new_reading(benchmark, "")
    loaded = ((path, list(_items(benchmark, path))) for path in paths)
    pickles = own_files(benchmark, reading, source, ((path, items, _videos(items)) for path, items in loaded))
    if len(pickles) != 1:
        found = ", ".join(relative_name(path, source) for path, _ in pickles) or "none"
        raise FileNotFoundError(
            f"{benchmark.name}: expected one pickle with lists of {_ITEM} in {source}, found {found}; name the file"
        )
    path, items = pickles[0]
    reading.layout = f"unimse-pickle: {relative_name(path, source)}"
    rows, sequences = Rows(benchmark, reading), {}
    for row, found, where in items:
        name = rows.add(row, where)
        if name is not None:
            sequences.setdefault(name, found)
    sizes = _sizes(path, sequences)
    if sizes:
        reading.stored.append(
            StoredSet(SET_NAME, sizes, relative_name(path, source), lambda row_id: sequences.get(row_id, {}))
        )
    note_unused(reading, source, paths)
    return rows.finish()


def _items(benchmark: Benchmark, path: Path) -> Iterator[tuple[Row, dict[str, np.ndarray], str]]:
    """Row, features and place of each item of a file."""
    lists = ListBudget()
    for split, (where, items) in load_splits(path, (list, tuple), f"a list of {_ITEM}").items():
        for place, item in enumerate(items):
            yield *_read_item(benchmark, item, split, f"{where}, item {place}", lists), f"{where}, item {place}"


def _videos(items: list[tuple[Row, dict[str, np.ndarray], str]]) -> list[str]:
    return [row.video for row, _, _ in items]


def _read_item(
    benchmark: Benchmark, item: Any, split: str, where: str, lists: ListBudget
) -> tuple[Row, dict[str, np.ndarray]]:
    parts = _members(item)
    inputs = _members(parts[0]) if len(parts) == 3 else []
    if len(inputs) != 6:
        raise ValueError(f"{where}: expected {_ITEM}, got {shown(item)} of other parts")
    words, visual, audio, text, visual_length, audio_length = inputs
    video, clip = _name(benchmark, parts[2], where)
    found, lengths = {}, {}
    for modality, value, length in (("visual", visual, visual_length), ("audio", audio, audio_length)):
        if value is not None:
            found[modality] = matrix(value, f"{where}: {modality}", lists)
            lengths[modality] = _length(length, f"{where}: {modality}")
    if as_text(text) is None and isinstance(text, np.ndarray) and text.ndim == 2:
        found["text"], lengths["text"] = matrix(text, f"{where}: text", lists), None
    row = Row(video, clip, split, _score(parts[1], f"{where}: label"), _words(text) or _words(words))
    return row, _without_padding(found, lengths)


def _without_padding(found: dict[str, np.ndarray], lengths: dict[str, int | None]) -> dict[str, np.ndarray]:
    """Sound and pictures of one number of steps and of one given length are aligned; all else is cut on its own."""
    pair = {modality: found[modality] for modality in ("visual", "audio") if modality in found}
    alike = {(len(sequence), lengths[modality]) for modality, sequence in pair.items()}
    together = pair if len(pair) == 2 and len(alike) == 1 and lengths["audio"] is not None else {}
    cut = unpadded(together, lengths["audio"]) if together else {}
    for modality in found.keys() - together.keys():
        cut |= unpadded({modality: found[modality]}, lengths[modality])
    return cut


def _members(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        return list(value)
    return list(value) if isinstance(value, (list, tuple)) else []


def _name(benchmark: Benchmark, value: Any, where: str) -> tuple[str, str]:
    """Video and clip of a name in up to three wrappings."""
    for _ in range(3):
        value = _cells(value)[0] if len(_cells(value)) == 1 else value
    return name_parts(value, where, benchmark.first_clip)


def _cells(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray):
        return list(value.reshape(-1)) if value.size == 1 else []
    return list(value) if isinstance(value, (list, tuple)) else []


def _length(value: Any, where: str) -> int | None:
    """A number of steps, `None` for none."""
    if value is None:
        return None
    cells = np.asarray(value).reshape(-1) if isinstance(value, (int, float, np.generic, np.ndarray)) else []
    if len(cells) != 1 or cells.dtype.kind not in "iuf" or not 0 <= cells[0] < 2**31 or cells[0] % 1:
        raise ValueError(f"{where}: expected a number of steps, got {shown(value)}")
    return int(cells[0])


def _score(value: Any, where: str) -> float:
    """The first cell of a label: a number, `(1, 1)`, or MOSEI's `(1, 7)`, whose first is the sentiment."""
    try:
        cells = as_numbers(value, 3, ListBudget(_LABEL_CELLS))
    except ValueError:
        cells = None
    if cells is None or not cells.size:
        raise ValueError(f"{where}: expected a number, got {shown(value)}")
    return float(cells.reshape(-1)[0])


def _words(value: Any) -> str | None:
    """A text, or the words of a list without pauses; `None` for what is neither."""
    if as_text(value) is not None:
        return as_text(value)
    members = list(value) if isinstance(value, np.ndarray) and value.ndim == 1 else _members(value)
    if not 0 < len(members) <= _MOST_WORDS or not all(isinstance(one, (str, bytes, np.ndarray)) for one in members):
        return None
    if sum(one.size if isinstance(one, np.ndarray) else len(one) for one in members) > _MOST_LETTERS:
        return None
    words = [as_text(one) for one in members]
    if None in words:
        return None
    return " ".join(word for word in words if word != _PAUSE)


def _sizes(path: Path, sequences: dict[str, dict[str, np.ndarray]]) -> dict[str, int]:
    sizes = {}
    for modality in ("text", "audio", "visual"):
        widths = [found[modality].shape[1] for found in sequences.values() if modality in found]
        if widths:
            sizes[modality] = same_width(widths, f"{path}: {modality}")
    return {modality: size for modality, size in sizes.items() if size}
