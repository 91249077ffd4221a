"""MELD as distributed: three csv files and, beside them, one mp4 clip an utterance. The csv files alone give text only.

Clips `dia<d>_utt<u>.mp4` lie in `train_splits/`, `dev_splits_complete/` and `output_repeated_splits_test/`, at the top
or one folder down. Ids repeat across the splits, so the split is part of a row's identity. Some clips are known to be
bad: cut over minutes of an episode, broken, missing, doubled (`final_videos_test*`), or there without a label. None is
listed here by name; each is found by what it is, and counted.
"""

import re
from pathlib import Path

from dataset_scripts.readers import (
    Item,
    Reading,
    Span,
    clean_text,
    read_csv,
    refuse_duplicates,
    require_files,
)
from dataset_scripts.schema import new_example
from modeling_unimse.universal_label_unimse import BENCHMARK_EMOTIONS, POLARITIES

EXPECTED = {"train": 9989, "validation": 1109, "test": 2610}
FILES = {"train": "train_sent_emo.csv", "validation": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
CLIP_FOLDERS = {"train": "train_splits", "validation": "dev_splits_complete", "test": "output_repeated_splits_test"}
LOOKED_FOR = f"{', '.join(FILES.values())}, and optionally clips in {', '.join(CLIP_FOLDERS.values())}"
_REQUIRED = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
_OPTIONAL = ("Sr No.", "Season", "Episode", "StartTime", "EndTime")
_TIME = re.compile(r"(\d+):(\d{1,2}):(\d{1,2})[,.](\d{1,3})")
_CLIP = re.compile(r"dia(\d+)_utt(\d+)\.mp4")
LONGEST_SECONDS = 40.0
SLOWEST_WORDS_PER_SECOND = 1.0


def read(source: Path) -> Reading:
    """Read a MELD folder.

    Args:
        source: folder with the three csv files and, unless only text is wanted, the clip folders.

    Returns:
        Rows in the order of the csv files, by `Utterance_ID` within a dialogue; ids are `meld/<split>/dia<d>_utt<u>`.
        `start` and `end` are times of the episode; a row's media is its whole clip.

    Raises:
        FileNotFoundError: one of the csv files is missing.
        ValueError: a missing column, an id that is no number, an utterance listed twice; names file and line.
    """
    require_files(source, "meld", FILES.values(), LOOKED_FOR)
    folders = {split: _clip_folder(source, name) for split, name in CLIP_FOLDERS.items()}
    has_clips = any(folders.values())
    reading = Reading("meld", "csv files with clips" if has_clips else "csv files alone, text only", expected=EXPECTED)
    positions = []
    for split in FILES:
        rows = _read_split(source, split, reading)
        clips = _index_clips(folders[split], {(row["dialogue"], row["utterance"]) for row in rows}, reading)
        for row in rows:
            clip = None
            if has_clips:
                name = f"dia{row['dialogue']}_utt{row['utterance']}.mp4"
                clip = clips.get((row["dialogue"], row["utterance"]), source / CLIP_FOLDERS[split] / name)
            reading.items.append(_item(row["example"], clip))
            positions.append(row["utterance"])
    reading.place(positions)
    return reading


def parse_time(value: str) -> float | None:
    """`00:14:38,127` or `0:12:32,632` in seconds; the last field counts milliseconds. `None` if of another form."""
    match = _TIME.fullmatch(value.strip())
    if match is None:
        return None
    hours, minutes, seconds, milliseconds = map(int, match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _read_split(source: Path, split: str, reading: Reading) -> list[dict]:
    """Rows of one csv file whose labels are of the label set: dialogue and utterance number, and the example."""
    table = read_csv(source / FILES[split], _REQUIRED, _OPTIONAL)
    reading.note_encoding(table)
    reading.rows_read += len(table.rows)
    rows, places = [], []
    for line, row in table:
        where = f"{table.path.name}, line {line}"
        dialogue, utterance = (_number(row[name], f"{where}: {name}") for name in ("Dialogue_ID", "Utterance_ID"))
        places.append((f"dia{dialogue}_utt{utterance}", where))
        emotion, polarity = row["Emotion"].strip().lower(), row["Sentiment"].strip().lower()
        if emotion not in BENCHMARK_EMOTIONS["meld"] or polarity not in POLARITIES:
            reading.skipped.add("label outside the set", f"{where}: {row['Emotion']!r}, {row['Sentiment']!r}")
            continue
        example = new_example(
            id=f"meld/{split}/dia{dialogue}_utt{utterance}",
            dataset="meld",
            split=split,
            dialogue_id=f"dia{dialogue}",
            speaker=clean_text(row["Speaker"]),
            text=clean_text(row["Utterance"]),
            emotion=emotion,
            polarity=polarity,
        )
        example["start"], example["end"] = _times(row, where, reading)
        rows.append({"dialogue": dialogue, "utterance": utterance, "example": example})
    refuse_duplicates(places)
    return rows


def _number(value: str, where: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{where}: expected a whole number, got {value!r}") from None


def _times(row: dict[str, str], where: str, reading: Reading) -> tuple[float | None, float | None]:
    if "StartTime" not in row or "EndTime" not in row:
        return None, None
    start, end = parse_time(row["StartTime"]), parse_time(row["EndTime"])
    if start is None or end is None or end < start:
        times = f"{row['StartTime']}-{row['EndTime']}"
        reading.notes.add("times cannot be used; start and end are None", f"{where}: {times}")
        return None, None
    return start, end


def _clip_folder(source: Path, name: str) -> Path | None:
    """The clip folder at the top of `source` or one folder down (`train/train_splits`), or `None`."""
    candidates = [source / name, *sorted(source.glob(f"*/{name}"))]
    return next((folder for folder in candidates if folder.is_dir()), None)


def _index_clips(folder: Path | None, wanted: set[tuple[int, int]], reading: Reading) -> dict[tuple[int, int], Path]:
    """(dialogue, utterance) -> clip of one folder; clips that belong to no row are counted."""
    clips = {}
    for path in sorted(folder.glob("*.mp4")) if folder else ():
        match = _CLIP.fullmatch(path.name)
        if match is None:
            kind = "system file ._*" if path.name.startswith("._") else "clip not named dia<d>_utt<u>.mp4"
            reading.notes.add(f"{kind}, not used", f"{folder.name}/{path.name}")
            continue
        key = int(match[1]), int(match[2])
        if key not in wanted:
            reading.notes.add("clip without a row, not used", f"{folder.name}/{path.name}")
        clips[key] = path
    return clips


def _item(example: dict, clip: Path | None) -> Item:
    """An item whose clip may last 40 s, or a second a word where there are more words: longer ones were cut wrongly."""
    if clip is None:
        return Item(example)
    words = len((example["text"] or "").split())
    longest = max(LONGEST_SECONDS, words / SLOWEST_WORDS_PER_SECOND)
    return Item(example, audio=Span(clip), visual=Span(clip), longest=longest)
