"""MMSA's forms of MOSI and MOSEI: pickles alone and beside label.csv, their features, and broken ones."""

import numpy as np
import pytest

from dataset_scripts import mosei, mosi
from dataset_scripts.folds import standard_folds
from dataset_scripts.schema import validate_example
from tests.dataset_scripts.raw_sentiment import (
    GOLDEN_ROWS,
    dump,
    mmsa_content,
    padded,
    ramp,
    rows_of,
    write_label_csv,
)

LOADERS = [mosi, mosei]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_rows_of_a_pickle(loader, protocol, tmp_path):
    path = dump(tmp_path / "aligned_50.pkl", mmsa_content(), protocol)
    for source in (tmp_path, path):
        reading = loader.read(source)
        assert rows_of(reading) == GOLDEN_ROWS
        assert reading.layout == "mmsa-pickle: aligned_50.pkl without Raw/, text only"
        assert (reading.rows_read, reading.skipped.as_dict()) == (5, {})
        assert reading.notes.count("annotation disagrees with the score; the score is taken") == 1
        for item in reading.items:
            validate_example(item.example)
            assert item.audio is item.visual is None


@pytest.mark.parametrize("loader", LOADERS)
def test_features_of_both_pickles(loader, tmp_path):
    dump(tmp_path / "Processed" / "unaligned_50.pkl", mmsa_content(unaligned=True))
    dump(tmp_path / "Processed" / "aligned_50.pkl", mmsa_content())
    name = loader.BENCHMARK.name
    aligned, unaligned = loader.read(tmp_path).stored
    assert (aligned.name, aligned.source) == ("mmsa-aligned", "Processed/aligned_50.pkl")
    assert (unaligned.name, unaligned.source) == ("mmsa-unaligned", "Processed/unaligned_50.pkl")
    assert aligned.sizes == unaligned.sizes == {"text": 768, "audio": 5, "visual": 20}
    for modality, steps in {"text": 3, "audio": 3, "visual": 3}.items():
        found = aligned.get(f"{name}/validation/0123_1")[modality]
        np.testing.assert_array_equal(found, ramp(steps, aligned.sizes[modality]))
    for modality, steps in {"text": 5, "audio": 9, "visual": 10}.items():
        found = unaligned.get(f"{name}/test/x_y_2")[modality]
        np.testing.assert_array_equal(found, ramp(steps, unaligned.sizes[modality]))
    assert aligned.get(f"{name}/test/unknown_1") == {}


def test_pickles_beside_label_csv_are_matched_by_id(tmp_path):
    write_label_csv(tmp_path)
    content = mmsa_content()
    content["train"]["id"][0] = "other$_$7"
    dump(tmp_path / "Processed" / "aligned_50.pkl", content)
    reading = mosi.read(tmp_path)
    assert rows_of(reading) == GOLDEN_ROWS
    assert reading.layout.startswith("mmsa-csv: label.csv")
    (stored,) = reading.stored
    assert stored.get("mosi/train/-abc_2") == {}
    np.testing.assert_array_equal(stored.get("mosi/train/-abc_10")["audio"], ramp(2, 5))
    notes = reading.notes.as_dict()
    assert notes["row without features in Processed/aligned_50.pkl"]["first"] == "mosi/train/-abc_2"
    assert notes["features in Processed/aligned_50.pkl without a row"]["first"] == "train/other_7"


def test_clips_beside_pickles(tmp_path):
    dump(tmp_path / "aligned_50.pkl", mmsa_content())
    (tmp_path / "Raw").mkdir()
    item = mosei.read(tmp_path).items[1]
    assert item.audio == item.visual and item.audio.path == tmp_path / "Raw" / "-abc" / "10.mp4"


def test_infinity_passes_and_padding_in_front_is_found(tmp_path):
    content = mmsa_content(unaligned=True)
    content["train"]["audio"][0, 0, 0] = -np.inf
    content["train"]["vision"][1] = padded(ramp(4, 20), 12, front=True)
    dump(tmp_path / "u.pkl", content)
    (stored,) = mosi.read(tmp_path).stored
    assert stored.get("mosi/train/-abc_2")["audio"][0, 0] == -np.inf
    np.testing.assert_array_equal(stored.get("mosi/train/-abc_10")["visual"], ramp(4, 20))


