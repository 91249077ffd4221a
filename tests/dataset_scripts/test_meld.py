"""MELD: three csv files and clips, row for row, and the real csv files."""

import pytest

from dataset_scripts import meld
from dataset_scripts.schema import validate_example

GOLDEN = [
    # id, split, dialogue, index, speaker, text, start, end, emotion, polarity
    (
        *("meld/train/dia0_utt0", "train", "dia0", 0, "Phoebe", "Oh my God, he’s lost it."),
        *(1257.256, 1260.049, "sadness", "negative"),
    ),
    ("meld/train/dia0_utt3", "train", "dia0", 1, "Monica", "What?", 1261.927, 1263.028, "surprise", "positive"),
    ("meld/validation/dia0_utt0", "validation", "dia0", 0, "Joey", "Hi.", None, None, "joy", "positive"),
    ("meld/test/dia0_utt0", "test", "dia0", 0, "Ross", "No.", 1.0, 1.0, "anger", "negative"),
]
COLUMNS = ("id", "split", "dialogue_id", "utterance_index", "speaker", "text", "start", "end", "emotion", "polarity")


def rows(reading):
    return [tuple(item.example[name] for name in COLUMNS) for item in reading.items]


def test_rows(raw, tmp_path):
    reading = meld.read(raw.meld(tmp_path))
    assert rows(reading) == GOLDEN
    for item in reading.items:
        validate_example(item.example)
        assert item.example["sentiment"] is None
    assert [item.visual.path.relative_to(tmp_path).as_posix() for item in reading.items] == [
        "train_splits/dia0_utt0.mp4",
        "train_splits/dia0_utt3.mp4",
        "dev_splits_complete/dia0_utt0.mp4",
        "output_repeated_splits_test/dia0_utt0.mp4",
    ]
    assert (reading.rows_read, reading.layout) == (5, "csv files with clips")


def test_what_is_skipped_and_odd_is_counted(raw, tmp_path):
    raw.meld(tmp_path)
    test_clips = tmp_path / "output_repeated_splits_test"
    for name in ("final_videos_testdia0_utt0.mp4", "._dia0_utt0.mp4", "dia66_utt9.mp4"):
        (test_clips / name).touch()
    reading = meld.read(tmp_path)
    assert rows(reading) == GOLDEN
    unknown = "train_sent_emo.csv, line 4: 'boredom', 'neutral'"
    assert reading.skipped.as_dict() == {"label outside the set": {"count": 1, "first": unknown}}
    folder = "output_repeated_splits_test"
    assert {reason: entry["first"] for reason, entry in reading.notes.as_dict().items()} == {
        "times cannot be used; start and end are None": "dev_sent_emo.csv, line 2: 00:00:10,000-00:00:09,000",
        "clip without a row, not used": "train_splits/dia0_utt4.mp4",
        "system file ._*, not used": f"{folder}/._dia0_utt0.mp4",
        "clip not named dia<d>_utt<u>.mp4, not used": f"{folder}/final_videos_testdia0_utt0.mp4",
    }
    assert reading.notes.count("clip without a row, not used") == 2


def test_clip_folders_one_level_down(raw, tmp_path):
    raw.meld(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train_splits").rename(tmp_path / "train" / "train_splits")
    assert meld.read(tmp_path).items[0].audio.path == tmp_path / "train" / "train_splits" / "dia0_utt0.mp4"


def test_a_missing_clip_is_still_named(raw, tmp_path):
    raw.meld(tmp_path)
    (tmp_path / "train_splits" / "dia0_utt3.mp4").unlink()
    assert meld.read(tmp_path).items[1].audio.path == tmp_path / "train_splits" / "dia0_utt3.mp4"


def test_longest_clip_grows_with_the_text(raw, tmp_path):
    reading = meld.read(raw.meld(tmp_path))
    assert reading.items[0].longest == 40.0
    text = " ".join(["word"] * 90)
    raw.csv(tmp_path / "dev_sent_emo.csv", raw.meld_header, [(1, text, "A", "joy", "positive", 0, 0, 1, 1, "", "")])
    assert meld.read(tmp_path).items[2].longest == 90.0


def test_csv_files_alone_are_text_only_and_cp1252_is_named(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    path = tmp_path / "train_sent_emo.csv"
    path.write_bytes(path.read_bytes().decode("utf-8").encode("cp1252"))
    reading = meld.read(tmp_path)
    assert rows(reading) == GOLDEN
    assert reading.layout == "csv files alone, text only"
    assert all(item.audio is item.visual is None for item in reading.items)
    assert reading.notes.as_dict()["read as cp1252"] == {"count": 1, "first": "train_sent_emo.csv"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("00:14:38,127", 878.127),
        ("0:12:32,632", 752.632),
        (" 01:00:00.500 ", 3600.5),
        ("00:06:47,28", 407.028),
        ("14:38", None),
        ("", None),
    ],
)
def test_times(value, seconds):
    assert meld.parse_time(value) == (None if seconds is None else pytest.approx(seconds, abs=1e-9))


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ({"Utterance_ID": "UtteranceID"}, {}, r"the column 'Utterance_ID' is missing; the nearest is 'UtteranceID'"),
        ({"StartTime": "StartTim"}, {}, r"unknown column 'StartTim'; rename it to 'StartTime'"),
        ({}, {5: "x"}, r"dev_sent_emo.csv, line 2: Dialogue_ID: expected a whole number, got 'x'"),
    ],
)
def test_bad_tables(raw, tmp_path, header, row, message):
    raw.meld(tmp_path, clips=False)
    columns = [header.get(name, name) for name in raw.meld_header]
    values = [1, "Hi.", "Joey", "joy", "positive", 0, 0, 1, 1, "0:0:1,0", "0:0:2,0"]
    raw.csv(tmp_path / "dev_sent_emo.csv", columns, [[row.get(place, value) for place, value in enumerate(values)]])
    with pytest.raises(ValueError, match=message):
        meld.read(tmp_path)


def test_an_utterance_listed_twice_is_refused(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    row = (1, "Hi.", "Joey", "joy", "positive", 2, 7, 1, 1, "0:0:1,0", "0:0:2,0")
    raw.csv(tmp_path / "dev_sent_emo.csv", raw.meld_header, [row, row])
    message = r"dev_sent_emo.csv, line 3: dia2_utt7 comes a second time \(first: dev_sent_emo.csv, line 2\)"
    with pytest.raises(ValueError, match=message):
        meld.read(tmp_path)


def test_a_missing_csv_is_named(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    (tmp_path / "dev_sent_emo.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"meld: dev_sent_emo.csv not found in .*; expected train_sent_emo.csv"):
        meld.read(tmp_path)


def test_the_real_files(real_data):
    reading = meld.read(real_data("meld"))
    counts = {split: sum(item.example["split"] == split for item in reading.items) for split in meld.EXPECTED}
    assert counts == {"train": 9989, "validation": 1109, "test": 2610}
    assert reading.skipped.as_dict() == reading.notes.as_dict() == {}
    assert len({item.example["id"] for item in reading.items}) == 13708
    by_id = {item.example["id"]: item.example for item in reading.items}
    assert by_id["meld/test/dia0_utt0"]["text"] == "Why do all you’re coffee mugs have numbers on the bottom?"
    assert not any(row["dialogue_id"] == "dia60" and row["split"] == "train" for row in by_id.values())
    for row in by_id.values():
        validate_example(row)
