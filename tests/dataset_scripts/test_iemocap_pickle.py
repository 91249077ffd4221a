"""IEMOCAP as a pickle of features: rows, vectors, and files of another form."""

import numpy as np
import pytest

from dataset_scripts import iemocap
from dataset_scripts.pickles import UnsafePickleError
from dataset_scripts.schema import validate_example
from tests.dataset_scripts.raw_emotion import (
    iemocap_tuple,
    write_authors_features,
    write_iemocap_pickle,
    write_pickle,
    write_python2_pickle,
)

COLUMNS = ("id", "split", "dialogue_id", "utterance_index", "speaker", "text", "start", "end", "emotion", "polarity")
IDS, SPEAKERS, LABELS, TEXT, AUDIO, VISUAL, SENTENCE, TRAIN, TEST = range(9)
IMPRO, SCRIPT, LAST = "Ses01F_impro01", "Ses02M_script01_1b", "Ses05F_impro03"
NO_TIME = (None, None)
GOLDEN = [  # the test dialogue's name has the smallest hash, then that of the first for training
    (f"iemocap/train/{SCRIPT}_M000", "train", SCRIPT, 0, "Ses02M", "No.", *NO_TIME, "anger", "negative"),
    (f"iemocap/train/{SCRIPT}_F000", "train", SCRIPT, 1, "Ses02F", None, *NO_TIME, "frustrated", "negative"),
    (f"iemocap/train/{SCRIPT}_F001", "train", SCRIPT, 2, "Ses02F", "Great!", *NO_TIME, "excited", "positive"),
    (
        f"iemocap/validation/{IMPRO}_F000",
        "validation",
        IMPRO,
        0,
        "Ses01F",
        "Excuse me.",
        *NO_TIME,
        "neutral",
        "neutral",
    ),
    (
        *(f"iemocap/validation/{IMPRO}_M000", "validation", IMPRO, 1, "Ses01M", "Do you have your forms?"),
        *(*NO_TIME, "joy", "positive"),
    ),
    (f"iemocap/test/{LAST}_F000", "test", LAST, 0, "Ses05F", "caf\u00e9 is closed", *NO_TIME, "sadness", "negative"),
]


def rows(reading):
    return [tuple(item.example[name] for name in COLUMNS) for item in reading.items]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_rows_and_vectors(tmp_path, protocol):
    write_iemocap_pickle(tmp_path / "IEMOCAP_features.pkl", protocol=protocol)
    reading = iemocap.read(tmp_path)
    assert rows(reading) == GOLDEN
    for item in reading.items:
        validate_example(item.example)
        assert item.audio is item.visual is None
    assert reading.layout == "iemocap-pickle: IEMOCAP_features.pkl with features, no media"
    assert (reading.rows_read, reading.skipped.as_dict(), reading.notes.as_dict()) == (6, {}, {})
    (stored,) = reading.stored
    assert (stored.name, stored.source) == ("iemocap-features", "IEMOCAP_features.pkl")
    assert stored.sizes == {"text": 3, "audio": 4, "visual": 2}
    vectors = stored.get(f"iemocap/train/{SCRIPT}_F001")
    np.testing.assert_array_equal(vectors["text"], [[40, 41, 42]])
    np.testing.assert_array_equal(vectors["audio"], [[40, 41, 42, 43]])
    np.testing.assert_array_equal(vectors["visual"], [[40, 41]])
    np.testing.assert_array_equal(stored.get(f"iemocap/test/{LAST}_F000")["visual"], [[50, 51]])
    assert stored.get("iemocap/test/nothing") == {}


def test_strings_of_python_2_are_latin1(tmp_path):
    write_python2_pickle(tmp_path / "IEMOCAP_features.pkl", tuple(iemocap_tuple()))
    assert rows(iemocap.read(tmp_path)) == GOLDEN


def test_ids_and_validation_are_those_of_the_session_tree(raw, tmp_path):
    tree = iemocap.read(raw.iemocap(tmp_path / "tree", clips=False))
    kept = [item.example for item in sorted(tree.items, key=lambda item: item.example["id"].rpartition("/")[2])]
    parts = iemocap_tuple()
    for part in parts[:7]:
        part.clear()
    for place in (IDS, SPEAKERS, LABELS, TEXT, AUDIO, VISUAL, SENTENCE):
        for row in kept:
            name = row["id"].rpartition("/")[2]
            label = 2 if row["emotion"] == "neutral" else 0
            value = {IDS: name, SPEAKERS: name[-4], LABELS: label, SENTENCE: row["text"]}.get(place, np.ones(2))
            parts[place].setdefault(row["dialogue_id"], []).append(value)
    parts[TRAIN], parts[TEST] = {row["dialogue_id"] for row in kept if row["split"] != "test"}, {"Ses05F_impro01"}
    pickled = iemocap.read(write_iemocap_pickle(tmp_path / "features.pkl", parts))
    columns = [name for name in COLUMNS if name not in ("start", "end")]
    found = [[item.example[name] for name in columns] for item in pickled.items]
    assert found == [[item.example[name] for name in columns] for item in tree.items]


