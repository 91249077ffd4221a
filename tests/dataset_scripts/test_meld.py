"""MELD: three csv files and clips, row for row, the authors' features beside them, and the real csv files."""

import pickle
import re

import numpy as np
import pytest

from dataset_scripts import meld
from dataset_scripts.authors_features import trim_zero_steps
from dataset_scripts.schema import validate_example
from tests.dataset_scripts.raw_emotion import write_authors_features, write_pickle

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
ROW = (1, "Hi.", "Joey", "joy", "positive", 2, 7, 1, 1, "0:0:1,0", "0:0:2,0")


def rows(reading):
    return [tuple(item.example[name] for name in COLUMNS) for item in reading.items]


def firsts(tally):
    return {reason: (entry["count"], entry["first"]) for reason, entry in tally.as_dict().items()}


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
    assert (reading.rows_read, reading.layout, reading.stored) == (5, "meld-csv: csv files with clips", [])


def test_what_is_skipped_and_odd_is_counted(raw, tmp_path):
    raw.meld(tmp_path)
    test_clips = tmp_path / "output_repeated_splits_test"
    for name in ("final_videos_testdia0_utt0.mp4", "._dia0_utt0.mp4", "dia66_utt9.mp4", "other.mp4"):
        (test_clips / name).touch()
    reading = meld.read(tmp_path)
    assert rows(reading) == GOLDEN
    unknown = "train_sent_emo.csv, line 4: 'boredom', 'neutral'"
    outside = {"count": 1, "first": unknown, "splits": {"train": 1}}
    assert reading.skipped.as_dict() == {"label outside the set": outside}
    folder = "output_repeated_splits_test"
    assert firsts(reading.notes) == {
        "number without an utterance within a dialogue": (2, "train: dia0_utt1"),
        "times cannot be used; start and end are None": (1, "dev_sent_emo.csv, line 2: 00:00:10,000-00:00:09,000"),
        "start and end are the same time": (1, "test_sent_emo.csv, line 2: 00:00:01,000-00:00:01,000"),
        "clip without a row, not used": (2, "train_splits/dia0_utt4.mp4"),
        "system file ._*, not used": (1, f"{folder}/._dia0_utt0.mp4"),
        "clip final_videos_test*, not used": (1, f"{folder}/final_videos_testdia0_utt0.mp4"),
        "clip not named dia<d>_utt<u>.mp4, not used": (1, f"{folder}/other.mp4"),
        "name that comes in several splits; the split is part of the id": (1, "dia0_utt0"),
    }
    assert reading.notes.count("clip without a row, not used", "test") == 1


def test_gaps_among_the_dialogues_are_counted(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    lines = [(*ROW[:5], dialogue, utterance, *ROW[7:]) for dialogue, utterance in ((0, 0), (1, 0), (4, 1), (4, 2))]
    raw.csv(tmp_path / "dev_sent_emo.csv", raw.meld_header, lines)
    notes = meld.read(tmp_path).notes
    assert notes.as_dict()["number without a dialogue"]["first"] == "validation: dia2"
    assert notes.count("number without a dialogue") == 2
    assert notes.count("number without an utterance within a dialogue", "validation") == 1


@pytest.mark.parametrize(
    "places",
    [
        {"train_splits": "train", "train_sent_emo.csv": "train", "dev_splits_complete": "dev"},
        {name: "data/MELD" for name in meld.FILES.values()},
        {name: "MELD.Raw/clips" for name in meld.CLIP_FOLDERS.values()},
    ],
    ids=["archives unpacked side by side", "csv files as in the repository", "clips two folders down"],
)
def test_files_one_or_two_folders_down(raw, tmp_path, places):
    raw.meld(tmp_path)
    for name, place in places.items():
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / name).rename(tmp_path / place / name)
    reading = meld.read(tmp_path)
    assert rows(reading) == GOLDEN
    assert all(item.audio.path.is_file() for item in reading.items)


