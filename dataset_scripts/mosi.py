"""CMU-MOSI as MMSA distributes it: `label.csv` with its splits, clips at `Raw/<video_id>/<clip_id>.mp4`.

`label.csv` has `video_id,clip_id,text,label,annotation,mode,label_by`; `mode` is train, valid or test. The score is
trusted for the polarity: the `annotation` column sometimes says Neutral for -0.5.
"""

from pathlib import Path

from dataset_scripts.readers import (
    Item,
    Reading,
    Span,
    clean_text,
    natural_key,
    parse_float,
    read_csv,
    refuse_duplicates,
    require_files,
)
from dataset_scripts.schema import new_example
from modeling_unimse.universal_label_unimse import polarity_of

EXPECTED = {"train": 1284, "validation": 229, "test": 686}
LOOKED_FOR = "label.csv (video_id, clip_id, text, label, mode) and clips at Raw/<video_id>/<clip_id>.mp4"
_SPLIT_OF_MODE = {"train": "train", "valid": "validation", "test": "test"}
_REQUIRED = ("video_id", "clip_id", "text", "label", "mode")


def read(source: Path) -> Reading:
    """Read a MOSI folder.

    Args:
        source: folder with `label.csv` and, unless only text is wanted, `Raw/`.

    Returns:
        Rows in video order; ids are `mosi/<split>/<video_id>_<clip_id>`.

    Raises:
        FileNotFoundError: no `label.csv`.
        ValueError: a missing column, an unknown mode, a score that is no number, a clip listed twice; names the line.
    """
    require_files(source, "mosi", ["label.csv"], LOOKED_FOR)
    table = read_csv(source / "label.csv", _REQUIRED, ("annotation",))
    has_clips = (source / "Raw").is_dir()
    layout = "MMSA label.csv with clips in Raw/" if has_clips else "MMSA label.csv without Raw/, text only"
    reading = Reading("mosi", layout, rows_read=len(table.rows), expected=EXPECTED)
    reading.note_encoding(table)
    refuse_duplicates((f"clip {row['video_id']}/{row['clip_id']}", f"label.csv, line {line}") for line, row in table)
    for line, row in table:
        example = _example(row, f"{table.path}, line {line}")
        _note_annotation(row, example, reading)
        clip = Span(source / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4") if has_clips else None
        reading.items.append(Item(example, audio=clip, visual=clip))
    reading.place([natural_key(row["clip_id"]) for row in table.rows])
    return reading


def _example(row: dict[str, str], where: str) -> dict:
    if not row["video_id"] or not row["clip_id"]:
        raise ValueError(f"{where}: expected a video_id and a clip_id, got {row['video_id']!r} and {row['clip_id']!r}")
    if row["mode"] not in _SPLIT_OF_MODE:
        raise ValueError(f"{where}: mode: expected train, valid or test, got {row['mode']!r}")
    split = _SPLIT_OF_MODE[row["mode"]]
    sentiment = parse_float(row["label"], f"{where}: label")
    return new_example(
        id=f"mosi/{split}/{row['video_id']}_{row['clip_id']}",
        dataset="mosi",
        split=split,
        dialogue_id=row["video_id"],
        text=clean_text(row["text"]),
        sentiment=sentiment,
        polarity=polarity_of(sentiment),
    )


def _note_annotation(row: dict[str, str], example: dict, reading: Reading) -> None:
    annotation = row.get("annotation", "").strip().lower()
    if annotation and annotation != example["polarity"]:
        reading.notes.add(
            "annotation disagrees with the score; the score is taken",
            f"{example['id']}: {row['annotation']} for {row['label']}",
        )
