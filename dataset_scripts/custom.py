"""Your own data: a manifest that names each utterance's text, clip and labels, as csv, tsv or jsonl.

    id, split                              must be there; split is train, validation (valid, val, dev) or test
    text, speaker                          what was said and by whom
    dialogue_id                            utterances of a dialogue are each other's context, in the manifest's order
    audio, video                           paths, absolute or from the manifest's folder; with `video` alone its sound
                                           is used as well
    start, end                             seconds: the stretch of `audio` and `video` that is the utterance
    sentiment                              a score in [-3, 3]
    emotion                                a name, or any code that `emotion_map` translates

All but id and split may be empty or absent. A row with neither sentiment nor emotion has no polarity to learn or to
test: it is left out and counted. A row that is wrong stops the reading: the file is yours to correct.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.formats import RawFormat, candidate_files, choose_format
from dataset_scripts.readers import Item, Reading, Span, clean_text, parse_float
from dataset_scripts.schema import BENCHMARKS, check_dataset_name, new_example
from dataset_scripts.sentiment import SPLIT_NAMES
from dataset_scripts.tables import CsvTable, WrongLines, read_csv, read_jsonl
from modeling_unimse.universal_label_unimse import (
    EMOTION_POLARITY,
    MAX_INTENSITY,
    POLARITIES,
    check_emotions,
    polarity_of,
)

NO_POLARITY = "neither sentiment nor emotion, so no polarity"
NOT_USED = "column not used"
IN_SEVERAL = "id that comes in several splits; the split is part of the row's"
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")  # and the line ends that are none of these
_REQUIRED = ("id", "split")
_OPTIONAL = ("text", "audio", "video", "start", "end", "sentiment", "emotion", "speaker", "dialogue_id")


@dataclass(frozen=True)
class _Options:
    """What the caller says about the manifest."""

    name: str
    emotion_map: Mapping[str, str]
    polarities: Mapping[str, str]


def read(
    source: Path,
    format: str | None = None,
    name: str | None = None,
    emotion_map: Mapping[str, str] | None = None,
    emotion_polarity: Mapping[str, str] | None = None,
) -> Reading:
    """Read a manifest.

    Args:
        source: the manifest, or the folder with `manifest.csv`, `.tsv` or `.jsonl`, or with one file of those kinds.
        format: `manifest-csv`, `manifest-tsv` or `manifest-jsonl`; `None` = by the ending.
        name: the dataset's name; by default the folder's.
        emotion_map: code or name in the manifest -> emotion. What is not in it stays as it is, in lower case.
        emotion_polarity: polarity of emotions that `EMOTION_POLARITY` does not know; also overrides it.

    Returns:
        Rows in the order of the manifest; ids are `<name>/<split>/<id>`.

    Raises:
        FileNotFoundError: no manifest, or several.
        ValueError: a missing column; or rows with an empty id, an unknown split, a score outside [-3, 3], an emotion
            without polarity, times that are none, an id listed again with other content: says how many such rows
            there are, and names the line of the first.
    """
    if format is None and len(found := _manifests(source)) > 1:
        names = ", ".join(path.name for path in found)
        raise FileNotFoundError(f"custom: {source} holds several tables, {names}; name the file that is the manifest")
    chosen = choose_format("custom", source, FORMATS, format)
    return chosen.read(source, name=name, emotion_map=emotion_map, emotion_polarity=emotion_polarity)


def _reader(ending: str, read_table: Callable[..., CsvTable]) -> Callable[..., Reading]:
    def read_manifest(source: Path, name: str | None = None, emotion_map=None, emotion_polarity=None) -> Reading:
        manifest = _find_manifest(source, ending)
        polarities = {**EMOTION_POLARITY, **_checked_polarities(emotion_polarity or {})}
        options = _Options(_dataset_name(name, manifest), emotion_map or {}, polarities)
        return _read_rows(read_table(manifest, _REQUIRED, _OPTIONAL), f"manifest-{ending}: {manifest.name}", options)

    return read_manifest


def _read_rows(table: CsvTable, layout: str, options: _Options) -> Reading:
    reading = Reading(options.name, layout, rows_read=len(table.rows))
    reading.note_encoding(table)
    for column in table.columns:
        if column not in (*_REQUIRED, *_OPTIONAL):
            reading.notes.add(NOT_USED, column)
    wrong = WrongLines()
    for line, row in table:
        where = f"{table.path.name}, line {line}"
        row = {column: value.strip() for column, value in row.items()}
        try:
            example = _example(row, options, where)
            if example["polarity"] is None:
                reading.skipped.add(NO_POLARITY, f"{where}: {example['id']}", split=example["split"])
            else:
                reading.add(_item(example, row, table.path.parent), where)
        except ValueError as error:
            wrong.add(error)
    wrong.raise_if_any()
    reading.place(range(len(reading.items)))
    _note_ids_in_several_splits(reading)
    return reading


def _note_ids_in_several_splits(reading: Reading) -> None:
    """Right where each split counts anew, as in MELD; else the same utterance may be in training and in test."""
    names = Counter(item.example["id"].split("/", 2)[2] for item in reading.items)
    for name, count in names.items():
        if count > 1:
            reading.notes.add(IN_SEVERAL, name)


def _read_tsv(path: Path, required, optional) -> CsvTable:
    return read_csv(path, required, optional, delimiter="\t")


_ENDINGS = {"csv": read_csv, "tsv": _read_tsv, "jsonl": read_jsonl}


def _manifests(source: Path, endings: Collection[str] = tuple(_ENDINGS)) -> list[Path]:
    """What may be the manifest: those called so, or else all tables of the folder."""
    paths = [path for path in candidate_files(source, "*") if path.suffix.lower()[1:] in endings]
    return [path for path in paths if path.stem.lower() == "manifest"] or paths


def _find_manifest(source: Path, ending: str) -> Path:
    """`source` itself, or the one manifest of that ending in it."""
    found = [source] if source.is_file() else _manifests(source, (ending,))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(
            f"custom: expected manifest.{ending} or a single .{ending} file in {source}, found {names}"
        )
    return found[0]


def _detector(ending: str) -> Callable[[Path], bool]:
    return lambda source: any(path.suffix.lower() == f".{ending}" for path in _manifests(source))


FORMATS = tuple(
    RawFormat(
        f"manifest-{ending}",
        f"manifest.{ending} or a single .{ending} file with the columns id and split",
        _detector(ending),
        _reader(ending, read_table),
    )
    for ending, read_table in _ENDINGS.items()
)


def _dataset_name(name: str | None, manifest: Path) -> str:
    name = name or manifest.resolve().parent.name
    if name.lower() in BENCHMARKS:
        raise ValueError(f"custom: the name {name!r} is a benchmark's; choose another with the option 'name'")
    try:
        check_dataset_name(name)
    except ValueError as error:
        raise ValueError(f"custom: {error}; choose one with the option 'name'") from None
    return name


def _checked_polarities(emotion_polarity: Mapping[str, str]) -> dict[str, str]:
    for emotion, polarity in emotion_polarity.items():
        if polarity not in POLARITIES:
            expected = ", ".join(POLARITIES)
            raise ValueError(f"custom: emotion_polarity of {emotion!r}: expected one of {expected}, got {polarity!r}")
    return dict(emotion_polarity)


def _example(row: dict[str, str], options: _Options, where: str) -> dict:
    if not row["id"]:
        raise ValueError(f"{where}: id: expected a name, got an empty field")
    for name in ("id", "dialogue_id"):
        if _CONTROL.search(row.get(name, "")):
            raise ValueError(f"{where}: {name}: expected a name on one line, got {row[name][:80]!r}")
    split = SPLIT_NAMES.get(row["split"].lower())
    if split is None:
        raise ValueError(f"{where}: split: expected train, validation or test, got {row['split'][:80]!r}")
    start, end = _number(row, "start", 0, math.inf, where), _number(row, "end", 0, math.inf, where)
    if end is not None and end <= (start or 0):
        raise ValueError(f"{where}: end: expected more than start = {start or 0:g}, got {end:g}")
    sentiment = _number(row, "sentiment", -MAX_INTENSITY, MAX_INTENSITY, where)
    emotion = _emotion(row.get("emotion", ""), options.emotion_map, where)
    return new_example(
        id=f"{options.name}/{split}/{row['id']}",
        dataset=options.name,
        split=split,
        dialogue_id=row.get("dialogue_id") or row["id"],
        speaker=clean_text(row.get("speaker")),
        text=clean_text(row.get("text")),
        start=start,
        end=end,
        sentiment=sentiment,
        emotion=emotion,
        polarity=_polarity(sentiment, emotion, options.polarities, where),
    )


def _number(row: dict[str, str], column: str, low: float, high: float, where: str) -> float | None:
    """The number of a field, `None` if the field is empty or absent."""
    if not row.get(column):
        return None
    number = parse_float(row[column][:80], f"{where}: {column}")
    if not low <= number <= high or math.isinf(number):
        within = f"in [{low:g}, {high:g}]" if high < math.inf else f"of at least {low:g}"
        raise ValueError(f"{where}: {column}: expected a number {within}, got {row[column][:80]}")
    return number


def _emotion(raw: str, emotion_map: Mapping[str, str], where: str) -> str | None:
    if not raw:
        return None
    emotion = emotion_map.get(raw, raw.lower())
    try:
        check_emotions((emotion,))
    except ValueError as error:
        raise ValueError(f"{where}: {error}; translate it with the option 'emotion_map'") from None
    return emotion


def _polarity(sentiment: float | None, emotion: str | None, polarities: Mapping[str, str], where: str) -> str | None:
    """The sentiment's sign; without a sentiment, the emotion's polarity."""
    if sentiment is not None:
        return polarity_of(sentiment)
    if emotion is not None and emotion not in polarities:
        raise ValueError(
            f"{where}: the polarity of emotion {emotion!r} is not known; give it with emotion_polarity "
            f"(--emotion-polarity {emotion}=negative, neutral or positive) or rename it by emotion_map (--emotion-map)"
        )
    return polarities[emotion] if emotion is not None else None


def _item(example: dict, row: dict[str, str], folder: Path) -> Item:
    """The item; `folder / path` is `path` where that is absolute."""
    start, end = example["start"], example["end"]
    visual = Span(folder / row["video"], start, end) if row.get("video") else None
    audio = Span(folder / row["audio"], start, end) if row.get("audio") else visual
    return Item(example, audio=audio, visual=visual)
