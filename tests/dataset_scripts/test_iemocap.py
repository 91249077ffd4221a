"""IEMOCAP: the session tree, row for row, and what is odd in it."""

import shutil

import numpy as np
import pytest

from dataset_scripts import iemocap, iemocap_tree
from dataset_scripts.schema import validate_example
from tests.dataset_scripts.raw_emotion import write_authors_features

COLUMNS = ("id", "split", "dialogue_id", "utterance_index", "speaker", "text", "start", "end", "emotion", "polarity")
FORMS = "Do you have your forms?"
GOLDEN = [  # of the four dialogues for training, that of Session 3 is the one whose name has the smallest hash
    *(
        (f"iemocap/train/{name}_F000", "train", name, 0, f"{name[:5]}F", "Excuse me.", 0.0, 0.5, "neutral", "neutral")
        if place == 0
        else (f"iemocap/train/{name}_M000", "train", name, 1, f"{name[:5]}M", FORMS, 0.5, 1.0, "joy", "positive")
        for name in ("Ses01F_impro01", "Ses02F_impro01", "Ses04F_impro01")
        for place in range(2)
    ),
    (
        *("iemocap/validation/Ses03F_impro01_F000", "validation", "Ses03F_impro01", 0, "Ses03F", "Excuse me."),
        *(0.0, 0.5, "neutral", "neutral"),
    ),
    (
        *("iemocap/validation/Ses03F_impro01_M000", "validation", "Ses03F_impro01", 1, "Ses03M", FORMS),
        *(0.5, 1.0, "joy", "positive"),
    ),
    (
        *("iemocap/test/Ses05F_impro01_F000", "test", "Ses05F_impro01", 0, "Ses05F", "Excuse me."),
        *(0.0, 0.5, "neutral", "neutral"),
    ),
    (
        *("iemocap/test/Ses05F_impro01_M000", "test", "Ses05F_impro01", 1, "Ses05M", FORMS),
        *(0.5, 1.0, "joy", "positive"),
    ),
]


def rows(reading):
    return [tuple(item.example[name] for name in COLUMNS) for item in reading.items]


def evaluation(root, session=1):
    return root / f"Session{session}" / "dialog" / "EmoEvaluation" / f"Ses0{session}F_impro01.txt"


def transcript(root, session=1):
    return root / f"Session{session}" / "dialog" / "transcriptions" / f"Ses0{session}F_impro01.txt"


def add_line(path, line):
    path.write_bytes(path.read_bytes() + line.encode() + b"\n")


def test_rows(raw, tmp_path):
    reading = iemocap.read(raw.iemocap(tmp_path))
    assert rows(reading) == GOLDEN
    for item in reading.items:
        validate_example(item.example)
    assert (reading.rows_read, reading.layout) == (15, "session-tree: sessions with sentence wavs and DivX films")


def test_media_of_a_row(raw, tmp_path):
    items = {item.example["id"]: item for item in iemocap.read(raw.iemocap(tmp_path)).items}
    item = items["iemocap/test/Ses05F_impro01_M000"]
    wav = "Session5/sentences/wav/Ses05F_impro01/Ses05F_impro01_M000.wav"
    assert (item.audio.path.relative_to(tmp_path).as_posix(), item.audio.start) == (wav, None)
    film = "Session5/dialog/avi/DivX/Ses05F_impro01.avi"
    assert (item.visual.path.relative_to(tmp_path).as_posix(), item.visual.start, item.visual.end) == (film, 0.5, 1.0)
    assert item.visual.half == "right"
    assert items["iemocap/test/Ses05F_impro01_F000"].visual.half == "left"


@pytest.mark.parametrize(
    ("utterance", "half"),
    [
        ("Ses01F_impro01_F000", "left"),
        ("Ses01F_impro01_M000", "right"),
        ("Ses03M_script01_1_M017", "left"),
        ("Ses03M_script01_1_F017", "right"),
    ],
)
def test_half(utterance, half):
    assert iemocap_tree.half_of(utterance) == half


@pytest.mark.parametrize(
    ("code", "emotion", "polarity"),
    [
        ("ang", "anger", "negative"),
        ("hap", "joy", "positive"),
        ("exc", "excited", "positive"),
        ("sad", "sadness", "negative"),
        ("fru", "frustrated", "negative"),
        ("neu", "neutral", "neutral"),
    ],
)
def test_codes(raw, tmp_path, code, emotion, polarity):
    raw.iemocap(tmp_path, clips=False)
    path = evaluation(tmp_path)
    path.write_text(path.read_text().replace("\thap\t", f"\t{code}\t"))
    example = iemocap.read(tmp_path).items[1].example
    assert (example["emotion"], example["polarity"]) == (emotion, polarity)