def test_the_file_itself_another_name_and_the_format_by_name(raw, tmp_path):
    path = write_iemocap_pickle(tmp_path / "feats.p")
    assert rows(iemocap.read(path)) == rows(iemocap.read(tmp_path)) == GOLDEN
    raw.iemocap(tmp_path, clips=False)
    assert iemocap.read(tmp_path).layout.startswith("session-tree")
    assert rows(iemocap.read(tmp_path, format="iemocap-pickle")) == GOLDEN
    write_iemocap_pickle(tmp_path / "second.pkl", protocol=4)
    with pytest.raises(
        FileNotFoundError, match=r"expected one IEMOCAP_features.pkl in .*, found feats.p, second.pkl; name"
    ):
        iemocap.read(tmp_path, format="iemocap-pickle")
    write_iemocap_pickle(tmp_path / "IEMOCAP_features_raw.pkl")
    assert "IEMOCAP_features_raw.pkl" in iemocap.read(tmp_path, format="iemocap-pickle").layout


def test_session_5_is_the_test_set_whatever_the_lists_say(tmp_path):
    parts = iemocap_tuple()
    parts[TRAIN], parts[TEST] = np.array([LAST, SCRIPT]), [IMPRO]
    reading = iemocap.read(write_iemocap_pickle(tmp_path / "a.pkl", parts))
    assert rows(reading) == GOLDEN
    reason = "the file has Session 5 in training or another session in test; Session 5 is the test set"
    assert reading.notes.as_dict()[reason]["splits"] == {"validation": 1, "test": 1}


def test_odd_rows_are_counted(tmp_path):
    parts = iemocap_tuple()
    parts[LABELS][SCRIPT] = [6, "ang", np.int64(4)]
    parts[IDS][IMPRO][0] = "utterance 1"
    parts[SPEAKERS][LAST] = ["M"]
    parts[AUDIO][SCRIPT][2] = np.ones(9)
    parts[VISUAL][LAST] = np.full((1, 2), 7.0)
    parts[TEXT][LAST] = [[1, 2, 3.5]]
    parts[SENTENCE][LAST] = ["half \ud800 a pair"]
    reading = iemocap.read(write_iemocap_pickle(tmp_path / "IEMOCAP_features.pkl", parts, protocol=4))
    texts = {item.example["id"]: item.example["text"] for item in reading.items}
    assert texts == {
        f"iemocap/train/{SCRIPT}_F001": "Great!",
        f"iemocap/validation/{IMPRO}_M000": "Do you have your forms?",
        f"iemocap/test/{LAST}_F000": "half ? a pair",
    }
    assert {reason: entry["first"] for reason, entry in reading.skipped.as_dict().items()} == {
        "utterance name of another form": "utterance 1",
        "label outside the set: 6": f"{SCRIPT}_M000",
        "label outside the set: ang": f"{SCRIPT}_F000",
    }
    assert {reason: entry["first"] for reason, entry in reading.notes.as_dict().items()} == {
        "features of another shape, not used": f"iemocap/train/{SCRIPT}_F001: audio: float64 (9,)",
        "speaker differs from the utterance's name; the name is taken": f"{LAST}_F000: M",
    }
    (stored,) = reading.stored
    assert set(stored.get(f"iemocap/train/{SCRIPT}_F001")) == {"text", "visual"}
    np.testing.assert_array_equal(stored.get(f"iemocap/test/{LAST}_F000")["text"], [[1, 2, 3.5]])
    np.testing.assert_array_equal(stored.get(f"iemocap/test/{LAST}_F000")["visual"], [[7, 7]])


def test_a_dialogue_in_no_session_and_no_list_is_skipped(tmp_path):
    parts = iemocap_tuple()
    for part in parts[:7]:
        part["other"] = part[LAST]
    skipped = iemocap.read(write_iemocap_pickle(tmp_path / "a.pkl", parts)).skipped.as_dict()
    assert skipped == {"in no split": {"count": 1, "first": f"{LAST}_F000", "splits": {"any": 1}}}


