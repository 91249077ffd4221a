"""Raw folders of MOSI and MOSEI in each form: small, and laid out as the originals are."""

import json
import pickle
from pathlib import Path

import numpy as np

from tests.dataset_scripts.conftest import MMSA_HEADER, write_csd, write_csv

MODES = ("train", "valid", "test")
# video, clip, split, text, score, annotation: the same six segments in every form
SEGMENTS = [
    ("-abc", "2", "train", "a fine, fine film", 2.6, "Positive"),
    ("-abc", "10", "train", "and then it ended", -0.5, "Neutral"),
    ("0123", "1", "valid", "so so", 0.0, "Neutral"),
    ("x_y", "1", "test", "no", -3.0, "Negative"),
    ("x_y", "2", "test", None, 1.0, "Positive"),
]
GOLDEN_ROWS = [
    # id without the benchmark, split, dialogue, index, text, sentiment, polarity
    ("train/-abc_2", "train", "-abc", 0, "a fine, fine film", 2.6, "positive"),
    ("train/-abc_10", "train", "-abc", 1, "and then it ended", -0.5, "negative"),
    ("validation/0123_1", "validation", "0123", 0, "so so", 0.0, "neutral"),
    ("test/x_y_1", "test", "x_y", 0, "no", -3.0, "negative"),
    ("test/x_y_2", "test", "x_y", 1, None, 1.0, "positive"),
]
FOLDS = {"train": ["-abc"], "validation": ["0123"], "test": ["x_y"]}


def rows_of(reading, *names):
    """The named columns of a reading's rows, the benchmark cut from the id."""
    names = names or ("id", "split", "dialogue_id", "utterance_index", "text", "sentiment", "polarity")
    return [
        tuple(item.example[name].split("/", 1)[1] if name == "id" else item.example[name] for name in names)
        for item in reading.items
    ]


def ramp(steps: int, width: int, first: float = 1.0) -> np.ndarray:
    """(steps, width) float32; cell (t, j) is first + 10 t + j: no two alike, none zero."""
    return (first + 10 * np.arange(steps)[:, None] + np.arange(width)).astype(np.float32)


def padded(sequence: np.ndarray, steps: int, front: bool = False) -> np.ndarray:
    fill = np.zeros((steps - len(sequence), sequence.shape[1]), sequence.dtype)
    return np.concatenate([fill, sequence] if front else [sequence, fill])