def test_of_two_copies_the_topmost_is_read(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    raw.csv(tmp_path / "old" / "dev_sent_emo.csv", raw.meld_header, [ROW])
    reading = meld.read(tmp_path)
    assert rows(reading) == GOLDEN
    assert firsts(reading.notes)["another file of that name, not used"] == (1, "old/dev_sent_emo.csv")


def test_one_of_the_files_names_the_folder(raw, tmp_path):
    assert rows(meld.read(raw.meld(tmp_path, clips=False) / "dev_sent_emo.csv")) == GOLDEN


def test_a_missing_clip_is_still_named(raw, tmp_path):
    raw.meld(tmp_path)
    (tmp_path / "train_splits" / "dia0_utt3.mp4").unlink()
    assert meld.read(tmp_path).items[1].audio.path == tmp_path / "train_splits" / "dia0_utt3.mp4"


def test_a_missing_clip_folder_is_noted_and_its_clips_named(raw, tmp_path):
    raw.meld(tmp_path)
    (tmp_path / "dev_splits_complete").rename(tmp_path / "elsewhere")
    reading = meld.read(tmp_path)
    note = {"count": 1, "first": "dev_splits_complete", "splits": {"validation": 1}}
    assert reading.notes.as_dict()["clip folder not found; its clips count as missing"] == note
    assert reading.items[2].audio.path == tmp_path / "dev_splits_complete" / "dia0_utt0.mp4"


def test_an_empty_clip_folder_does_not_hide_a_full_one(raw, tmp_path):
    raw.meld(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train_splits").rename(tmp_path / "train" / "train_splits")
    (tmp_path / "train_splits").mkdir()
    assert meld.read(tmp_path).items[0].audio.path == tmp_path / "train" / "train_splits" / "dia0_utt0.mp4"


def test_longest_clip_grows_with_the_text(raw, tmp_path):
    reading = meld.read(raw.meld(tmp_path))
    assert reading.items[0].longest == 40.0
    text = " ".join(["word"] * 90)
    raw.csv(tmp_path / "dev_sent_emo.csv", raw.meld_header, [(1, text, "A", "joy", "positive", 0, 0, 1, 1, "", "")])
    assert meld.read(tmp_path).items[2].longest == 90.0


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_csv_files_alone_are_text_only_and_the_encoding_is_named(raw, tmp_path, encoding):
    raw.meld(tmp_path, clips=False)
    path = tmp_path / "train_sent_emo.csv"
    path.write_bytes(path.read_bytes().decode("utf-8").encode(encoding))
    reading = meld.read(tmp_path)
    assert rows(reading) == GOLDEN
    assert reading.layout == "meld-csv: csv files alone, text only"
    assert all(item.audio is item.visual is None for item in reading.items)
    assert firsts(reading.notes)[f"read as {encoding}"] == (1, "train_sent_emo.csv")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("00:14:38,127", 878.127),
        ("0:12:32,632", 752.632),
        (" 01:00:00.500 ", 3600.5),
        ("00:06:47,28", 407.028),
        ("14:38", None),
        ("", None),
        ("9" * 5000 + ":00:00,000", None),
        ("\u0661:00:00,000", None),
    ],
)
def test_times(value, seconds):
    assert meld.parse_time(value) == (None if seconds is None else pytest.approx(seconds, abs=1e-9))


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ({"Utterance_ID": "UterranceID"}, {}, r"the column 'Utterance_ID' is missing; the nearest is 'UterranceID'"),
        ({"StartTime": "StartTim"}, {}, r"unknown column 'StartTim'; rename it to 'StartTime'"),
        ({}, {5: "x"}, r"dev_sent_emo.csv, line 2: Dialogue_ID: expected a whole number, got 'x'"),
        ({}, {6: "-1"}, r"dev_sent_emo.csv, line 2: Utterance_ID: expected a whole number, got '-1'"),
    ],
)
def test_bad_tables(raw, tmp_path, header, row, message):
    raw.meld(tmp_path, clips=False)
    columns = [header.get(name, name) for name in raw.meld_header]
    raw.csv(tmp_path / "dev_sent_emo.csv", columns, [[row.get(place, value) for place, value in enumerate(ROW)]])
    with pytest.raises(ValueError, match=message):
        meld.read(tmp_path)