def test_silent_steps_within_the_length_are_kept(tmp_path):
    content = mmsa_content()
    content["train"]["audio"][1, 1] = 0
    (stored,) = mosi.read(dump(tmp_path / "a.pkl", content)).stored
    np.testing.assert_array_equal(stored.get("mosi/train/-abc_10")["audio"], padded(ramp(1, 5), 2))


def test_without_text_bert_zero_steps_are_padding(tmp_path):
    content = mmsa_content()
    for split in content.values():
        del split["text_bert"]
    (stored,) = mosi.read(dump(tmp_path / "a.pkl", content)).stored
    np.testing.assert_array_equal(stored.get("mosi/test/x_y_1")["audio"], ramp(4, 5))


def test_labels_that_are_missing_or_outside_are_skipped(tmp_path):
    content = mmsa_content()
    content["train"]["regression_labels"] = np.array([np.nan, 3.2])
    reading = mosi.read(dump(tmp_path / "a.pkl", content))
    assert rows_of(reading, "id") == [(row[0],) for row in GOLDEN_ROWS[2:]]
    assert reading.rows_read == 5
    assert reading.skipped.count("no label", "train") == reading.skipped.count("label outside the set", "train") == 1


def test_repeated_rows_are_counted_and_contradictions_refused(tmp_path):
    content = mmsa_content()
    content["train"]["id"][1] = content["train"]["id"][0]
    with pytest.raises(
        ValueError, match=r"a.pkl: train, row 1: mosi/train/-abc_2 comes a second time with other content"
    ):
        mosi.read(dump(tmp_path / "a.pkl", content))
    for key in ("raw_text", "regression_labels"):
        content["train"][key][1] = content["train"][key][0]
    reading = mosi.read(dump(tmp_path / "a.pkl", content))
    assert reading.skipped.count("duplicate of an earlier row") == 1 and len(reading.items) == 4


def _set(key, value, split="valid"):
    def change(content):
        content[split][key] = value

    return change


def _drop(key):
    return lambda content: content["valid"].pop(key)


ONE = np.ones((1, 6, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("valid"), "expected the keys train, valid and test, found 'train', 'test'"),
        (lambda content: content.update(valid=[1]), "valid: expected a dict of arrays, got list"),
        (_drop("id"), "valid: expected the key 'id', found 'raw_text'"),
        (_drop("regression_labels"), "valid: expected the key 'regression_labels', found"),
        (_set("id", 5), "valid: id: expected a list or an array, got 5"),
        (_set("id", [5]), r"valid: row 0: id: expected text such as 'video_3', got 5"),
        (_set("id", ["noclip"]), r"valid: row 0: id: expected a video and a clip, .* got 'noclip'"),
        (_set("regression_labels", ["good"]), r"valid: regression_labels: expected 1 numbers"),
        (_set("regression_labels", [[1, 2], [1]]), r"valid: regression_labels: expected 1 numbers"),
        (_set("regression_labels", np.ones(3)), r"regression_labels: expected 1 numbers, one a row, got .* \(3,\)"),
        (_set("raw_text", ["a", "b"]), "valid: raw_text: expected 1 values, one a row, got 2"),
        (_set("raw_text", [7]), "valid: raw_text, row 0: expected text, got 7"),
        (_set("audio", np.ones((1, 5))), r"valid: audio: expected numbers of shape \(rows, steps, width\), got"),
        (_set("audio", np.ones((2, 6, 5))), "valid: audio: expected 1 rows as there are ids, got 2"),
        (_set("audio", np.array([[["a"]]])), "valid: audio: expected numbers of shape"),
        (_set("audio", [[1, 2]]), r"valid: audio, row 0: expected numbers of shape \(steps, width\), got list"),
        (_set("audio", [ONE[0], ONE[0, :, :3]]), "valid: audio: expected one width, got 3, 5"),
        (_set("audio", np.ones((1, 6, 7))), "audio: expected one width, got 5 in train and 7 in validation"),
        (_set("audio", None), "valid: audio: expected a list or an array, got None"),
        (_set("text_bert", np.ones((1, 2, 6))), r"valid: text_bert: expected numbers of shape \(1, 3, tokens\)"),
        (_set("audio_lengths", [1, 2]), "valid: audio_lengths: expected 1 lengths, one a row, got 2"),
        (_set("audio_lengths", ["long"]), "audio_lengths: expected a number of steps for row 0, got 'long'"),
        (_set("audio_lengths", [-1]), "audio_lengths: expected a number of steps for row 0, got -1"),
    ],
)
def test_broken_pickles_name_file_and_key(change, message, tmp_path):
    content = mmsa_content()
    change(content)
    with pytest.raises(ValueError, match=rf"broken.pkl: .*{message}") as caught:
        mosi.read(dump(tmp_path / "broken.pkl", content), format="mmsa-pickle")
    assert "\n" not in str(caught.value)


