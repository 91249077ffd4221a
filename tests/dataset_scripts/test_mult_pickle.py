"""The pickles of CMU and MulT: ids as bytes, text and columns; padding at both ends."""

import numpy as np
import pytest

from dataset_scripts import mosei, mosi
from dataset_scripts.folds import standard_folds
from tests.dataset_scripts.raw_sentiment import GOLDEN_ROWS, dump, mult_content, ramp, rows_of

WITHOUT_TEXT = [(*row[:4], None, *row[5:]) for row in GOLDEN_ROWS]


@pytest.mark.parametrize("loader", [mosi, mosei])
@pytest.mark.parametrize("bytes_ids", [True, False])
def test_rows(loader, bytes_ids, tmp_path):
    dump(tmp_path / "mosi_data_noalign.pkl", mult_content(bytes_ids=bytes_ids), protocol=2)
    reading = loader.read(tmp_path)
    assert [row[:5] + row[6:] for row in rows_of(reading)] == [row[:5] + row[6:] for row in WITHOUT_TEXT]
    scores = [item.example["sentiment"] for item in reading.items]
    assert scores == [float(np.float32(row[5])) for row in WITHOUT_TEXT]
    assert reading.layout == "mult-pickle: mosi_data_noalign.pkl, features only, no words"


def test_columns_give_the_times_and_name_the_row_by_its_start(tmp_path):
    reading = mosei.read(dump(tmp_path / "mosei_senti_data_noalign.pkl", mult_content(columns=True)))
    assert rows_of(reading, "id", "start", "end") == [
        ("train/-abc_2.000", 2.0, 2.5),
        ("train/-abc_10.000", 10.0, 10.5),
        ("validation/0123_1.000", 1.0, 1.5),
        ("test/x_y_1.000", 1.0, 1.5),
        ("test/x_y_2.000", 2.0, 2.5),
    ]
    assert reading.notes.count("number of the clip not known; its start takes the place") == 5


def test_padding_is_cut_at_both_ends_only(tmp_path):
    content = mult_content()
    content["train"]["audio"][0, :] = 0
    content["train"]["audio"][0, 3:8] = ramp(5, 5)
    content["train"]["audio"][0, 5] = 0
    (stored,) = mosi.read(dump(tmp_path / "mosi_data_noalign.pkl", content)).stored
    assert (stored.name, stored.sizes) == ("mult-noalign", {"text": 300, "audio": 5, "visual": 20})
    expected = ramp(5, 5)
    expected[2] = 0
    np.testing.assert_array_equal(stored.get("mosi/train/-abc_2")["audio"], expected)
    np.testing.assert_array_equal(stored.get("mosi/train/-abc_10")["visual"], ramp(12, 20))
    np.testing.assert_array_equal(stored.get("mosi/test/x_y_2")["text"], ramp(2, 300))


def test_two_pickles_are_two_sets_of_the_same_rows(tmp_path):
    dump(tmp_path / "mosi_data_noalign.pkl", mult_content())
    dump(tmp_path / "mosi_data_aligned.pkl", mult_content())
    reading = mosi.read(tmp_path)
    assert [stored.name for stored in reading.stored] == ["mult-aligned", "mult-noalign"] and len(reading.items) == 5


def test_without_a_telling_name_the_steps_decide(tmp_path):
    content = mult_content()
    (stored,) = mosi.read(dump(tmp_path / "mosi_data.pkl", content)).stored
    assert stored.name == "mult-noalign"
    for split in content.values():
        for key in ("text", "audio", "vision"):
            split[key] = split[key][:, -12:]
    (stored,) = mosi.read(dump(tmp_path / "mosi_data.pkl", content)).stored
    assert stored.name == "mult-aligned"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("id", np.array([["a", "b"]]), "valid: row 0: id: expected text such as 'video_3'"),
        ("id", np.array([["a", "x", "2"]]), "valid: row 0: id: expected a video, its start and end, got 'a'"),
        ("id", [("a", 3.0, 2.0)], "valid: row 0: id: expected a video, its start and end"),
        ("id", np.array([[0, 1j, 2]], np.complex64), "valid: row 0: id: expected a video, its start and end"),
        ("labels", None, r"valid: labels: expected 1 numbers"),
        ("labels", np.zeros((2, 1, 1)), r"labels: expected 1 numbers, one a row, got float64 of shape \(2, 1, 1\)"),
        ("vision", {}, "valid: vision: expected a list or an array, got dict"),
    ],
)  # fmt: skip
def test_broken_pickles_name_file_and_key(key, value, message, tmp_path):
    content = mult_content()
    content["valid"][key] = value
    with pytest.raises(ValueError, match=rf"m.pkl: .*{message}"):
        mosi.read(dump(tmp_path / "m.pkl", content))


def test_missing_keys_and_files(tmp_path):
    content = mult_content()
    del content["test"]["labels"]
    with pytest.raises(ValueError, match="m.pkl: test: expected the key 'labels', found 'text', 'audio'"):
        mosi.read(dump(tmp_path / "m.pkl", content))
    with pytest.raises(
        FileNotFoundError, match="mosei: no pickle of CMU or MulT, such as mosei_senti_data_noalign.pkl"
    ):
        mosei.read(_empty(tmp_path), format="mult-pickle")


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_files_of_the_other_benchmark_are_dropped_or_refused(tmp_path):
    content = mult_content()
    video = next(video for video, split in standard_folds("mosei").items() if split == "train")
    content["train"]["id"] = np.array([f"{video}_1", f"{video}_2"], "S")
    dump(tmp_path / "a.pkl", content)
    with pytest.raises(ValueError, match="a.pkl: these are MOSEI's videos"):
        mosi.read(tmp_path)
    dump(tmp_path / "b.pkl", mult_content())
    reading = mosi.read(tmp_path)
    assert reading.layout == "mult-pickle: b.pkl, features only, no words" and len(reading.items) == 5
    assert reading.notes.count("file of MOSEI's videos, not used") == 1


def test_rows_of_the_labels_and_contradictions_of_a_second_file(tmp_path):
    content = mult_content(bytes_ids=False)
    content["valid"]["id"] = np.array(["0123[0]"])
    dump(tmp_path / "mosi_aligned.pkl", content)
    other = mult_content()
    other["test"]["labels"][0] = 3
    other["train"]["id"] = np.array(["-abc_2", "-abc_3"])
    dump(tmp_path / "mosi_noalign.pkl", other)
    reading = mosi.read(tmp_path)
    assert rows_of(reading, "id")[2] == ("validation/0123_1",)
    assert reading.notes.count("label in mosi_noalign.pkl is another than the row's, not taken") == 1
    assert reading.notes.as_dict()["features in mosi_noalign.pkl without a row"]["first"] == "train/-abc_3"


def test_aligned_modalities_are_cut_at_the_same_steps(tmp_path):
    content = mult_content()
    for split in content.values():
        for key in ("text", "audio", "vision"):
            split[key] = split[key][:, -12:]
    (stored,) = mosi.read(dump(tmp_path / "mosi_data.pkl", content)).stored
    assert {len(sequence) for sequence in stored.get("mosi/validation/0123_1").values()} == {3}
