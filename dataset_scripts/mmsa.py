"""MOSI and MOSEI as MMSA distributes them: `label.csv` with clips, pickles of features, or both.

    label.csv                              video_id, clip_id, text, label, annotation, mode (train, valid or test)
    Raw/<video_id>/<clip_id>.mp4           optional
    aligned_50.pkl, unaligned_50.pkl       optional beside label.csv, in Processed/ or another folder; or on their own

A pickle is `{train, valid, test}` -> `raw_text, audio, vision, text, text_bert, id, regression_labels, annotations`,
and `audio_lengths, vision_lengths` where the modalities are not aligned to the words; an id is
`<video_id>$_$<clip_id>`. The score is trusted for the polarity: `annotation` sometimes says Neutral for -0.5.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats import RawFormat
from dataset_scripts.pickle_cells import as_numbers, shown
from dataset_scripts.pickled_splits import (
    PickledSet,
    Sequences,
    find_pickles,
    lengths_of,
    load_splits,
    need,
    note_unused,
    own_files,
    values_of,
)
from dataset_scripts.readers import Reading, Span, parse_float
from dataset_scripts.sentiment import (
    SPLIT_NAMES,
    Benchmark,
    Row,
    Rows,
    as_text,
    folder_of,
    name_parts,
    new_reading,
    relative_name,
    scores_of,
)
from dataset_scripts.tables import WrongLines, read_csv
from modeling_unimse.universal_label_unimse import polarity_of

CSV = "label.csv"
_REQUIRED = ("video_id", "clip_id", "text", "label", "mode")
_MODALITIES = {"text": "text", "audio": "audio", "vision": "visual"}
_DISAGREES = "annotation disagrees with the score; the score is taken"


def csv_format(benchmark: Benchmark) -> RawFormat:
    """`label.csv`, with whatever lies beside it."""
    looked_for = f"{CSV} ({', '.join(_REQUIRED)}) and optionally clips at Raw/<video_id>/<clip_id>.mp4"
    return RawFormat(
        "mmsa-csv", looked_for, lambda source: _label_csv(source).is_file(), lambda source: _read_csv(benchmark, source)
    )


def pickle_format(benchmark: Benchmark) -> RawFormat:
    """MMSA's pickles on their own."""
    return RawFormat(
        "mmsa-pickle",
        "MMSA pickles such as aligned_50.pkl, unaligned_50.pkl",
        lambda source: bool(find_pickles(source, "mmsa")),
        lambda source: _read_pickles(benchmark, source),
    )


def _label_csv(source: Path) -> Path:
    return source if source.is_file() and source.suffix.lower() == ".csv" else source / CSV


def _read_csv(benchmark: Benchmark, source: Path) -> Reading:
    path = _label_csv(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"{benchmark.name}: {CSV} not found in {source}; expected {csv_format(benchmark).looked_for}"
        )
    table = read_csv(path, _REQUIRED, ("annotation",))
    clips = _clips(path.parent)
    reading = new_reading(benchmark, f"mmsa-csv: {path.name} {_clips_layout(clips)}")
    reading.note_encoding(table)
    rows, wrong = Rows(benchmark, reading), WrongLines()
    for line, fields in table:
        where = f"{path}, line {line}"
        try:
            row = _row(fields, where, clips)
            name = rows.add(row, f"{path.name}, line {line}")
        except ValueError as error:
            wrong.add(error)
            continue
        if name is not None:
            _note_annotation(reading, name, fields.get("annotation", ""), row.score)
    wrong.raise_if_any()
    rows.finish()
    if source.is_dir():
        _store_pickles(benchmark, reading, source)
    return reading


def _row(fields: Mapping[str, str], where: str, clips: Path | None) -> Row:
    video, clip, mode = fields["video_id"].strip(), fields["clip_id"].strip(), fields["mode"].strip().lower()
    if not video or not clip:
        raise ValueError(f"{where}: expected a video_id and a clip_id, got {video!r} and {clip!r}")
    if mode not in SPLIT_NAMES:
        raise ValueError(f"{where}: mode: expected train, valid or test, got {fields['mode']!r}")
    score = parse_float(fields["label"], f"{where}: label") if fields["label"].strip() else None
    span = _clip(clips, video, clip)
    return Row(video, clip, SPLIT_NAMES[mode], score, fields["text"], audio=span, visual=span)


def _note_annotation(reading: Reading, name: str, annotation: str, score: float) -> None:
    polarity = polarity_of(score)
    if annotation.strip() and annotation.strip().lower() != polarity:
        reading.notes.add(_DISAGREES, f"{name}: {annotation} for {score:g}", split=name.split("/")[1])


def _clips(folder: Path) -> Path | None:
    return folder / "Raw" if (folder / "Raw").is_dir() else None


def _clips_layout(clips: Path | None) -> str:
    return "with clips in Raw/" if clips else "without Raw/, text only"


def _clip(clips: Path | None, video: str, clip: str) -> Span | None:
    return Span(clips / video / f"{clip}.mp4") if clips else None


def _store_pickles(benchmark: Benchmark, reading: Reading, source: Path) -> None:
    """Stored sets for the rows of `label.csv`, by video and clip; the split is that of the csv."""
    examples = {item.example["id"].split("/", 2)[2]: item.example for item in reading.items}
    paths = find_pickles(source, "mmsa")
    for _, found in _own_pickles(benchmark, reading, source, paths) if paths else ():
        found.features.attach(reading, source, found.rows(), lambda row: examples.get(f"{row.video}_{row.clip}"))
        found.features.store(reading, source)
    note_unused(reading, source, paths)