@pytest.mark.parametrize("code", ["fea", "sur", "dis", "oth", "xxx", "new"])
def test_codes_outside_the_six_are_skipped_by_split(raw, tmp_path, code):
    raw.iemocap(tmp_path, clips=False)
    path = evaluation(tmp_path, session=5)
    path.write_text(path.read_text().replace("\thap\t", f"\t{code}\t").replace("xxx", code))
    skipped = iemocap.read(tmp_path).skipped
    assert skipped.count(f"label outside the set: code {code}", "test") == 2
    assert skipped.as_dict()["label outside the set: code xxx"]["first"].endswith("_F001")


def test_what_is_skipped_and_odd_is_counted(raw, tmp_path):
    reading = iemocap.read(raw.iemocap(tmp_path))
    by_split = {"train": 3, "validation": 1, "test": 1}
    outside = {"count": 5, "first": "Ses01F_impro01_F001", "splits": by_split}
    assert reading.skipped.as_dict() == {"label outside the set: code xxx": outside}
    assert reading.notes.as_dict() == {
        "transcript line that does not parse": {
            "count": 5,
            "first": "Ses01F_impro01.txt: M: Yeah.",
            "splits": by_split,
        },
        "evaluation line that does not parse": {
            "count": 5,
            "first": "Ses01F_impro01.txt: [1.0000 - oops]",
            "splits": by_split,
        },
    }


@pytest.mark.parametrize(
    "line",
    [
        "[1.0 - 2.0]\tx\tneu\t[2.5, 2.5, 2.5]",
        "[1.0 - 2.0]\tSes01F_impro01_X000\tneu\t[2.5, 2.5, 2.5]",
        "[1.0 - 2.0]\tSes01F_impro01_F009\tneu",
        "[" + "9" * 400 + " - 2.0]\tSes01F_impro01_F009\tneu\t[2.5, 2.5, 2.5]",
        "[1.0 - nan]\tSes01F_impro01_F009\tneu\t[2.5, 2.5, 2.5]",
    ],
)
def test_evaluation_lines_of_another_form_are_counted(raw, tmp_path, line):
    raw.iemocap(tmp_path, clips=False)
    add_line(evaluation(tmp_path), line)
    reading = iemocap.read(tmp_path)
    assert rows(reading) == GOLDEN
    assert reading.notes.count("evaluation line that does not parse") == 6


def test_an_end_before_its_start_takes_the_times_and_the_film_away(raw, tmp_path):
    raw.iemocap(tmp_path)
    add_line(evaluation(tmp_path), "[3.0 - 2.0]\tSes01F_impro01_F009\tneu\t[2.5, 2.5, 2.5]")
    reading = iemocap.read(tmp_path)
    item = reading.items[2]
    assert (item.example["id"], item.example["start"], item.example["end"], item.visual) == (
        "iemocap/train/Ses01F_impro01_F009",
        *[None] * 3,
    )
    assert item.audio is not None
    note = {"count": 1, "first": "Ses01F_impro01_F009: 3.0-2.0", "splits": {"train": 1}}
    assert reading.notes.as_dict()["end before start; start, end and film are None"] == note


