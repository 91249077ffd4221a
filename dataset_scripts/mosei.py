"""CMU-MOSEI as the CMU SDK distributes it: labels and timed words as csd files, the full videos beside them.

    CMU_MOSEI_Labels.csd             root `All Labels`; per video a row a segment: sentiment, six emotions; its interval
    CMU_MOSEI_TimestampedWords.csd   per video one row a word, with its interval; `sp` is a pause
    Raw/Videos/Full/Combined/<video id>.mp4      optional; a segment is a stretch of it
    folds.json                       {"train": [...], "validation": [...], "test": [...]} of video ids

The six emotion scores are not read: UniMSE uses MOSEI for sentiment (Hu et al. 2022, section 4.1).
"""

import json
from pathlib import Path

import numpy as np

from dataset_scripts.readers import Item, Reading, Span, clean_text, read_csd, require_files
from dataset_scripts.schema import SPLITS, new_example
from modeling_unimse.universal_label_unimse import polarity_of

EXPECTED = {"train": 16326, "validation": 1871, "test": 4659}
LABELS = "CMU_MOSEI_Labels.csd"
WORDS = "CMU_MOSEI_TimestampedWords.csd"
LOOKED_FOR = f"{LABELS}, {WORDS}, folds.json and optionally Raw/Videos/Full/Combined/<video id>.mp4"
_PAUSE = "sp"


def read(source: Path) -> Reading:
    """Read a MOSEI folder.

    Args:
        source: folder with both csd files, `folds.json` and, unless only text is wanted, `Raw/Videos/Full/Combined`.

    Returns:
        Rows in video order; ids are `mosei/<split>/<video id>_<row of the video's labels>`.

    Raises:
        FileNotFoundError: a csd file or `folds.json` is missing.
        ValueError: a csd file of another shape, folds that overlap or do not parse; names file and key.
    """
    require_files(source, "mosei", [LABELS, WORDS], LOOKED_FOR)
    split_of = read_folds(source / "folds.json")
    labels = read_csd(source / LABELS, "All Labels")
    words = read_csd(source / WORDS)
    videos = source / "Raw" / "Videos" / "Full" / "Combined"
    layout = "CMU SDK csd" + (" with full videos" if videos.is_dir() else " without videos, text only")
    reading = Reading("mosei", layout, rows_read=sum(len(rows) for rows, _ in labels.values()), expected=EXPECTED)
    for video_id in (video_id for video_id in split_of if video_id not in labels):
        reading.notes.add("video of folds.json without labels", video_id)
    for video_id, (rows, intervals) in labels.items():
        if rows.shape[1] != 7:
            raise ValueError(f"{LABELS}, {video_id}: expected 7 columns (sentiment first), got {rows.shape[1]}")
        if video_id not in split_of:
            reading.skipped.add("video in no fold of folds.json", video_id, len(rows))
            continue
        if video_id not in words:
            reading.notes.add("video without timed words; its text is None", video_id, len(rows))
        clip = videos / f"{video_id}.mp4" if videos.is_dir() else None
        segments = _segments(video_id, split_of[video_id], rows, intervals, words.get(video_id))
        reading.items += [_item(example, clip) for example in segments]
    reading.place([item.example["start"] for item in reading.items])
    return reading


def read_folds(path: Path) -> dict[str, str]:
    """Video id -> split from a json file `{"train": [...], "validation": [...], "test": [...]}`."""
    expected = 'a json object {"train": [...], "validation": [...], "test": [...]} of video ids'
    if not path.is_file():
        raise FileNotFoundError(
            f"mosei: {path} not found; the csd files hold no splits: put the standard folds there as {expected}"
        )
    try:
        folds = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: expected {expected}, got no valid json ({error})") from error
    if not isinstance(folds, dict) or set(folds) - set(SPLITS) or not all(isinstance(v, list) for v in folds.values()):
        raise ValueError(f"{path}: expected {expected}, got {list(folds) if isinstance(folds, dict) else type(folds)}")
    split_of: dict[str, str] = {}
    for split, video_ids in folds.items():
        for video_id in map(str, video_ids):
            if video_id in split_of:
                raise ValueError(f"{path}: video {video_id} is in {split_of[video_id]} and in {split}; keep one")
            split_of[video_id] = split
    return split_of


def _segments(video_id: str, split: str, rows: np.ndarray, intervals: np.ndarray, words) -> list[dict]:
    """One example a row of the video's labels; its number is the row's place in the file, which may not be by time."""
    return [
        new_example(
            id=f"mosei/{split}/{video_id}_{number}",
            dataset="mosei",
            split=split,
            dialogue_id=video_id,
            text=_text_between(words, start, end),
            start=max(0.0, float(start)),
            end=float(end),
            sentiment=float(row[0]),
            polarity=polarity_of(float(row[0])),
        )
        for number, (row, (start, end)) in enumerate(zip(rows, intervals, strict=True))
    ]


def _text_between(words, start: float, end: float) -> str | None:
    """The words whose middle lies in the segment, without pauses, in time order."""
    if words is None:
        return None
    tokens, intervals = words
    middle = intervals.mean(axis=1)
    chosen = np.flatnonzero((middle >= start) & (middle < end))
    chosen = chosen[np.argsort(intervals[chosen, 0], kind="stable")]
    decoded = (_as_text(tokens[index, 0]) for index in chosen)
    return clean_text(" ".join(word for word in decoded if word != _PAUSE))


def _as_text(token) -> str:
    return token.decode("utf-8", errors="replace") if isinstance(token, bytes) else str(token)


def _item(example: dict, clip: Path | None) -> Item:
    span = Span(clip, example["start"], example["end"]) if clip else None
    return Item(example, audio=span, visual=span)
