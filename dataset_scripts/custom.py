"""Your own data: a manifest csv that names each utterance's text, clip and labels.

    id, split                              must be there; split is train, validation (valid, val, dev) or test
    text, speaker                          what was said and by whom
    dialogue_id                            utterances of a dialogue are each other's context, in the manifest's order
    audio, video                           paths relative to the manifest; with `video` alone its sound is used as well
    sentiment                              a score in [-3, 3]
    emotion                                a name, or any code that `emotion_map` translates

All but id and split may be empty or absent. A row with neither sentiment nor emotion has no polarity to learn or to
test: it is left out and counted.
"""

from collections.abc import Mapping
from pathlib import Path

from dataset_scripts.readers import (
    CsvTable,
    Item,
    Reading,
    Span,
    clean_text,
    parse_float,
    read_csv,
    refuse_duplicates,
    require_folder,
)
from dataset_scripts.schema import BENCHMARKS, check_dataset_name, new_example
from modeling_unimse.universal_label_unimse import EMOTION_POLARITY, POLARITIES, check_emotions, polarity_of

LOOKED_FOR = "manifest.csv (or a single csv file) with the columns id and split"
_OPTIONAL = ("text", "audio", "video", "sentiment", "emotion", "speaker", "dialogue_id")
_SPLIT_OF = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def read(
    source: Path,
    name: str | None = None,
    emotion_map: Mapping[str, str] | None = None,
    emotion_polarity: Mapping[str, str] | None = None,
) -> Reading:
    """Read a manifest.

    Args:
        source: the manifest, or the folder with `manifest.csv` or one csv file.
        name: the dataset's name; by default the folder's.
        emotion_map: code or name in the manifest -> emotion. What is not in it stays as it is, in lower case.
        emotion_polarity: polarity of emotions that `EMOTION_POLARITY` does not know; also overrides it.

    Returns:
        Rows in the order of the manifest; ids are `<name>/<split>/<id>`.

    Raises:
        FileNotFoundError: no manifest.
        ValueError: a missing column, an unknown split, an emotion without polarity, an id listed twice; names the line.
    """
    manifest = _find_manifest(source)
    name = _dataset_name(name, manifest)
    polarities = {**EMOTION_POLARITY, **_checked_polarities(emotion_polarity or {})}
    table = read_csv(manifest, ("id", "split"), _OPTIONAL)
    reading = Reading(name, f"manifest {manifest.name}", rows_read=len(table.rows))
    reading.note_encoding(table)
    _note_other_columns(table, reading)
    places = []
    for line, row in table:
        where = f"{manifest.name}, line {line}"
        row = {column: value.strip() for column, value in row.items()}
        example = _example(row, name, emotion_map or {}, polarities, where)
        places.append((f"id {example['id']}", where))
        if example["polarity"] is None:
            reading.skipped.add("neither sentiment nor emotion, so no polarity", f"{where}: {example['id']}")
            continue
        reading.items.append(_item(example, row, manifest.parent))
    refuse_duplicates(places)
    reading.place(range(len(reading.items)))
    return reading


def _find_manifest(source: Path) -> Path:
    if source.is_file():
        return source
    require_folder(source, "custom", LOOKED_FOR)
    if (source / "manifest.csv").is_file():
        return source / "manifest.csv"
    found = sorted(source.glob("*.csv"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "no csv file"
        raise FileNotFoundError(f"custom: expected {LOOKED_FOR} in {source}, found {names}")
    return found[0]


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


def _note_other_columns(table: CsvTable, reading: Reading) -> None:
    for column in table.columns:
        if column not in ("id", "split", *_OPTIONAL):
            reading.notes.add("column not used", column)


def _example(row: dict[str, str], name: str, emotion_map: Mapping, polarities: Mapping, where: str) -> dict:
    if not row["id"]:
        raise ValueError(f"{where}: id: expected a name, got an empty field")
    split = _SPLIT_OF.get(row["split"].lower())
    if split is None:
        raise ValueError(f"{where}: split: expected train, validation or test, got {row['split']!r}")
    sentiment = parse_float(row["sentiment"], f"{where}: sentiment") if row.get("sentiment") else None
    emotion = _emotion(row.get("emotion", ""), emotion_map, where)
    identity = f"{name}/{split}/{row['id']}"
    return new_example(
        id=identity,
        dataset=name,
        split=split,
        dialogue_id=row.get("dialogue_id") or row["id"],
        speaker=clean_text(row.get("speaker")),
        text=clean_text(row.get("text")),
        sentiment=sentiment,
        emotion=emotion,
        polarity=_polarity(sentiment, emotion, polarities, where),
    )


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
    audio, video = row.get("audio"), row.get("video")
    visual = Span(folder / video) if video else None
    return Item(example, audio=Span(folder / audio) if audio else visual, visual=visual)
