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
    assert (reading.rows_read, reading.layout) == (4, "mmsa-csv: label.csv with clips in Raw/")


def test_the_score_is_trusted_over_the_annotation(raw, tmp_path):
    notes = mosi.read(raw.mosi(tmp_path)).notes.as_dict()
    assert notes == {
        "annotation disagrees with the score; the score is taken": {
            "count": 1,
            "first": "mosi/train/-abc_10: Neutral for -0.5",
            "splits": {"train": 1},
        }
    }


def test_without_raw_it_is_text_only(raw, tmp_path):
    reading = mosi.read(raw.mosi(tmp_path, clips=False))
    assert reading.layout == "mmsa-csv: label.csv without Raw/, text only"
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
        (("a", "1", "x", "1", "", "all", ""), r"label.csv, line 2: mode: expected train, valid or test, got 'all'"),
        (("", "1", "x", "1", "", "train", ""), r"line 2: expected a video_id and a clip_id, got '' and '1'"),
    ],
)
def test_bad_rows(raw, tmp_path, row, message):
    raw.csv(tmp_path / "label.csv", raw.mmsa_header, [row])
    with pytest.raises(ValueError, match=message):
        mosi.read(tmp_path)


def test_a_clip_in_two_splits_is_refused(raw, tmp_path):
    rows = [("a", "1", "x", "1", "", "train", ""), ("a", "1", "x", "1", "", "test", "")]
    raw.csv(tmp_path / "label.csv", raw.mmsa_header, rows)
    message = r"label.csv, line 3: clip a/1 is in test, and in train too \(first: label.csv, line 2\); keep one"
    with pytest.raises(ValueError, match=message):
        mosi.read(tmp_path)


def test_a_clip_listed_twice_is_counted_or_refused(raw, tmp_path):
    rows = [("a", "1", "x", "1", "", "train", ""), ("a", "1", "x ", "1.0", "", "train", "")]
    raw.csv(tmp_path / "label.csv", raw.mmsa_header, rows)
    reading = mosi.read(tmp_path)
    assert (reading.rows_read, len(reading.items)) == (2, 1)
    assert reading.skipped.count("duplicate of an earlier row", "train") == 1
    raw.csv(tmp_path / "label.csv", raw.mmsa_header, [rows[0], ("a", "1", "y", "1", "", "train", "")])
    with pytest.raises(
        ValueError, match=r"line 3: mosi/train/a_1 comes a second time with other content \(first: label"
    ):
        mosi.read(tmp_path)


def test_scores_that_are_missing_or_outside_are_skipped(raw, tmp_path):
    rows = [("a", str(k), "x", score, "", "train", "") for k, score in enumerate(["", "nan", "3.5", "-inf", "3"])]
    raw.csv(tmp_path / "label.csv", raw.mmsa_header, rows)
    reading = mosi.read(tmp_path)
    assert [item.example["id"] for item in reading.items] == ["mosi/train/a_4"] and reading.rows_read == 5
    assert reading.skipped.count("no label", "train") == reading.skipped.count("label outside the set", "train") == 2


def test_all_wrong_rows_are_counted_in_one_message(raw, tmp_path):
    raw.csv(tmp_path / "label.csv", raw.mmsa_header, [("a", "1", "x", "one", "", "train", "")] * 3)
    with pytest.raises(ValueError, match=r"^3 rows are wrong, first: .*label.csv, line 2: label: expected a number"):
        mosi.read(tmp_path)


def test_every_form_is_offered_and_others_are_refused(tmp_path):
    names = ["mmsa-csv", "cmu-csd", "original-raw", "mmsa-pickle", "unimse-pickle", "mult-pickle"]
    assert [one.name for one in mosi.FORMATS] == names
    with pytest.raises(ValueError, match="mosi: expected a format of mmsa-csv, cmu-csd, .*, got 'zip'"):
        mosi.read(tmp_path, format="zip")


def test_another_folder_is_refused_with_what_was_looked_for(raw, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"mosi: .* is of none of the known forms .*; expected label.csv \(video_id, clip_id"
    ):
        mosi.read(raw.meld(tmp_path, clips=False))
