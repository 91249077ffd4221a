"""IEMOCAP: the session tree, row for row."""

import pytest

from dataset_scripts import iemocap
from dataset_scripts.schema import validate_example

VALIDATION_SESSION = 3  # of the four dialogues it is the one whose name has the smallest hash


def golden():
    """id, split, dialogue, index, speaker, text, start, end, emotion, polarity"""
    rows = []
    for session in range(1, 6):
        split = "test" if session == 5 else "validation" if session == VALIDATION_SESSION else "train"
        name = f"Ses0{session}F_impro01"
        first = (f"iemocap/{split}/{name}_F000", split, name, 0, f"Ses0{session}F", "Excuse me.", 0.0, 0.5)
        second = (
            f"iemocap/{split}/{name}_M000",
            split,
            name,
            1,
            f"Ses0{session}M",
            "Do you have your forms?",
            0.5,
            1.0,
        )
        rows += [(*first, "neutral", "neutral"), (*second, "joy", "positive")]
    return sorted(rows, key=lambda row: ("train", "validation", "test").index(row[1]))


def test_rows(raw, tmp_path):
    reading = iemocap.read(raw.iemocap(tmp_path))
    columns = (
        "id",
        "split",
        "dialogue_id",
        "utterance_index",
        "speaker",
        "text",
        "start",
        "end",
        "emotion",
        "polarity",
    )
    assert [tuple(item.example[name] for name in columns) for item in reading.items] == golden()
    for item in reading.items:
        validate_example(item.example)
    assert (reading.rows_read, reading.layout) == (15, "session tree with sentence wavs and DivX films")


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
    assert iemocap.half_of(utterance) == half


def test_what_is_skipped_and_odd_is_counted(raw, tmp_path):
    reading = iemocap.read(raw.iemocap(tmp_path))
    outside = {"count": 5, "first": "Ses01F_impro01_F001"}
    assert reading.skipped.as_dict() == {"code xxx, outside the six classes": outside}
    notes = reading.notes.as_dict()
    assert notes["transcript line that does not parse"] == {"count": 5, "first": "Ses01F_impro01.txt: M: Yeah."}
    assert notes["evaluation line that does not parse"]["count"] == 5
    assert set(notes) == {"transcript line that does not parse", "evaluation line that does not parse"}


def test_a_missing_transcript_leaves_the_text_out(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    (tmp_path / "Session5" / "dialog" / "transcriptions" / "Ses05F_impro01.txt").unlink()
    reading = iemocap.read(tmp_path)
    assert [item.example["text"] for item in reading.items if item.example["split"] == "test"] == [None, None]
    assert reading.notes.count("transcript not found") == 1
    assert reading.notes.count("utterance without a transcript; its text is None") == 2


def test_a_session_without_wavs_has_missing_clips_not_none(raw, tmp_path):
    import shutil

    raw.iemocap(tmp_path)
    shutil.rmtree(tmp_path / "Session3" / "sentences")
    items = {item.example["dialogue_id"]: item for item in iemocap.read(tmp_path).items}
    assert items["Ses03F_impro01"].audio is not None


def test_without_media_it_is_text_only(raw, tmp_path):
    reading = iemocap.read(raw.iemocap(tmp_path, clips=False))
    assert reading.layout == "session tree without media, text only"
    assert all(item.audio is item.visual is None for item in reading.items)


def test_a_folder_above_the_sessions_and_a_missing_session(raw, tmp_path):
    import shutil

    raw.iemocap(tmp_path / "IEMOCAP_full_release", clips=False)
    shutil.rmtree(tmp_path / "IEMOCAP_full_release" / "Session5")
    reading = iemocap.read(tmp_path)
    assert {item.example["split"] for item in reading.items} == {"train", "validation"}
    assert reading.notes.as_dict()["session not found"] == {"count": 1, "first": "Session5"}


def test_validation_is_a_tenth_and_does_not_hang_on_the_order():
    names = [
        f"Ses0{session}{gender}_impro{number:02d}" for session in range(1, 5) for gender in "FM" for number in range(15)
    ]
    chosen = iemocap.choose_validation(names)
    assert len(chosen) == 12
    assert iemocap.choose_validation(names[::-1]) == chosen
    assert iemocap.choose_validation(["Ses01F_impro01"]) == set()  # a single dialogue stays for training
    assert sorted(chosen)[:3] == ["Ses01M_impro11", "Ses02M_impro08", "Ses02M_impro09"]  # the same everywhere


def test_system_files_are_passed_over(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    (tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07")
    assert iemocap.read(tmp_path).rows_read == 15


def test_an_utterance_listed_twice_is_refused(raw, tmp_path):
    raw.iemocap(tmp_path, clips=False)
    path = tmp_path / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    path.write_text(path.read_text() + "[2.0000 - 3.0000]\tSes01F_impro01_M000\tneu\t[2.5, 2.5, 2.5]\n")
    with pytest.raises(ValueError, match=r"EmoEvaluation of Ses01F_impro01: .*M000 comes a second time"):
        iemocap.read(tmp_path)


def test_another_folder_is_refused_with_what_was_looked_for(raw, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"iemocap: no dialog/EmoEvaluation/\*.txt under .*; expected Session1"):
        iemocap.read(raw.mosi(tmp_path, clips=False))
