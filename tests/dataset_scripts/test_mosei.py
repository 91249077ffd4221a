"""MOSEI: csd labels, timed words, folds and stretches of full videos, row for row."""

import json

import numpy as np
import pytest

from dataset_scripts import mosei
from dataset_scripts.schema import validate_example

THIRD = float(np.float32(1 / 3))
GOLDEN = [
    # id, split, dialogue, index, text, start, end, sentiment, polarity
    ("mosei/train/-v1_1", "train", "-v1", 0, "not good", 0.0, 0.5, -2.0, "negative"),
    ("mosei/train/-v1_0", "train", "-v1", 1, "quite nice", 0.5, 1.0, THIRD, "positive"),
    ("mosei/validation/77_0", "validation", "77", 0, None, 0.0, 0.5, 0.0, "neutral"),
    ("mosei/test/w0_0", "test", "w0", 0, None, 0.25, 0.75, 3.0, "positive"),
]


def test_rows(raw, tmp_path):
    reading = mosei.read(raw.mosei(tmp_path))
    columns = ("id", "split", "dialogue_id", "utterance_index", "text", "start", "end", "sentiment", "polarity")
    assert [tuple(item.example[name] for name in columns) for item in reading.items] == GOLDEN
    for item in reading.items:
        validate_example(item.example)
        assert item.example["emotion"] is None
    clip = reading.items[0].visual
    assert clip == reading.items[0].audio
    assert (clip.path.relative_to(tmp_path).as_posix(), clip.start, clip.end) == (
        "Raw/Videos/Full/Combined/-v1.mp4",
        0.0,
        0.5,
    )
    assert (reading.rows_read, reading.layout) == (
        6,
        "cmu-csd: CMU_MOSEI_Labels.csd with full videos, splits by folds.json",
    )


def test_what_is_skipped_and_odd_is_counted(raw, tmp_path):
    reading = mosei.read(raw.mosei(tmp_path))
    assert reading.skipped.as_dict() == {
        "in no split": {"count": 2, "first": "left_out: in no fold", "splits": {"any": 2}}
    }
    assert reading.notes.as_dict() == {
        "video of the folds without labels": {"count": 1, "first": "gone", "splits": {"validation": 1}},
        "video without timed words; its text is None": {"count": 1, "first": "w0", "splits": {"test": 1}},
    }


def test_without_videos_it_is_text_only(raw, tmp_path):
    reading = mosei.read(raw.mosei(tmp_path, clips=False))
    assert reading.layout == "cmu-csd: CMU_MOSEI_Labels.csd without videos, text only, splits by folds.json"
    assert all(item.audio is item.visual is None for item in reading.items)


def test_a_segment_that_starts_before_the_video_starts_at_zero(raw, tmp_path):
    raw.mosei(tmp_path, clips=False)
    raw.csd(tmp_path / mosei.LABELS, "All Labels", {"77": (np.zeros((1, 7)), [(-0.2, 1.0)])})
    assert mosei.read(tmp_path).items[0].example["start"] == 0.0


def test_without_folds_json_the_standard_folds_are_taken(raw, tmp_path):
    raw.mosei(tmp_path, clips=False)
    (tmp_path / "folds.json").unlink()
    reading = mosei.read(tmp_path)
    assert reading.items == [] and reading.skipped.count("in no split") == reading.rows_read == 6
    assert reading.layout.endswith(", standard folds")


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("{", r"folds.json: expected a json object .* got no valid json"),
        (json.dumps({"train": [], "valid": []}), r"folds.json: expected a json object .* got \['train', 'valid'\]"),
        (json.dumps(["77"]), r"folds.json: expected a json object .* got a list"),
        (json.dumps({"train": ["77"], "test": [77]}), r"video 77 is named twice, in train and test; keep one"),
    ],
)
def test_bad_folds(raw, tmp_path, folds, message):
    raw.mosei(tmp_path, clips=False)
    (tmp_path / "folds.json").write_text(folds)
    with pytest.raises(ValueError, match=message):
        mosei.read(tmp_path)


def test_labels_of_another_width_are_refused(raw, tmp_path):
    raw.mosei(tmp_path, clips=False)
    raw.csd(tmp_path / mosei.LABELS, "All Labels", {"77": (np.zeros((1, 1)), [(0, 1)])})
    with pytest.raises(ValueError, match=r"CMU_MOSEI_Labels.csd, 77: expected 7 columns \(sentiment first\), got 1"):
        mosei.read(tmp_path)


def test_another_folder_is_refused_with_what_was_looked_for(raw, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mosei: .* is of none of the known forms .*CMU_MOSEI_Labels.csd"):
        mosei.read(raw.meld(tmp_path, clips=False))