def test_a_cut_pickle_is_recognised_and_says_so(tmp_path):
    path = dump(tmp_path / "aligned_50.pkl", mmsa_content())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="aligned_50.pkl: ends after .* it is cut off, download it again"):
        mosi.read(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="mosi: no MMSA pickles such as aligned_50.pkl"):
        mosi.read(tmp_path, format="mmsa-pickle")
    with pytest.raises(FileNotFoundError, match=r"mosi: label.csv not found in .*; expected label.csv \(video_id"):
        mosi.read(tmp_path, format="mmsa-csv")


def _with_videos_of(benchmark):
    """`mmsa_content` with real video ids: of the first videos of each split."""
    content, folds = mmsa_content(), standard_folds(benchmark)
    for mode, split in (("train", "train"), ("valid", "validation"), ("test", "test")):
        video = next(video for video, fold in folds.items() if fold == split)
        content[mode]["id"] = [f"{video}$_${number}" for number in range(len(content[mode]["id"]))]
    return content


@pytest.mark.parametrize(("loader", "other"), [(mosi, "mosei"), (mosei, "mosi")])
def test_pickles_of_the_other_benchmark_are_refused(loader, other, tmp_path):
    path = dump(tmp_path / "aligned_50.pkl", _with_videos_of(other))
    with pytest.raises(
        ValueError, match=rf"aligned_50.pkl: these are {other.upper()}'s videos, expected .*prepare {other}"
    ):
        loader.read(path)
    assert len(loader.read(dump(path, _with_videos_of(loader.BENCHMARK.name))).items) == 5


@pytest.mark.parametrize(("loader", "other"), [(mosi, "mosei"), (mosei, "mosi")])
def test_of_the_files_of_both_benchmarks_its_own_is_read(loader, other, tmp_path):
    own = loader.BENCHMARK.name
    dump(tmp_path / other.upper() / "aligned_50.pkl", _with_videos_of(other))
    dump(tmp_path / own.upper() / "aligned_50.pkl", _with_videos_of(own))
    reading = loader.read(tmp_path)
    assert {standard_folds(own)[item.example["dialogue_id"]] for item in reading.items} == {
        "train",
        "validation",
        "test",
    }
    assert [stored.source for stored in reading.stored] == [f"{own.upper()}/aligned_50.pkl"]
    assert (
        reading.notes.as_dict()[f"file of {other.upper()}'s videos, not used"]["first"]
        == f"{other.upper()}/aligned_50.pkl"
    )


def test_a_label_csv_of_the_other_benchmark_is_refused(raw, tmp_path):
    video = next(iter(standard_folds("mosei")))
    raw.csv(tmp_path / "label.csv", raw.mmsa_header, [(video, "1", "x", "1", "", "train", "")])
    with pytest.raises(ValueError, match="label.csv: these are MOSEI's videos"):
        mosi.read(tmp_path)