def test_a_missing_transcript_leaves_the_text_out(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    transcript(tmp_path, 5).unlink()
    reading = iemocap.read(tmp_path)
    assert [item.example["text"] for item in reading.items if item.example["split"] == "test"] == [None, None]
    assert reading.notes.count("transcript not found", "test") == 1
    assert reading.notes.count("utterance without a transcript; its text is None", "test") == 2


def test_a_transcript_that_is_a_folder_or_no_text_is_counted(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    transcript(tmp_path, 4).unlink()
    transcript(tmp_path, 4).mkdir()
    transcript(tmp_path, 5).write_bytes(b"\x81\x00\xff")
    notes = iemocap.read(tmp_path).notes
    assert notes.count("transcript not found") == 1
    assert "byte 0x81 is neither UTF-8 nor cp1252" in notes.as_dict()["transcript that cannot be read"]["first"]


def test_transcripts_of_other_encodings_line_ends_and_repeats(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    name = "Ses01F_impro01"
    text = (
        f"{name}_F000 [000.00-000.50] : Caf\u00e9?\r\n{name}_M000 [0.5000-1.0000]:\r\n{name}_F000 [0.0-0.5]: Again.\r\n"
    )
    transcript(tmp_path).write_bytes(text.encode("cp1252"))
    reading = iemocap.read(tmp_path)
    assert [item.example["text"] for item in reading.items[:2]] == ["Caf\u00e9?", None]
    repeat = {"count": 1, "first": f"{name}.txt: {name}_F000", "splits": {"train": 1}}
    assert reading.notes.as_dict()["utterance transcribed twice; the first text is kept"] == repeat
    assert reading.notes.count("utterance without a transcript; its text is None") == 0
    encoding = {"count": 1, "first": f"{name}.txt", "splits": {"train": 1}}
    assert reading.notes.as_dict()["read as cp1252"] == encoding


def test_an_evaluation_that_is_no_text_is_one_line(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    evaluation(tmp_path).write_bytes(b"[1.0\n\x81\x00\xff")
    with pytest.raises(ValueError, match=r"Ses01F_impro01.txt, line 2: byte 0x81 is neither UTF-8 nor cp1252"):
        iemocap.read(tmp_path)


def test_a_session_without_wavs_has_missing_clips_not_none(raw, tmp_path):
    raw.iemocap(tmp_path)
    shutil.rmtree(tmp_path / "Session3" / "sentences")
    items = {item.example["dialogue_id"]: item for item in iemocap.read(tmp_path).items}
    assert items["Ses03F_impro01"].audio is not None


def test_without_media_it_is_text_only(raw, tmp_path):
    reading = iemocap.read(raw.iemocap(tmp_path, clips=False))
    assert reading.layout == "session-tree: sessions without media, text only"
    assert all(item.audio is item.visual is None for item in reading.items)


@pytest.mark.parametrize("above", ["IEMOCAP_full_release", "data/IEMOCAP_full_release"])
def test_a_folder_above_the_sessions_and_a_missing_session(raw, tmp_path, above):
    raw.iemocap(tmp_path / above, clips=False)
    shutil.rmtree(tmp_path / above / "Session5")
    reading = iemocap.read(tmp_path)
    assert {item.example["split"] for item in reading.items} == {"train", "validation"}
    assert reading.notes.as_dict()["session not found"] == {"count": 1, "first": "Session5", "splits": {"any": 1}}


def test_validation_is_a_tenth_and_does_not_hang_on_the_order():
    names = [
        f"Ses0{session}{gender}_impro{number:02d}" for session in range(1, 5) for gender in "FM" for number in range(15)
    ]
    chosen = iemocap.choose_validation(names)
    assert len(chosen) == 12
    assert iemocap.choose_validation(names[::-1]) == chosen
    assert iemocap.choose_validation(["Ses01F_impro01"]) == set()  # a single dialogue stays for training
    assert sorted(chosen)[:3] == ["Ses01M_impro11", "Ses02M_impro08", "Ses02M_impro09"]  # the same everywhere


def test_system_files_and_folders_are_passed_over(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    folder = evaluation(tmp_path).parent
    (folder / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07")
    (folder / "Categorical.txt").mkdir()
    reading = iemocap.read(tmp_path)
    assert (rows(reading), reading.notes.count("transcript not found")) == (GOLDEN, 0)


def test_an_exact_repeat_is_skipped_and_another_line_of_an_utterance_refused(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    add_line(evaluation(tmp_path), "[0.5000 - 1.0000]\tSes01F_impro01_M000\thap\t[4.0000, 3.0000, 3.0000]")
    reading = iemocap.read(tmp_path)
    assert rows(reading) == GOLDEN
    assert reading.skipped.count("duplicate of an earlier row", "train") == 1
    add_line(evaluation(tmp_path), "[2.0000 - 3.0000]\tSes01F_impro01_M000\tneu\t[2.5, 2.5, 2.5]")
    with pytest.raises(ValueError, match=r"Ses01F_impro01.txt: .*M000 comes a second time with other content"):
        iemocap.read(tmp_path)


def test_features_of_the_authors_are_found_by_the_utterance(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    audio = [{"Ses03F_impro01_F000": (1, 3), "Ses01F_impro01_M000.wav": (2, 4)}, {}, {b"Ses05F_impro01_M000": (3, 5)}]
    video = [{}, {("test", "Ses05F_impro01_M000"): (4, 6)}, {"Ses05F_impro01_F001": (5, 7), "what": (5, 7)}]
    write_authors_features(tmp_path / "iemocap.pkl", audio, video)
    reading = iemocap.read(tmp_path)
    (stored,) = reading.stored
    assert (stored.name, stored.sizes, stored.source) == (
        "unimse-authors",
        {"audio": 64, "visual": 64},
        "iemocap.pkl",
    )
    # their validation set is another one than ours
    assert stored.get("iemocap/validation/Ses03F_impro01_F000")["audio"].shape == (3, 64)
    assert stored.get("iemocap/train/Ses01F_impro01_M000")["audio"].shape == (4, 64)
    both = stored.get("iemocap/test/Ses05F_impro01_M000")
    np.testing.assert_array_equal(both["audio"], np.full((5, 64), 3, np.float32))
    np.testing.assert_array_equal(both["visual"], np.full((6, 64), 4, np.float32))
    assert reading.notes.count("features of the authors without a row, not used", "test") == 2
    assert reading.notes.count("rows without features of the authors") == 7


def test_another_folder_is_refused_with_what_was_looked_for(raw, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"iemocap: .* none of the known .*expected Session1.*IEMOCAP_features"):
        iemocap.read(raw.mosi(tmp_path, clips=False))
    with pytest.raises(FileNotFoundError, match=r"iemocap: no dialog/EmoEvaluation/\*.txt under .*; expected Session1"):
        iemocap.read(tmp_path, format="session-tree")
