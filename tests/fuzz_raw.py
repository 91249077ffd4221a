"""Raw inputs of few rows in the forms that the conftest of dataset_scripts does not write."""

import json
import pickle
from pathlib import Path

import numpy as np

from tests.dataset_scripts.conftest import write_clip, write_csd, write_csv, write_wav

SPLITS = ("train", "valid", "test")
CUSTOM_HEADER = [
    "id",
    "split",
    "text",
    "audio",
    "video",
    "sentiment",
    "emotion",
    "speaker",
    "dialogue_id",
    "start",
    "end",
]
CUSTOM_ROWS = [
    ("1", "train", "good, really", "a.wav", "", "1.5", "joy", "Ann", "d1", "0.1", "0.4"),
    ("2", "train", "“no”", "", "b.mp4", "-1.5", "", "Bob", "d1", "", ""),
    ("-3", "valid", "", "a.wav", "b.mp4", "", "neutral", "", "", "", ""),
    ("4", "test", "so so", "", "", "0", "", "Ann", "d2", "", ""),
]


def _write_pickle(path: Path, content, protocol: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def _padded(rows: int, steps: int, width: int, before: int = 0) -> np.ndarray:
    """Random numbers whose first `before` and last steps are padding."""
    values = np.random.default_rng(rows * steps * width).normal(size=(rows, steps, width)).astype(np.float32)
    values[:, :before] = 0
    values[:, -1 - before :] = 0
    return values


def make_mmsa_pickle(path: Path, aligned: bool) -> None:
    """Ids of `make_mosi` in three splits of two, one and one rows."""
    ids = {"train": ["-abc$_$10", "-abc$_$2"], "valid": ["0123$_$1"], "test": ["xyz$_$1"]}
    content = {}
    for split, names in ids.items():
        count, steps = len(names), (6, 6, 6) if aligned else (6, 12, 9)
        mask = np.tile([[5] * 6, [1, 1, 1, 1, 0, 0], [0] * 6], (count, 1, 1)).astype(np.float32)
        labels = np.linspace(-1, 2, count).astype(np.float32)
        part = {"raw_text": [f"a fine film {number}" for number in range(count)], "id": names, "text_bert": mask}
        part |= {"text": _padded(count, steps[0], 8), "audio": _padded(count, steps[1], 5)}
        part |= {"vision": _padded(count, steps[2], 4), "annotations": ["Positive"] * count}
        part |= {"regression_labels": labels, "classification_labels": np.ones(count, np.float32)}
        part["audio"][0, 1, 0] = -np.inf
        if not aligned:
            part |= {"audio_lengths": [11] * count, "vision_lengths": [8] * count}
        content[split] = part
    _write_pickle(path, content)


def make_mmsa(folder: Path) -> None:
    make_mmsa_pickle(folder / "aligned_50.pkl", aligned=True)
    make_mmsa_pickle(folder / "unaligned_50.pkl", aligned=False)


def _mult(ids: dict[str, np.ndarray]) -> dict:
    content = {}
    for split, names in ids.items():
        count = len(names)
        labels = np.linspace(-2, 2, count).reshape(-1, 1, 1)
        features = {
            "text": _padded(count, 6, 7, 1),
            "audio": _padded(count, 12, 5, 1),
            "vision": _padded(count, 9, 4, 1),
        }
        content[split] = {**features, "labels": labels, "id": names}
    return content


def make_mult_bytes(folder: Path) -> None:
    ids = {"train": [b"-abc_1", b"-abc_2"], "valid": [b"0123_1"], "test": [b"xyz_1"]}
    arrays = {split: np.array(names, dtype="S20") for split, names in ids.items()}
    _write_pickle(folder / "mosi_data_noalign.pkl", _mult(arrays), protocol=2)


def make_mult_columns(folder: Path) -> None:
    rows = {"train": [("-v1", 0, 4.5), ("-v1", 4.5, 8)], "valid": [("77", 0, 2)], "test": [("w0", 0.25, 0.75)]}
    arrays = {split: np.array(names, dtype="U20") for split, names in rows.items()}
    _write_pickle(folder / "mosei_senti_data_noalign.pkl", _mult(arrays))


def make_unimse(folder: Path) -> None:
    random, content = np.random.default_rng(0), {}
    for split, video in zip(SPLITS, ("-abc", "0123", "xyz"), strict=True):
        content[split] = []
        for clip in range(1, 3):
            visual, audio = random.normal(size=(5, 4)), random.normal(size=(5, 5))
            item = (["a", "fine", "film"], visual, audio, "a fine film", 3, 4)
            content[split].append((item, np.array([[clip - 1.5]], np.float32), f"{video}_{clip}"))
    _write_pickle(folder / "mosi.pkl", content)


def make_authors_features(path: Path, names: list[str]) -> None:
    """Ids -> arrays; the last one is a missing clip, all zeros."""

    def part(steps: int) -> dict:
        values = {name: np.ones((steps, 3), np.float32) for name in names}
        return {**values, names[-1]: np.zeros((steps, 3), np.float32)}

    _write_pickle(path, {"audio": [part(7), part(7), part(7)], "video": [part(4), part(4), part(4)]})


def make_iemocap_pickle(folder: Path) -> None:
    dialogues = {f"Ses0{session}F_impro01": session for session in range(1, 6)}
    names = {dialogue: [f"{dialogue}_F000", f"{dialogue}_M000"] for dialogue in dialogues}
    speakers, labels = dict.fromkeys(names, ["F", "M"]), {dialogue: [0, 5] for dialogue in names}
    vectors = [{dialogue: [np.ones(size), np.zeros(size)] for dialogue in names} for size in (6, 5, 4)]
    texts = {dialogue: ["Excuse me.", "Yes?"] for dialogue in names}
    train, test = [name for name in names if "Ses05" not in name], ["Ses05F_impro01"]
    _write_pickle(folder / "IEMOCAP_features.pkl", (names, speakers, labels, *vectors, texts, train, test), protocol=2)


def _write_folds(folder: Path) -> None:
    (folder / "folds.json").write_text(json.dumps({"train": ["-abc"], "validation": ["0123"], "test": ["xyz"]}))


def make_feature_csd(path: Path, root: str, videos: tuple[str, ...] = ("-v1", "77", "w0")) -> None:
    """Ten steps of a tenth of a second for each video."""
    times = [(step / 10, (step + 1) / 10) for step in range(10)]
    write_csd(path, root, {video: (np.full((10, 3), number + 1.0), times) for number, video in enumerate(videos)})


def _mosi_labels(folder: Path) -> None:
    scores = {
        "-abc": ([[-0.5], [2.6]], [(0.5, 1.0), (0.0, 0.5)]),
        "0123": ([[0.0]], [(0, 1)]),
        "xyz": ([[-3]], [(0, 1)]),
    }
    entries = {video: (np.array(values, np.float32), times) for video, (values, times) in scores.items()}
    write_csd(folder / "CMU_MOSI_Opinion_Labels.csd", "Opinion Segment Labels", entries)
    _write_folds(folder)


def make_mosi_csd(folder: Path) -> None:
    _mosi_labels(folder)
    words = {
        video: (np.array([[b"sp"], [b"fine"]], "S32"), [(0, 0.2), (0.2, 0.4)]) for video in ("-abc", "0123", "xyz")
    }
    write_csd(folder / "CMU_MOSI_TimestampedWords.csd", "words", words)
    make_feature_csd(folder / "CMU_MOSI_Visual_Facet_41.csd", "FACET 4.1", ("-abc", "0123", "xyz"))


def make_mosi_original(folder: Path) -> None:
    _mosi_labels(folder)
    transcripts = folder / "Raw" / "Transcript" / "Segmented"
    transcripts.mkdir(parents=True)
    for video, lines in {"-abc": 2, "0123": 1, "xyz": 1}.items():
        text = "".join(f"{number}_DELIM_A FINE FILM {number}\n" for number in range(1, lines + 1))
        (transcripts / f"{video}.annotprocessed").write_text(text)


def make_mosei_original(folder: Path) -> None:
    scores = {"-abc": [(0.0, 0.5), (0.5, 1.0)], "0123": [(0.0, 1.0)], "xyz": [(0.0, 1.0)]}
    entries = {video: (np.ones((len(times), 7), np.float32), times) for video, times in scores.items()}
    write_csd(folder / "CMU_MOSEI_Labels.csd", "All Labels", entries)
    _write_folds(folder)
    transcripts = folder / "Raw" / "Transcript" / "Segmented" / "Combined"
    transcripts.mkdir(parents=True)
    for video, times in scores.items():
        lines = [f"{video}___{clip}___{start}___{end}___a fine film\n" for clip, (start, end) in enumerate(times)]
        (transcripts / f"{video}.txt").write_text("".join(lines))


def make_custom_csv(folder: Path) -> None:
    write_csv(folder / "manifest.csv", CUSTOM_HEADER, CUSTOM_ROWS)


def make_custom_tsv(folder: Path) -> None:
    lines = ["\t".join(row) for row in [CUSTOM_HEADER, *CUSTOM_ROWS]]
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_custom_jsonl(folder: Path) -> None:
    rows = [{name: value or None for name, value in zip(CUSTOM_HEADER, row, strict=True)} for row in CUSTOM_ROWS]
    rows[0] |= {"sentiment": 1.5, "start": 0.1, "end": 0.4}
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


def make_custom_media(folder: Path) -> None:
    make_custom_csv(folder)
    write_wav(folder / "a.wav")
    write_clip(folder / "b.mp4")
