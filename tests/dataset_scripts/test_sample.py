"""The embedded sample as files: reproducibility, limits, refusals and the four raw layouts."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts import iemocap, meld, mosei, mosi
from dataset_scripts.media import decode_audio, decode_frames
from dataset_scripts.sample import write_sample
from dataset_scripts.sample_face import FRAME_SIZE
from dataset_scripts.sample_plan import COUNTS, DATASETS, plan_dataset
from dataset_scripts.sample_voice import SAMPLING_RATE
from modeling_unimse.universal_label_unimse import BENCHMARK_EMOTIONS, EMOTION_POLARITY, polarity_of

ROOT = Path(__file__).resolve().parents[2]
SCALE = 0.08
LOADERS = {"mosi": mosi, "mosei": mosei, "meld": meld, "iemocap": iemocap}
MAX_BYTES = 25e6
MAX_SECONDS = 90.0


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A small sample, its summary, its truth and the CPU seconds it took."""
    folder = tmp_path_factory.mktemp("sample") / "out"
    before = time.process_time()
    summary = write_sample(folder, seed=3, scale=SCALE)
    seconds = time.process_time() - before
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {row["id"]: row for row in csv.DictReader(file)}
    return {"folder": folder, "summary": summary, "truth": truth, "seconds": seconds}


@pytest.fixture(scope="module")
def readings(sample):
    return {name: loader.read(sample["folder"] / name) for name, loader in LOADERS.items()}


def tree_hash(folder):
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


# Reproducibility, sizes, refusals


def test_same_bytes_in_another_process(sample, tmp_path):
    code = f"from dataset_scripts.sample import write_sample; write_sample({str(tmp_path / 'b')!r}, 3, {SCALE})"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment, capture_output=True)
    assert tree_hash(tmp_path / "b") == tree_hash(sample["folder"])


def test_another_seed_gives_other_content():
    texts = [{u.text for d in plan_dataset("meld", seed, 0.1) for u in d.utterances} for seed in (0, 1)]
    assert len(texts[0] & texts[1]) < 0.2 * len(texts[0])


def test_media_depend_on_the_seed():
    utterances = [plan_dataset("mosi", seed, 0.1)[0].utterances[0] for seed in (0, 1)]
    moved = replace(utterances[0], seed=1)
    assert not np.array_equal(utterances[0].render_voice(), moved.render_voice())
    assert not np.array_equal(utterances[0].render_face(), moved.render_face())


def test_full_size_stays_within_the_limits(sample):
    full = sum(sum(counts.values()) for counts in COUNTS.values())
    small = len(sample["truth"])
    assert sample["summary"]["bytes"] / small * full < MAX_BYTES
    assert sample["seconds"] / small * full < MAX_SECONDS