def _own_pickles(benchmark: Benchmark, reading: Reading, source: Path, paths: list[Path]) -> list:
    loaded = ((path, _Pickle(path, benchmark.first_clip)) for path in paths)
    return own_files(benchmark, reading, source, ((path, found, found.videos()) for path, found in loaded))


def _read_pickles(benchmark: Benchmark, source: Path) -> Reading:
    paths = find_pickles(source, "mmsa")
    if not paths:
        paths = [source] if source.is_file() else []
    if not paths:
        raise FileNotFoundError(f"{benchmark.name}: no {pickle_format(benchmark).looked_for} in {source}")
    clips = _clips(folder_of(source)) if source.is_dir() else None
    reading = new_reading(benchmark, "")
    pickles = _own_pickles(benchmark, reading, source, paths)
    files = ", ".join(relative_name(path, source) for path, _ in pickles)
    reading.layout = f"mmsa-pickle: {files} {_clips_layout(clips)}"
    rows = Rows(benchmark, reading)
    _, first = pickles[0]
    for place, row, where, annotation in first.labelled(clips):
        name = rows.add(row, where)
        if name is not None:
            first.features.places.setdefault(name, (row.split, place))
            if annotation:
                _note_annotation(reading, name, annotation, row.score)
    first.features.store(reading, source)
    for _, further in pickles[1:]:
        further.features.attach(reading, source, further.rows(), rows.find)
        further.features.store(reading, source)
    note_unused(reading, source, paths)
    return rows.finish()


class _Pickle:
    """A pickle of MMSA, checked: names, labels, text and sequences of each split.

    Args:
        path: the file.
        first_clip: see `sentiment.name_parts`.

    Raises:
        ValueError: a key is missing, or its content has another shape; names file, split and key.
    """

    def __init__(self, path: Path, first_clip: int):
        self.path = path
        self.content = load_splits(path, (dict,), "a dict of arrays")
        unaligned = any({"audio_lengths", "vision_lengths"} & content.keys() for _, content in self.content.values())
        self.features = PickledSet("mmsa-unaligned" if unaligned else "mmsa-aligned", path, aligned=not unaligned)
        self._names: dict[str, list[tuple[str, str]]] = {}
        self._cells: dict[str, dict[str, Any]] = {}
        for split, (where, content) in self.content.items():
            ids = values_of(need(content, "id", where), f"{where}: id")
            self._names[split] = [name_parts(one, f"{where}: row {row}", first_clip) for row, one in enumerate(ids)]
            self._cells[split] = self._columns(content, len(ids), where)
            self._put_sequences(split, content, len(ids), where)

    def videos(self) -> Iterator[str]:
        """The video of every row."""
        return (video for names in self._names.values() for video, _ in names)

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Place within its split, and row."""
        return ((place, row) for place, row, _, _ in self.labelled(None))

    def labelled(self, clips: Path | None) -> Iterator[tuple[int, Row, str, str]]:
        """Place within its split, row, where it stands, and its annotation, which may be empty."""
        for split, names in self._names.items():
            cells, where = self._cells[split], self.content[split][0]
            for place, (video, clip) in enumerate(names):
                span = _clip(clips, video, clip)
                text = _text(cells["raw_text"][place], f"{where}: raw_text, row {place}")
                row = Row(video, clip, split, cells["regression_labels"][place], text, audio=span, visual=span)
                yield place, row, f"{where}, row {place}", as_text(cells["annotations"][place]) or ""

    def _columns(self, content: Mapping[str, Any], count: int, where: str) -> dict[str, Any]:
        labels = need(content, "regression_labels", where)
        columns: dict[str, Any] = {"regression_labels": scores_of(labels, count, f"{where}: regression_labels")}
        for key in ("raw_text", "annotations"):
            columns[key] = values_of(content[key], f"{where}: {key}") if key in content else [None] * count
            if len(columns[key]) != count:
                raise ValueError(f"{where}: {key}: expected {count} values, one a row, got {len(columns[key])}")
        return columns

    def _put_sequences(self, split: str, content: Mapping[str, Any], count: int, where: str) -> None:
        words = _word_counts(content["text_bert"], count, f"{where}: text_bert") if "text_bert" in content else None
        aligned = self.features.aligned
        for key, modality in _MODALITIES.items():
            if key not in content:
                continue
            lengths = words if aligned or key == "text" else None
            if f"{key}_lengths" in content:
                lengths = lengths_of(content[f"{key}_lengths"], count, f"{where}: {key}_lengths")
            self.features.put(split, modality, Sequences(content[key], count, f"{where}: {key}", lengths))


def _text(value: Any, where: str) -> str | None:
    text = as_text(value)
    if text is None and not (value is None or (isinstance(value, float) and np.isnan(value))):
        raise ValueError(f"{where}: expected text, got {shown(value)}")
    return text


def _word_counts(value: Any, count: int, where: str) -> list[int]:
    """Tokens of each row, by the mask in `(rows, 3, tokens)`: token ids, mask, segments."""
    try:
        tokens = as_numbers(value, 3)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if tokens is None or tokens.ndim != 3 or tokens.shape[:2] != (count, 3):
        raise ValueError(f"{where}: expected numbers of shape ({count}, 3, tokens), got {shown(value)}")
    return (tokens[:, 1] != 0).sum(axis=1).tolist()
