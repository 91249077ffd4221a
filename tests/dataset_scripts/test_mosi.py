"""MOSI: the MMSA layout, row for row."""

import pytest

from dataset_scripts import mosi
from dataset_scripts.schema import validate_example

GOLDEN = [
    # id, split, dialogue, index, text, sentiment, polarity
    ("mosi/train/-abc_2", "train", "-abc", 0, "a fine, fine film", 2.6, "positive"),
    ("mosi/train/-abc_10", "train", "-abc", 1, "and then it ended", -0.5, "negative"),
    ("mosi/validation/0123_1", "validation", "0123", 0, "so so", 0.0, "neutral"),
    ("mosi/test/xyz_1", "test", "xyz", 0, None, -3.0, "negative"),
]


def test_rows(raw, tmp_path):
    reading = mosi.read(raw.mosi(tmp_path))
    columns = ("id", "split", "dialogue_id", "utterance_index", "text", "sentiment", "polarity")
    assert [tuple(item.example[name] for name in columns) for item in reading.items] == GOLDEN
    for item in reading.items:
        validate_example(item.example)
        assert item.example["emotion"] is item.example["speaker"] is item.example["start"] is None
    clip = reading.items[1].audio
    assert clip == reading.items[1].visual
    assert (clip.path, clip.start, clip.end, clip.half) == (tmp_path / "Raw" / "-abc" / "10.mp4", None, None, None)
    assert (reading.rows_read, reading.layout) == (4, "MMSA label.csv with clips in Raw/")


def test_the_score_is_trusted_over_the_annotation(raw, tmp_path):
    notes = mosi.read(raw.mosi(tmp_path)).notes.as_dict()
    assert notes == {
        "annotation disagrees with the score; the score is taken": {
            "count": 1,
            "first": "mosi/train/-abc_10: Neutral for -0.5",
        }
    }


def test_without_raw_it_is_text_only(raw, tmp_path):
    reading = mosi.read(raw.mosi(tmp_path, clips=False))
    assert reading.layout == "MMSA label.csv without Raw/, text only"
    assert all(item.audio is item.visual is None for item in reading.items)


def test_the_columns_of_other_mmsa_releases_do_not_disturb(raw, tmp_path):
    header = ("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode")
    raw.csv(tmp_path / "label.csv", header, [("a", "1", "x", "1", "", "", "", "Positive", "test")])
    assert mosi.read(tmp_path).items[0].example["sentiment"] == 1.0


def test_only_the_columns_needed_are_required(raw, tmp_path):
    raw.csv(tmp_path / "label.csv", ("video_id", "clip_id", "text", "label", "mode"), [("a", "1", "x", "1", "test")])
    assert len(mosi.read(tmp_path).items) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", "1", "x", "great", "", "train", ""), r"label.csv, line 2: label: expected a number, got 'great'"),
        (("a", "1", "x", "1", "", "dev", ""), r"label.csv, line 2: mode: expected train, valid or test, got 'dev'"),
        (("", "1", "x", "1", "", "train", ""), r"line 2: expected a video_id and a clip_id, got '' and '1'"),
    ],
)
def test_bad_rows(raw, tmp_path, row, message):
    raw.csv(tmp_path / "label.csv", raw.mmsa_header, [row])
    with pytest.raises(ValueError, match=message):
        mosi.read(tmp_path)


def test_a_clip_listed_twice_is_refused_even_across_splits(raw, tmp_path):
    rows = [("a", "1", "x", "1", "", "train", ""), ("a", "1", "x", "1", "", "test", "")]
    raw.csv(tmp_path / "label.csv", raw.mmsa_header, rows)
    with pytest.raises(
        ValueError, match=r"label.csv, line 3: clip a/1 comes a second time \(first: label.csv, line 2\)"
    ):
        mosi.read(tmp_path)


def test_another_folder_is_refused_with_what_was_looked_for(raw, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"mosi: label.csv not found in .*; expected label.csv \(video_id, clip_id"
    ):
        mosi.read(raw.meld(tmp_path, clips=False))