def test_features_of_the_authors_beside_it(tmp_path):
    write_iemocap_pickle(tmp_path / "IEMOCAP_features.pkl")
    write_authors_features(tmp_path / "unimse.pkl", [{}, {}, {f"{LAST}_F000": (1, 2)}], [{}, {}, {}])
    reading = iemocap.read(tmp_path)
    assert [stored.name for stored in reading.stored] == ["iemocap-features", "unimse-authors"]
    assert reading.stored[1].get(f"iemocap/test/{LAST}_F000")["audio"].shape == (2, 64)


def with_part(place, value):
    parts = iemocap_tuple()
    parts[place] = value
    return parts


def with_entry(place, value):
    parts = iemocap_tuple()
    parts[place][SCRIPT] = value
    return parts


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (iemocap_tuple()[:8], r"expected a tuple of 9 \(videoIDs, .*\), got a tuple of 8"),
        (with_part(LABELS, [1]), r"labels: expected a dict of dialogues, got a list"),
        (with_part(TEST, "Ses05"), r"testVid: expected a list of dialogues, got a str"),
        (with_entry(LABELS, [1, 2]), rf"{SCRIPT}: labels: expected a list with one entry an utterance, got 2 entries"),
        (with_entry(AUDIO, None), rf"{SCRIPT}: audio: expected a list with one entry an utterance, got nothing"),
        (with_entry(IDS, 5), rf"{SCRIPT}: videoIDs: expected a list with one entry an utterance, got int"),
        (with_entry(TEXT, np.ones((2, 3))), rf"{SCRIPT}: text: expected .* got float64 \(2, 3\)"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, parts, message):
    with pytest.raises(ValueError, match=rf"IEMOCAP_features.pkl.*{message}"):
        iemocap.read(write_iemocap_pickle(tmp_path / "IEMOCAP_features.pkl", parts))


def test_broken_and_unsafe_files_are_refused(tmp_path):
    path = write_iemocap_pickle(tmp_path / "IEMOCAP_features.pkl")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"IEMOCAP_features.pkl: .*(cut off|not a readable pickle)"):
        iemocap.read(tmp_path)
    write_pickle(path, (*iemocap_tuple()[:8], print))
    with pytest.raises(UnsafePickleError, match=r"IEMOCAP_features.pkl: refused, it names .*print"):
        iemocap.read(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"IEMOCAP_features.pkl: the file is empty"):
        iemocap.read(tmp_path)


def test_features_beside_the_sessions_are_theirs(raw, tmp_path):
    folder = raw.iemocap(tmp_path / "iemocap", clips=False)
    write_iemocap_pickle(folder / "IEMOCAP_features.pkl")
    reading = iemocap.read(folder)
    assert reading.layout.startswith("session-tree")
    (stored,) = reading.stored
    row = next(item.example["id"] for item in reading.items if item.example["id"].endswith(f"{IMPRO}_F000"))
    assert stored.name == "iemocap-features" and stored.get(row)["audio"].shape == (1, 4)
    alone = next(item.example["id"] for item in reading.items if "Ses03" in item.example["id"])
    assert stored.get(alone) == {}
    assert reading.notes.count("row without features in the pickle") == len(reading.items) - 2


def test_two_pickles_beside_the_sessions_are_two_sets(raw, tmp_path):
    raw.iemocap(tmp_path / "release", clips=False)
    parts = iemocap_tuple()
    parts[AUDIO][IMPRO][1] = np.ones(9)
    write_iemocap_pickle(tmp_path / "IEMOCAP_features.pkl")
    write_iemocap_pickle(tmp_path / "release" / "IEMOCAP_features_raw.pkl", parts)
    reading = iemocap.read(tmp_path)
    assert [(stored.name, stored.source) for stored in reading.stored] == [
        ("iemocap-features", "IEMOCAP_features.pkl"),
        ("iemocap-features-2", "release/IEMOCAP_features_raw.pkl"),
    ]
    notes = reading.notes.as_dict()
    assert "pickle not used" not in notes
    assert "audio: float64 (9,)" in notes["features of another shape, not used"]["first"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "refused, it names os.system"),
        (b"version https://git-lfs.github.com/spec/v1\n", "expected a pickle, but this is a Git LFS pointer"),
    ],
)
@pytest.mark.parametrize("name", ["IEMOCAP_features.pkl", "other.pkl"])
def test_a_pickle_beside_the_sessions_that_cannot_be_used_is_noted(raw, tmp_path, name, content, reason):
    folder = raw.iemocap(tmp_path / "iemocap", clips=False)
    (folder / name).write_bytes(content)
    reading = iemocap.read(folder)
    note = reading.notes.as_dict()["pickle not used"]
    assert not reading.stored and note["count"] == 1 and note["first"].startswith(f"{name}: {reason}")