def test_all_rows_without_numbers_are_counted(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    lines = [(*ROW[:5], dialogue, *ROW[6:]) for dialogue in ("0", "", "7.5", "3.0")]
    raw.csv(tmp_path / "dev_sent_emo.csv", raw.meld_header, lines)
    with pytest.raises(ValueError, match=r"^2 rows are wrong, first: dev_sent_emo.csv, line 3: Dialogue_ID: .* ''$"):
        meld.read(tmp_path)


def test_columns_spelt_otherwise_and_without_times(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    columns = ["utterance", "Speaker", "Emotion", "Sentiment", "dialogue id", "Utterance_Id"]
    raw.csv(tmp_path / "dev_sent_emo.csv", columns, [ROW[1:7]])
    reading = meld.read(tmp_path)
    assert rows(reading)[2] == (
        "meld/validation/dia2_utt7",
        "validation",
        "dia2",
        0,
        "Joey",
        "Hi.",
        *[None] * 2,
        "joy",
        "positive",
    )
    assert reading.notes.count("column by another spelling") == 3
    assert firsts(reading.notes)["times cannot be used; start and end are None"] == (1, "dev_sent_emo.csv, line 2: -")


def test_an_exact_repeat_is_skipped_and_another_row_of_its_id_refused(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    raw.csv(tmp_path / "dev_sent_emo.csv", raw.meld_header, [ROW, ROW])
    reading = meld.read(tmp_path)
    repeat = {"count": 1, "first": "dev_sent_emo.csv, line 3: meld/validation/dia2_utt7", "splits": {"validation": 1}}
    assert reading.skipped.as_dict()["duplicate of an earlier row"] == repeat
    assert len(reading.items) == 4
    raw.csv(tmp_path / "dev_sent_emo.csv", raw.meld_header, [ROW, (2, "Hello.", *ROW[2:])])
    message = r"line 3: meld/validation/dia2_utt7 comes a second time with other content \(first: .*, line 2\)"
    with pytest.raises(ValueError, match=message):
        meld.read(tmp_path)


def test_a_missing_csv_is_named(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    (tmp_path / "dev_sent_emo.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"meld: dev_sent_emo.csv not found in .*; expected train_sent_emo.csv"):
        meld.read(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"meld: train_sent_emo.csv, dev_.*, test_sent_emo.csv not found in"):
        meld.read(tmp_path / "nowhere", format="meld-csv")
    with pytest.raises(ValueError, match=r"meld: expected a format of meld-csv, got 'csv'"):
        meld.read(tmp_path, format="csv")


def test_an_archive_that_is_not_unpacked_is_named(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    (tmp_path / "train.tar.gz").touch()
    reason = "clip folder not found; the rows have text only"
    assert firsts(meld.read(tmp_path).notes)[reason] == (3, "train_splits (not unpacked: train.tar.gz)")
    (tmp_path / "train_sent_emo.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_sent_emo.csv not found in .* \(first unpack train.tar.gz\);"):
        meld.read(tmp_path)


def test_another_folder_is_refused(raw, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"meld: .* none of the known forms .*; expected train_sent_emo.csv"):
        meld.read(raw.mosi(tmp_path, clips=False))


AUDIO = [{"0_0": (1, 5), "0_3": (2, 157)}, {"0_0": (3, 1)}, {"0_0": (0, 0)}]
VIDEO = [{"0_0": (4, 2)}, {"0_0": (5, 32)}, {"0_0": (6, 7)}]
OTHER_KEYS = {
    "dia0_utt0": lambda split, d, u: f"dia{d}_utt{u}",
    "with split": lambda split, d, u: f"{split}_{d}_{u}",
    "tuple": lambda split, d, u: (d, u),
    "tuple with split": lambda split, d, u: (split, d, u),
    "with season and episode": lambda split, d, u: f"s04e07_{d}_{u}",
    "file name": lambda split, d, u: f"dia{d}_utt{u}.mp4",
    "bytes": lambda split, d, u: f"{d}_{u}".encode(),
}


@pytest.mark.parametrize("key", OTHER_KEYS.values(), ids=OTHER_KEYS.keys())
def test_features_of_the_authors(raw, tmp_path, key):
    raw.meld(tmp_path, clips=False)

    def renamed(parts):
        names = ("train", "dev", "test")
        return [{key(name, *k.split("_")): v for k, v in p.items()} for name, p in zip(names, parts, strict=True)]

    write_authors_features(tmp_path / "meld_features.pkl", renamed(AUDIO), renamed(VIDEO))
    reading = meld.read(tmp_path)
    (stored,) = reading.stored
    assert (stored.name, stored.sizes, stored.source) == (
        "unimse-authors",
        {"audio": 64, "visual": 64},
        "meld_features.pkl",
    )
    first = stored.get("meld/train/dia0_utt0")
    np.testing.assert_array_equal(first["audio"], np.full((5, 64), 1, np.float32))
    np.testing.assert_array_equal(first["visual"], np.full((2, 64), 4, np.float32))
    second = stored.get("meld/train/dia0_utt3")
    assert (second["audio"].shape, set(second)) == ((157, 64), {"audio"})
    assert stored.get("meld/validation/dia0_utt0")["audio"].shape == (1, 64)
    missing = stored.get("meld/test/dia0_utt0")["audio"]  # as it is: who writes the table counts it as missing
    assert missing.shape == (157, 64) and not missing.any()
    assert stored.get("meld/test/nothing") == {}
    assert not any("authors" in reason for reason in reading.notes.as_dict())


def test_features_that_fit_no_row_are_counted(raw, tmp_path):
    raw.meld(tmp_path, clips=False)
    audio = [
        {"0_0": (1, 5), "9_9": (1, 5), "what": (1, 5), "dia0_utt0": (2, 5)},
        {},
        {"final_videos_testdia0_utt0": (1, 1)},
    ]
    write_authors_features(tmp_path / "a.p", audio, [{}, {}, {}], protocol=2)
    write_pickle(
        tmp_path / "b.pkl",
        {"video": [{"0_0": np.zeros((2, 3, 4)), "0_3": np.ones((2, 5))}, {"0_0": np.ones(7)}, {"0_0": "x"}]},
    )
    reading = meld.read(tmp_path)
    (stored,) = reading.stored
    assert (stored.sizes, stored.source) == ({"audio": 64, "visual": 5}, "a.p, b.pkl")
    counts = firsts(reading.notes)
    assert counts["features of the authors without a row, not used"] == (3, "a.p, audio: 9_9")
    assert counts["second features of the authors for a row, not used"] == (1, "a.p, audio: meld/train/dia0_utt0")
    other = counts["features of the authors of another shape, not used"]
    assert other == (3, "b.pkl, visual: meld/train/dia0_utt0: float64 (2, 3, 4)")
    assert counts["rows without features of the authors"] == (2, "meld/validation/dia0_utt0")


def test_steps_of_zeros_are_trimmed_at_both_ends_without_a_copy():
    sequence = np.array([[0, 0], [0, 1], [0, 0], [np.nan, 0], [0, 0]])
    trimmed = trim_zero_steps(sequence)
    np.testing.assert_array_equal(trimmed, sequence[1:4])
    assert trimmed.base is sequence


UNUSABLE = {
    "another kind": (lambda path: write_pickle(path, {"train": {"vision": 1, "audio": 2}}), r"expected \{'audio': \["),
    "two parts": (
        lambda path: write_pickle(path, {"audio": [{}, {}]}),
        r"expected .* got something else under 'audio'",
    ),
    "unsafe": (lambda path: write_pickle(path, {"audio": [{}, {}, {}], "x": print}), r"refused, it names \w+\.print"),
    "pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), r".*Git LFS pointer"),
    "cut off": (lambda path: path.write_bytes(pickle.dumps({"audio": [{}, {}, {}]})[:-9]), r"ends after \d+ bytes"),
    "empty": (lambda path: path.touch(), r"the file is empty"),
}


@pytest.mark.parametrize(("write", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_pickle_beside_the_rows_that_cannot_be_used_is_noted_with_the_reason(raw, tmp_path, write, reason):
    """It stops nothing, and is not passed over in silence; the report holds no path of this machine."""
    raw.meld(tmp_path, clips=False)
    write(tmp_path / "bad.p")
    write_authors_features(tmp_path / "good.pkl", [{"0_0": (1, 5)}, {}, {}], [{}, {}, {}])
    reading = meld.read(tmp_path)
    assert [(stored.name, stored.source) for stored in reading.stored] == [("unimse-authors", "good.pkl")]
    count, first = firsts(reading.notes)["pickle not used"]
    assert count == 1 and re.match(f"bad.p: {reason}", first) and str(tmp_path) not in first


def test_the_real_files(real_data):
    reading = meld.read(real_data("meld"))
    counts = {split: sum(item.example["split"] == split for item in reading.items) for split in meld.EXPECTED}
    assert counts == {"train": 9989, "validation": 1109, "test": 2610}
    assert (reading.rows_read, reading.skipped.as_dict()) == (13708, {})
    assert firsts(reading.notes) == {
        "number without a dialogue": (1, "train: dia60"),
        "number without an utterance within a dialogue": (109, "train: dia1_utt6"),
        "start and end are the same time": (1, "test_sent_emo.csv, line 1442: 0:12:32,632-0:12:32,632"),
        "name that comes in several splits; the split is part of the id": (2067, "dia0_utt0"),
    }
    by_id = {item.example["id"]: item.example for item in reading.items}
    assert len(by_id) == 13708
    assert not any(row["dialogue_id"] == "dia60" and row["split"] == "train" for row in by_id.values())
    assert all(row["start"] is not None for row in by_id.values())
    for row in by_id.values():
        validate_example(row)


REAL = [
    (
        *("meld/train/dia0_utt1", "train", "dia0", 1, "The Interviewer", "You must’ve had your hands full."),
        *(981.940, 983.442, "neutral", "neutral"),
    ),
    (
        *("meld/validation/dia0_utt1", "validation", "dia0", 1, "Monica", "What?"),
        *(1261.927, 1263.261, "surprise", "negative"),
    ),
    (
        *("meld/test/dia0_utt0", "test", "dia0", 0, "Mark"),
        *("Why do all you’re coffee mugs have numbers on the bottom?", 878.127, 880.378, "surprise", "positive"),
    ),
    ("meld/test/dia155_utt3", "test", "dia155", 3, "Rachel", "Oh my God.", 752.632, 752.632, "surprise", "negative"),
]


def test_known_rows_of_the_real_files(real_data):
    found = {row[0]: row for row in rows(meld.read(real_data("meld")))}
    assert [found[row[0]] for row in REAL] == REAL
