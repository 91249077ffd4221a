"""The folders of the original distribution: transcripts, clips and csd labels."""

import numpy as np
import pytest

from dataset_scripts import mosei, mosi
from tests.dataset_scripts.raw_sentiment import ramp, rows_of, write_csds


def make_mosi(folder, labels=True):
    """`x_y` has no transcript; one line does not parse, one has no label; one file is cp1252."""
    if labels:
        write_csds(folder / "labels", "mosi", words=False, folds=False)
        (folder / "labels" / "CMU_MOSI_COVAREP.csd").unlink()
    (folder / "folds.json").write_text('{"train": ["-abc"], "validation": ["0123"], "test": ["x_y"]}')
    transcripts = folder / "Raw" / "Transcript" / "Segmented"
    transcripts.mkdir(parents=True)
    lines = "2_DELIM_ WELL  THAT_DELIM_WAS IT\r\n1_DELIM_A FINE FILM\r\nnothing\r\n9_DELIM_UNLABELLED\r\n"
    (transcripts / "-abc.annotprocessed").write_bytes(lines.encode())
    (transcripts / "0123.annotprocessed").write_bytes("1_DELIM_CAF\xc9\n".encode("cp1252"))
    for place in ("Raw/Video/Segmented", "Raw/Audio/WAV_16000/Segmented"):
        (folder / place).mkdir(parents=True)
    return folder


def make_mosei(folder):
    """Clip 5 of `-abc` is later than its clip 12; one line has no label, two do not parse; `0123` has no file."""
    write_csds(folder, "mosei", words=False)
    transcripts = folder / "Raw" / "Transcript" / "Segmented" / "Combined"
    transcripts.mkdir(parents=True)
    (transcripts / "-abc.txt").write_text(
        "-abc___12___0.5___1.5___A fine film.\n-abc___5___1.96___3.04___Well ___ yes.\n-abc___6___7___8___Later.\n"
        "other___1___0___1___x\n-abc___x___0___1___y\n"
    )
    (transcripts / "x_y.txt").write_text("x_y___0___1.0___2.0___no\n")
    (folder / "Raw" / "Videos" / "Full" / "Combined").mkdir(parents=True)
    return folder


def test_mosi(tmp_path):
    reading = mosi.read(make_mosi(tmp_path))
    assert rows_of(reading, "id", "text", "start", "end", "sentiment") == [
        ("train/-abc_1", "A FINE FILM", 0.5, 1.5, 1.5),
        ("train/-abc_2", "WELL THAT_DELIM_WAS IT", 2.0, 3.0, 2.5),
        ("validation/0123_1", "CAFÉ", 0.0, 1.0, 0.0),
        ("test/x_y_1", None, 1.0, 2.0, -3.0),
    ]
    item = reading.items[1]
    assert item.visual.path == tmp_path / "Raw/Video/Segmented/-abc_2.mp4" and item.visual.start is None
    assert item.audio.path == tmp_path / "Raw/Audio/WAV_16000/Segmented/-abc_2.wav"
    assert reading.layout == (
        "original-raw: transcripts, labels/CMU_MOSI_Opinion_Labels.csd with segmented videos and wav files, "
        "splits by folds.json"
    )
    assert reading.rows_read == 6 and reading.skipped.count("in no split") == 2
    notes = reading.notes.as_dict()
    assert notes["line of a transcript that does not parse"]["first"] == "-abc.annotprocessed, line 3: 'nothing'"
    assert notes["line of a transcript without a label"]["first"] == "-abc_9"
    assert notes["video without a transcript"]["first"] == "x_y"


def test_mosei(tmp_path):
    reading = mosei.read(make_mosei(tmp_path))
    assert reading.layout.startswith("original-raw: transcripts, CMU_MOSEI_Labels.csd with full videos")
    assert rows_of(reading, "id", "text", "start", "end", "sentiment") == [
        ("train/-abc_12", "A fine film.", 0.5, 1.5, 1.5),
        ("train/-abc_5", "Well ___ yes.", 2.0, 3.0, 2.5),
        ("validation/0123_row0", None, 0.0, 1.0, 0.0),
        ("test/x_y_0", "no", 1.0, 2.0, -3.0),
    ]
    span = reading.items[1].visual
    assert (span.path, span.start, span.end) == (tmp_path / "Raw/Videos/Full/Combined/-abc.mp4", 2.0, 3.0)
    assert reading.notes.count("line of a transcript that does not parse") == 2
    assert reading.notes.count("line of a transcript without a label") == 1
    assert reading.notes.count("segment in no transcript; its text is None") == 1


def test_without_labels_it_says_what_to_put_there(tmp_path):
    make_mosi(tmp_path, labels=False)
    message = "mosi: .* has transcripts but no labels; put the CMU SDK's CMU_MOSI_Opinion_Labels.csd there"
    with pytest.raises(FileNotFoundError, match=message):
        mosi.read(tmp_path)


def test_without_transcripts(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"mosei: no transcripts Raw/Transcript/Segmented/Combined/<video>.txt in"
    ):
        mosei.read(tmp_path, format="original-raw")


def test_another_interval_is_another_segment(tmp_path):
    make_mosei(tmp_path)
    path = tmp_path / "Raw" / "Transcript" / "Segmented" / "Combined" / "x_y.txt"
    for start, name in (("1.09", "x_y_0"), ("1.2", "x_y_row0")):
        path.write_text(f"x_y___0___{start}___2.0___no\n")
        assert rows_of(mosei.read(tmp_path), "id")[-1] == (f"test/{name}",)


def test_features_that_lie_beside_are_stored_sets(tmp_path):
    for make, loader, name in ((make_mosi, mosi, "mosi/train/-abc_2"), (make_mosei, mosei, "mosei/train/-abc_5")):
        folder = tmp_path / loader.BENCHMARK.name
        make(folder)
        write_csds(folder, loader.BENCHMARK.name, words=False)
        reading = loader.read(folder)
        assert reading.layout.startswith("original-raw")
        (stored,) = (one for one in reading.stored if one.source == f"CMU_{loader.BENCHMARK.name.upper()}_COVAREP.csd")
        assert stored.sizes == {"audio": 74}
        np.testing.assert_array_equal(stored.get(name)["audio"], ramp(40, 74)[20:30])
