"""Small raw folders in the benchmarks' layouts, written on the spot, and the real data where they are at hand."""

import csv
import json
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dataset_scripts.prepare import prepare_dataset
from dataset_scripts.visual import visual_extractor

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
RATE = 16_000
MELD_HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime".split(",")
)
MANIFEST_HEADER = ("id", "split", "text", "audio", "video", "sentiment", "emotion")
MMSA_HEADER = "video_id,clip_id,text,label,annotation,mode,label_by".split(",")


def write_csv(path: Path, header, rows, encoding="utf-8", line_end="\r\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, lineterminator=line_end)
        writer.writerows([header, *rows])
    return path


def write_wav(path: Path, seconds=0.5, frequency=440.0, rate=RATE) -> Path:
    """16-bit mono; 0 seconds gives a header without samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((0.5 * np.sin(2 * np.pi * frequency * time) * 32767).astype("<i2").tobytes())
    return path


def write_clip(path: Path, seconds=0.5, fps=8, width=32, height=32, sound=True, picture=True) -> Path:
    """mp4, or avi by the name: the left half is red, the right half blue, frame k has green 20 * k (mod 240)."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    mp4 = path.suffix == ".mp4"
    with av.open(str(path), "w") as container:
        if picture:
            video = container.add_stream("libx264" if mp4 else "mpeg4", rate=fps)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        if sound:
            audio = container.add_stream("aac" if mp4 else "pcm_s16le", rate=RATE, layout="mono")
        for number in range(round(seconds * fps) if picture else 0):
            image = np.zeros((height, width, 3), np.uint8)
            image[:, : width // 2, 0] = image[:, width // 2 :, 2] = 200
            image[:, :, 1] = 20 * number % 240
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if sound:
            tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE)) / RATE)
            samples = (tone * 32767).astype(np.int16)[None]
            for start in range(0, samples.shape[1], 1024):
                piece = np.ascontiguousarray(samples[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, start
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
        if picture:
            container.mux(video.encode(None))
    return path


def write_csd(path: Path, root: str, entries: dict) -> Path:
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[f"{root}/metadata/root name"] = np.array([json.dumps(root)], dtype=h5py.string_dtype())
        for key, (features, intervals) in entries.items():
            file[f"{root}/data/{key}/features"] = features
            file[f"{root}/data/{key}/intervals"] = np.asarray(intervals, dtype=np.float64)
    return path


def make_mosi(folder: Path, clips=True) -> Path:
    """Two videos, one id with a dash first and one all digits; clip 10 comes after clip 2."""
    rows = [
        ("-abc", "10", "and then\nit ended", "-0.5", "Neutral", "train", ""),
        ("-abc", "2", "a fine, fine film", "2.6", "Positive", "train", ""),
        ("0123", "1", "so so", "0.0", "Neutral", "valid", ""),
        ("xyz", "1", " ", "-3.0", "Negative", "test", ""),
    ]
    write_csv(folder / "label.csv", MMSA_HEADER, rows)
    for video, clip, *_ in rows if clips else ():
        write_clip(folder / "Raw" / video / f"{clip}.mp4")
    return folder


def make_mosei(folder: Path, clips=True) -> Path:
    """Video `-v1` has its later segment first in the file; `left_out` is in no fold; `w0` has no words."""
    labels = {
        "-v1": (np.array([[1 / 3] + [0] * 6, [-2] + [0] * 6], np.float32), [(0.5, 1.0), (0.0, 0.5)]),
        "77": (np.array([[0] * 7], np.float32), [(0.0, 0.5)]),
        "w0": (np.array([[3] + [0] * 6], np.float32), [(0.25, 0.75)]),
        "left_out": (np.zeros((2, 7), np.float32), [(0.0, 0.5), (0.5, 1.0)]),
    }
    spoken = [(b"sp", 0.0, 0.1), (b"not", 0.1, 0.2), (b"good", 0.2, 0.45), (b"quite", 0.5, 0.6), (b"nice", 0.6, 0.99)]
    words = {
        "-v1": (np.array([[word] for word, _, _ in spoken], "S32"), [(start, end) for _, start, end in spoken]),
        "77": (np.array([[b"sp"]], "S32"), [(0.0, 0.5)]),
    }
    write_csd(folder / "CMU_MOSEI_Labels.csd", "All Labels", labels)
    write_csd(folder / "CMU_MOSEI_TimestampedWords.csd", "words", words)
    (folder / "folds.json").write_text(json.dumps({"train": ["-v1"], "validation": ["77", "gone"], "test": ["w0"]}))
    for video in labels if clips else ():
        write_clip(folder / "Raw" / "Videos" / "Full" / "Combined" / f"{video}.mp4", seconds=1.0)
    return folder


def make_meld(folder: Path, clips=True) -> Path:
    """Ids repeat across the splits; the train file has a gap in its ids, both time formats and an unknown emotion."""
    rows = {
        "train": [
            (
                1,
                "Oh my God, he’s lost it.",
                "Phoebe",
                "sadness",
                "negative",
                0,
                0,
                4,
                7,
                "00:20:57,256",
                "00:21:00,049",
            ),
            (2, "What?", "Monica", "surprise", "positive", 0, 3, 4, 7, "0:21:01,927", "0:21:03,28"),
            (3, "Hm.", "Monica", "boredom", "neutral", 0, 4, 4, 7, "00:21:04,000", "00:21:05,000"),
        ],
        "dev": [(1, "Hi.", "Joey", "joy", "positive", 0, 0, 1, 1, "00:00:10,000", "00:00:09,000")],
        "test": [(1, "No.", "Ross", "anger", "negative", 0, 0, 1, 1, "00:00:01,000", "00:00:01,000")],
    }
    places = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
    for split, lines in rows.items():
        write_csv(folder / f"{split}_sent_emo.csv", MELD_HEADER, lines)
        for line in lines if clips else ():
            write_clip(folder / places[split] / f"dia{line[5]}_utt{line[6]}.mp4")
    return folder


def make_iemocap(folder: Path, clips=True) -> Path:
    """One dialogue in Sessions 1 to 5; its second line is M's, its third is outside the six classes."""
    for session in range(1, 6):
        root, name = folder / f"Session{session}", f"Ses0{session}F_impro01"
        dialog = root / "dialog"
        for kind in ("EmoEvaluation", "transcriptions"):
            (dialog / kind).mkdir(parents=True)
        (dialog / "EmoEvaluation" / f"{name}.txt").write_text(
            "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
            f"[0.5000 - 1.0000]\t{name}_M000\thap\t[4.0000, 3.0000, 3.0000]\n"
            "C-E2:\tHappiness;\t()\nA-E3:\tval 4; act 3; dom  3;\t()\n\n"
            f"[0.0000 - 0.5000]\t{name}_F000\tneu\t[2.5000, 2.5000, 2.5000]\n\n"
            f"[1.0000 - 1.5000]\t{name}_F001\txxx\t[2.5000, 2.5000, 2.5000]\n"
            "[1.0000 - oops]\n"
        )
        (dialog / "transcriptions" / f"{name}.txt").write_text(
            f"{name}_F000 [000.0000-000.5000]: Excuse me.\n"
            f"{name}_M000 [000.5000-001.0000]: Do you have your forms?\n"
            "M: Yeah.\n"
        )
        if clips:
            write_clip(dialog / "avi" / "DivX" / f"{name}.avi", seconds=1.5, width=64, sound=False)
            for utterance in ("F000", "M000", "F001"):
                write_wav(root / "sentences" / "wav" / name / f"{name}_{utterance}.wav")
    return folder


@pytest.fixture(scope="session")
def raw():
    """Writers of files (`csv`, `wav`, `clip`, `csd`) and of whole raw folders (`mosi`, `mosei`, `meld`, `iemocap`)."""
    return SimpleNamespace(
        csv=write_csv,
        wav=write_wav,
        clip=write_clip,
        csd=write_csd,
        mosi=make_mosi,
        mosei=make_mosei,
        meld=make_meld,
        iemocap=make_iemocap,
        meld_header=MELD_HEADER,
        mmsa_header=MMSA_HEADER,
    )


@pytest.fixture(scope="session")
def real_data():
    """`real_data("meld")`: a folder of real data, or a skip that says which one is not there."""

    def folder(name: str) -> Path:
        if not (SHARED_DATA / name).is_dir():
            pytest.skip(f"real data not here: ../shared/data/{name}")
        return SHARED_DATA / name

    return folder


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path_factory, monkeypatch):
    """What `datasets` caches stays out of the home folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets_cache"))


@pytest.fixture
def frozen():
    """The visual extractor that needs no face."""
    return visual_extractor("frozen-conv")


@pytest.fixture
def prepare(tmp_path, frozen):
    """Prepares into tmp_path/out with the frozen extractor unless told otherwise."""

    def run(benchmark, source, **options):
        return prepare_dataset(benchmark, source, tmp_path / "out", **{"extractor": frozen, **options})

    return run


@pytest.fixture
def out(tmp_path):
    """Where `prepare` writes."""
    return tmp_path / "out"