def dump(path: Path, content, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def mmsa_content(unaligned: bool = False) -> dict:
    """Segment k has k + 1 tokens, 2 k + 1 sound steps and 2 k + 2 pictures (aligned: k + 1 of each) of 6, 12 and 12."""
    content = {}
    for mode in MODES:
        rows = [(number, segment) for number, segment in enumerate(SEGMENTS) if segment[2] == mode]
        steps = {key: 12 if unaligned and key != "text" else 6 for key in ("text", "audio", "vision")}
        lengths = {
            "text": [number + 1 for number, _ in rows],
            "audio": [2 * number + 1 if unaligned else number + 1 for number, _ in rows],
            "vision": [2 * number + 2 if unaligned else number + 1 for number, _ in rows],
        }
        widths = {"text": 768, "audio": 5, "vision": 20}
        split = {
            "raw_text": np.array([segment[3] or "" for _, segment in rows]),
            "id": [f"{segment[0]}$_${segment[1]}" for _, segment in rows],
            "text_bert": np.array([[[7] * 6, [1] * n + [0] * (6 - n), [0] * 6] for n in lengths["text"]], np.float32),
            "annotations": [segment[5] for _, segment in rows],
            "classification_labels": np.zeros(len(rows)),
            "regression_labels": np.array([segment[4] for _, segment in rows]),
        }
        for key, width in widths.items():
            split[key] = np.stack([padded(ramp(n, width), steps[key]) for n in lengths[key]])
            if unaligned and key != "text":
                split[f"{key}_lengths"] = lengths[key]
        content[mode] = split
    return content


def mult_content(columns: bool = False, bytes_ids: bool = True) -> dict:
    """Padding in front; ids `video_clip`, or the columns video, start (the clip's number) and end."""
    content = {}
    for mode in MODES:
        rows = [segment for segment in SEGMENTS if segment[2] == mode]
        names = [(s[0], s[1], str(int(s[1]) + 0.5)) for s in rows] if columns else [f"{s[0]}_{s[1]}" for s in rows]
        content[mode] = {
            "text": np.stack([padded(ramp(int(s[1]), 300), 12, front=True) for s in rows]),
            "audio": np.stack([padded(ramp(int(s[1]) + 1, 5), 20, front=True) for s in rows]),
            "vision": np.stack([padded(ramp(int(s[1]) + 2, 20), 16, front=True) for s in rows]).astype(np.float64),
            "labels": np.array([s[4] for s in rows], np.float32).reshape(-1, 1, 1),
            "id": np.array(names, "S" if bytes_ids else "U"),
        }
    return content


def unimse_content() -> dict:
    """Items as in the authors' files; the second text is missing, its words are there."""
    content = {mode: [] for mode in MODES}
    for number, (video, clip, mode, text, score, _) in enumerate(SEGMENTS):
        words = (text or "").split()
        vision, audio = padded(ramp(number + 1, 20), 8), padded(ramp(number + 2, 5), 8)
        inputs = (words, vision, audio, None if number == 1 else text or "", number + 1, number + 2)
        content[mode].append((inputs, np.array([[score]], np.float32), f"{video}_{clip}"))
    return content


def write_label_csv(folder: Path) -> Path:
    rows = [(video, clip, text or " ", score, note, mode, "") for video, clip, mode, text, score, note in SEGMENTS]
    return write_csv(folder / "label.csv", MMSA_HEADER, rows)


LABELS = {  # video -> scores and intervals; row k of `-abc` is clip k + 1 in MOSI
    "-abc": ([1.5, 2.5], [(0.5, 1.5), (2.0, 3.0)]),
    "0123": ([0.0], [(0.0, 1.0)]),
    "x_y": ([-3.0], [(1.0, 2.0)]),
    "elsewhere": ([1.0, 1.0], [(0.0, 1.0), (1.0, 2.0)]),
}
WORDS = {
    "-abc": [("sp", 0.0, 0.5), ("good", 0.6, 0.8), ("sp", 0.8, 1.0), ("film", 1.0, 1.4), ("yes", 2.2, 2.8)],
    "0123": [("sp", 0.0, 1.0)],
}


def write_csds(folder: Path, benchmark: str, words: bool = True, folds: bool = True) -> Path:
    """Labels, words and COVAREP (10 steps a second, 74 wide, cell (t, j) as in `ramp`), under the SDK's names."""
    mosi = benchmark == "mosi"
    root, columns, name = ("Opinion Segment Labels", 1, "Opinion_Labels") if mosi else ("All Labels", 7, "Labels")
    prefix = f"CMU_{benchmark.upper()}"
    labels = {
        video: (np.array([[score] + [0] * (columns - 1) for score in scores], np.float32), times)
        for video, (scores, times) in LABELS.items()
    }
    write_csd(folder / f"{prefix}_{name}.csd", root, labels)
    if words:
        entries = {
            video: (np.array([[word.encode()] for word, *_ in spoken], "S32"), [times for _, *times in spoken])
            for video, spoken in WORDS.items()
        }
        write_csd(folder / f"{prefix}_TimestampedWords.csd", "words", entries)
    times = np.stack([np.arange(40) / 10, np.arange(1, 41) / 10], axis=1)
    write_csd(folder / f"{prefix}_COVAREP.csd", "COVAREP", {"-abc": (ramp(40, 74), times)})
    if folds:
        (folder / "folds.json").write_text(json.dumps(FOLDS))
    return folder