def test_summary_counts_what_is_there(sample):
    counted = defaultdict(Counter)
    for row_id in sample["truth"]:
        dataset, split, _ = row_id.split("/")
        counted[dataset][split] += 1
    assert sample["summary"]["utterances"] == counted
    files = [path for path in sample["folder"].rglob("*") if path.is_file()]
    assert sample["summary"]["bytes"] == sum(path.stat().st_size for path in files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed: expected a whole number >= 0, got -1"),
        ({"seed": 1.5}, "seed: expected a whole number"),
        ({"scale": 0.0}, "scale: expected a number above 0"),
        ({"scale": float("nan")}, "scale: expected a number above 0"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write_sample(tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="exists and is not empty; name another folder"):
        write_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(folder, dialogues):
        raise RuntimeError("disk full")

    monkeypatch.setitem(sys.modules["dataset_scripts.sample"].WRITERS, "mosi", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        write_sample(tmp_path / "out", scale=0.01)
    assert not list(tmp_path.iterdir())


# Layouts


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_loader_reads_every_row(sample, readings, dataset):
    reading = readings[dataset]
    truth = {row_id: row for row_id, row in sample["truth"].items() if row_id.startswith(f"{dataset}/")}
    assert {item.example["id"] for item in reading.items} == set(truth)
    assert not reading.skipped.as_dict()
    # Dialogue numbers start anew in each split, as in MELD itself.
    assert set(reading.notes.as_dict()) <= {"name that comes in several splits; the split is part of the id"}
    for example in (item.example for item in reading.items):
        row = truth[example["id"]]
        assert example["polarity"] == EMOTION_POLARITY[row["emotion"]]
        if dataset in BENCHMARK_EMOTIONS:
            assert example["emotion"] == row["emotion"]
        else:
            assert example["sentiment"] == pytest.approx(float(row["sentiment"]), abs=1e-3)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_clip_decodes(readings, dataset):
    for item in readings[dataset].items:
        seconds = item.example["end"] - item.example["start"] if item.example["end"] else None
        waveform, rate = decode_audio(item.audio.path, item.audio.start, item.audio.end)
        visual = item.visual
        frames = decode_frames(visual.path, start=visual.start, end=visual.end, half=visual.half)
        assert rate == SAMPLING_RATE
        assert 0.9 < len(waveform) / rate < 1.5
        assert seconds is None or abs(len(waveform) / rate - seconds) < 0.1
        assert frames.shape[1:] == (FRAME_SIZE, FRAME_SIZE, 3)
        assert 8 <= len(frames) <= 10


def test_mosi_layout(sample):
    folder = sample["folder"] / "mosi"
    with (folder / "label.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["video_id", "clip_id", "text", "label", "annotation", "mode", "label_by"]
    listed = {f"{row['video_id']}/{row['clip_id']}.mp4" for row in rows}
    assert listed == {str(path.relative_to(folder / "Raw")) for path in folder.rglob("*.mp4")}
    assert {row["mode"] for row in rows} == {"train", "valid", "test"}
    for row in rows:
        assert row["annotation"].lower() == polarity_of(float(row["label"]))
        assert float(row["label"]) * 5 == pytest.approx(round(float(row["label"]) * 5), abs=1e-9)
        assert 0.4 <= abs(float(row["label"])) <= 3.0 or float(row["label"]) == 0


def test_mosei_layout(sample):
    h5py = pytest.importorskip("h5py", reason="csd files are HDF5")
    folder = sample["folder"] / "mosei"
    folds = json.loads((folder / "folds.json").read_text())
    videos = {path.stem for path in (folder / "Raw/Videos/Full/Combined").glob("*.mp4")}
    assert set(folds) == {"train", "validation", "test"}
    assert sorted(sum(folds.values(), [])) == sorted(videos)
    with h5py.File(folder / "CMU_MOSEI_Labels.csd") as labels, h5py.File(folder / mosei.WORDS) as words:
        assert json.loads(labels["All Labels/metadata/root name"][0]) == "All Labels"
        assert set(labels["All Labels/data"]) == set(words["words/data"]) == videos
        for video in videos:
            features = labels[f"All Labels/data/{video}/features"][()]
            assert features.shape[1] == 7
            assert np.abs(features[:, 0] * 3 - np.round(features[:, 0] * 3)).max() < 1e-5
            assert np.allclose(features[:, 1:].sum(1), np.abs(features[:, 0]))
            spoken, times = (words[f"words/data/{video}/{name}"][()] for name in ("features", "intervals"))
            assert spoken[0, 0] == spoken[-1, 0] == b"sp"
            assert np.array_equal(times[1:, 0], times[:-1, 1])
            assert (times[:, 1] > times[:, 0]).all()


def test_mosei_words_rebuild_the_sentences(readings):
    plan = plan_dataset("mosei", seed=3, scale=SCALE)
    planned = sorted(utterance.text for dialogue in plan for utterance in dialogue.utterances)
    assert sorted(item.example["text"] for item in readings["mosei"].items) == planned


def test_ids_of_real_shapes_occur(readings):
    for dataset in ("mosi", "mosei"):
        videos = {item.example["dialogue_id"] for item in readings[dataset].items}
        assert any(video.startswith("-") for video in videos)
        assert any(video.isdigit() for video in videos)


def test_meld_layout(sample):
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    places = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
    for split, clip_folder in places.items():
        lines = (sample["folder"] / "meld" / f"{split}_sent_emo.csv").read_text(encoding="utf-8").splitlines()
        assert lines[0] == header
        rows = list(csv.DictReader(lines))
        listed = {f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4" for row in rows}
        assert listed == {path.name for path in (sample["folder"] / "meld" / clip_folder).iterdir()}
        assert rows[0]["Dialogue_ID"] == "0"
        pattern = r"\d:\d\d:\d\d,\d{3}" if split == "test" else r"\d\d:\d\d:\d\d,\d{3}"
        assert all(re.fullmatch(pattern, row["StartTime"]) for row in rows)
        assert all(row["Sentiment"] == EMOTION_POLARITY[row["Emotion"]] for row in rows)


def test_iemocap_layout(sample):
    folder = sample["folder"] / "iemocap"
    assert sorted(path.name for path in folder.iterdir()) == [f"Session{number}" for number in range(1, 6)]
    for evaluation in folder.glob("Session*/dialog/EmoEvaluation/*.txt"):
        session, name = evaluation.parents[2], evaluation.stem
        lines = evaluation.read_text().splitlines()
        assert lines[0].startswith("% [START_TIME")
        turns = [line.split("\t")[1] for line in lines if line.startswith("[")]
        assert turns == re.findall(r"^(\S+) \[", (session / f"dialog/transcriptions/{name}.txt").read_text(), re.M)
        assert {path.stem for path in (session / "sentences/wav" / name).iterdir()} == set(turns)
        assert sum(line.startswith("C-") for line in lines) == sum(line.startswith("A-") for line in lines) > 0
        assert {turn[-4] for turn in turns} == {"F", "M"}
        film = decode_frames(session / f"dialog/avi/DivX/{name}.avi", count=1)
        assert film.shape == (1, FRAME_SIZE, 2 * FRAME_SIZE, 3)


def test_iemocap_speaker_moves_in_the_right_half(sample, readings):
    moved = []
    for item in readings["iemocap"].items:
        row = sample["truth"][item.example["id"]]
        if row["teller"] == "face" and row["emotion"] in ("surprise", "excited", "joy", "anger", "sadness"):
            visual = item.visual
            other = {"left": "right", "right": "left"}[visual.half]
            both = [
                decode_frames(visual.path, start=visual.start, end=visual.end, half=h) for h in (visual.half, other)
            ]
            moved.append([np.abs(frames[-2].astype(float) - frames[0]).mean() for frames in both])
    assert len(moved) >= 8
    speaker, listener = np.mean(moved, axis=0)
    assert speaker > 1.5 * listener