def test_what_a_second_pickle_has_other_is_counted(tmp_path):
    dump(tmp_path / "aligned_50.pkl", mmsa_content())
    content = mmsa_content(unaligned=True)
    content["train"]["id"][0] = "other$_$7"
    content["train"]["regression_labels"][1] = 2.0
    content["test"]["raw_text"] = np.array(["yes", ""])
    content["test"]["id"][1] = content["test"]["id"][0]
    dump(tmp_path / "unaligned_50.pkl", content)
    reading = mosi.read(tmp_path)
    assert rows_of(reading) == GOLDEN_ROWS
    notes = {reason: entry["first"] for reason, entry in reading.notes.as_dict().items()}
    assert notes["features in unaligned_50.pkl without a row"] == "train/other_7"
    assert notes["label in unaligned_50.pkl is another than the row's, not taken"] == "mosi/train/-abc_10"
    assert notes["text in unaligned_50.pkl is another than the row's, not taken"] == "mosi/test/x_y_1"
    assert notes["second features in unaligned_50.pkl for a row, not used"] == "mosi/test/x_y_1"
    assert reading.notes.count("row without features in unaligned_50.pkl") == 2


def test_pickles_beside_label_csv_in_another_split_or_that_cannot_be_used_are_noted(tmp_path):
    write_label_csv(tmp_path)
    content = mmsa_content()
    content["test"], content["valid"] = content["valid"], content["test"]
    dump(tmp_path / "aligned_50.pkl", content)
    (tmp_path / "pointer.pkl").write_text("version https://git-lfs.github.com/spec/v1")
    (tmp_path / "table.pkl").write_bytes(b"cpandas.core.frame\nDataFrame\n.")
    dump(tmp_path / "plain.pkl", [1])
    reading = mosi.read(tmp_path)
    assert reading.notes.count("split in aligned_50.pkl is another than the row's, not taken") == 3
    note = reading.notes.as_dict()["pickle not used"]
    assert note["count"] == 3 and note["first"] == "plain.pkl: of no known form"
    (tmp_path / "plain.pkl").unlink()
    assert (
        "pointer.pkl: expected a pickle, but this is a Git LFS"
        in mosi.read(tmp_path).notes.as_dict()["pickle not used"]["first"]
    )
    (tmp_path / "pointer.pkl").unlink()
    assert (
        "table.pkl: refused, it names pandas.core.frame.DataFrame;"
        in (mosi.read(tmp_path).notes.as_dict()["pickle not used"]["first"])
    )


def test_rows_of_the_labels_are_clips_from_one_on_in_mosi(tmp_path):
    content = mmsa_content()
    content["valid"]["id"] = ["0123[0]"]
    path = dump(tmp_path / "a.pkl", content)
    assert rows_of(mosi.read(path), "id")[2] == ("validation/0123_1",)
    assert rows_of(mosei.read(path), "id")[2] == ("validation/0123_0",)


def test_aligned_modalities_are_cut_at_the_same_steps(tmp_path):
    content = mmsa_content()
    for split in content.values():
        del split["text_bert"]
    content["test"]["audio"][1, :2] = 0  # silence at the start, no face at the end
    content["test"]["vision"][1, 4] = 0
    (stored,) = mosi.read(dump(tmp_path / "a.pkl", content)).stored
    found = stored.get("mosi/test/x_y_2")
    assert {modality: len(sequence) for modality, sequence in found.items()} == {"text": 5, "audio": 5, "visual": 5}
    np.testing.assert_array_equal(found["audio"][2:], ramp(5, 5)[2:])


def test_aligned_modalities_have_their_padding_on_one_side(tmp_path):
    content = mmsa_content()
    for key, width in (("text", 768), ("audio", 5), ("vision", 20)):
        content["test"][key][1] = padded(ramp(5, width), 6, front=True)
    content["test"]["audio"][1, 5] = 0  # alone it looks as if filled up at the end
    (stored,) = mosi.read(dump(tmp_path / "a.pkl", content)).stored
    found = stored.get("mosi/test/x_y_2")
    np.testing.assert_array_equal(found["text"], ramp(5, 768))
    np.testing.assert_array_equal(found["audio"][:4], ramp(5, 5)[:4])


def test_lists_that_share_their_members_are_refused(tmp_path):
    row = [0.5] * 5000
    for key, value in (("audio", [[row] * 5000]), ("regression_labels", [[row] * 5000]), ("text_bert", [[row] * 5000])):
        content = mmsa_content()
        content["valid"][key] = value
        with pytest.raises(ValueError, match=rf"a.pkl: valid: {key}.*: more than 16777216 numbers in lists"):
            mosi.read(dump(tmp_path / "a.pkl", content))
