"""The authors' pickles: words and texts, ids and labels in every shape they come in."""

import numpy as np
import pytest

from dataset_scripts import mosei, mosi
from dataset_scripts.folds import standard_folds
from tests.dataset_scripts.raw_sentiment import GOLDEN_ROWS, dump, padded, ramp, rows_of, unimse_content

COLUMNS = ("id", "split", "dialogue_id", "utterance_index", "text")


@pytest.mark.parametrize("loader", [mosi, mosei])
def test_rows(loader, tmp_path):
    path = dump(tmp_path / "train_data.pkl", unimse_content())
    for source in (tmp_path, path):
        reading = loader.read(source)
        assert rows_of(reading, *COLUMNS) == [row[:5] for row in GOLDEN_ROWS]
        assert [item.example["sentiment"] for item in reading.items] == [float(np.float32(r[5])) for r in GOLDEN_ROWS]
        assert reading.layout == "unimse-pickle: train_data.pkl"


def test_features_are_cut_to_their_lengths(tmp_path):
    (stored,) = mosi.read(dump(tmp_path / "m.pkl", unimse_content())).stored
    assert (stored.name, stored.sizes) == ("unimse-authors", {"audio": 5, "visual": 20})
    np.testing.assert_array_equal(stored.get("mosi/test/x_y_2")["audio"], ramp(6, 5))
    np.testing.assert_array_equal(stored.get("mosi/test/x_y_2")["visual"], ramp(5, 20))
    assert stored.get("mosi/test/unknown_1") == {}


def test_text_may_be_features_and_words_may_have_pauses(tmp_path):
    content = unimse_content()
    inputs = (["sp", "a", "sp", "word"], ramp(2, 20), ramp(2, 5), ramp(3, 768), 2, np.int64(2))
    content["valid"] = [(inputs, [[0.5, 1, 0, 0, 0, 0, 0]], ["0123_1"])]
    reading = mosei.read(dump(tmp_path / "m.pkl", content))
    assert rows_of(reading, "text", "sentiment")[2] == ("a word", 0.5)
    assert reading.stored[0].sizes == {"text": 768, "audio": 5, "visual": 20}
    np.testing.assert_array_equal(reading.stored[0].get("mosei/validation/0123_1")["text"], ramp(3, 768))


@pytest.mark.parametrize("name", ["v_3", b"v_3", "v$_$3", ["v_3"], ("v_3",), np.array(["v_3"]), np.array([[b"v_3"]])])
def test_ids_in_every_wrapping(name, tmp_path):
    content = unimse_content()
    content["valid"] = [(content["valid"][0][0], 1.0, name)]
    assert rows_of(mosi.read(dump(tmp_path / "m.pkl", content)), "id")[2] == ("validation/v_3",)


def test_a_row_of_the_labels_is_the_clip_after_it_in_mosi(tmp_path):
    content = unimse_content()
    content["valid"] = [(content["valid"][0][0], 1.0, "v[3]")]
    path = dump(tmp_path / "m.pkl", content)
    assert rows_of(mosi.read(path), "id")[2] == ("validation/v_4",)
    assert rows_of(mosei.read(path), "id")[2] == ("validation/v_3",)


INPUTS = ([], ramp(2, 20), ramp(2, 5), "x", 2, 2)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (5, r"expected \(\(words, visual, audio, text, visual length, audio length\), label, id\), got 5"),
        ((INPUTS[:4], 1.0, "a_1"), r"expected \(\(words, visual"),
        ((INPUTS, "good", "a_1"), "label: expected a number, got 'good'"),
        ((INPUTS, [], "a_1"), "label: expected a number, got list"),
        ((INPUTS, 1.0, 7), "id: expected text such as 'video_3', got 7"),
        ((INPUTS, 1.0, "a"), "id: expected a video and a clip"),
        ((([], [1, 2], *INPUTS[2:]), 1.0, "a_1"), r"visual: expected numbers of shape \(steps, width\), got list"),
        (((*INPUTS[:4], "two", 2), 1.0, "a_1"), "visual: expected a number of steps, got 'two'"),
        (((*INPUTS[:4], 2, -1), 1.0, "a_1"), "audio: expected a number of steps, got -1"),
    ],
)
def test_broken_items_are_named(item, message, tmp_path):
    content = unimse_content()
    content["test"].append(item)
    with pytest.raises(ValueError, match=rf"m.pkl: test, item 2: {message}"):
        mosi.read(dump(tmp_path / "m.pkl", content))


def test_other_widths_and_other_pickles(tmp_path):
    content = unimse_content()
    content["valid"] = [(([], ramp(2, 35), *INPUTS[2:]), 1.0, "a_1")]
    with pytest.raises(ValueError, match="m.pkl: visual: expected one width, got 20, 35"):
        mosi.read(dump(tmp_path / "m.pkl", content))
    dump(tmp_path / "n.pkl", unimse_content())
    with pytest.raises(FileNotFoundError, match=r"mosi: expected one pickle .*, found m.pkl, n.pkl; name the file"):
        mosi.read(tmp_path)


def test_the_other_benchmark_s_pickle_is_dropped_or_refused(tmp_path):
    content = unimse_content()
    content["valid"] = [(content["valid"][0][0], 1.0, f"{next(iter(standard_folds('mosei')))}_1")]
    dump(tmp_path / "a.pkl", content)
    with pytest.raises(ValueError, match="a.pkl: these are MOSEI's videos"):
        mosi.read(tmp_path)
    dump(tmp_path / "b.pkl", unimse_content())
    assert mosi.read(tmp_path).layout == "unimse-pickle: b.pkl"


def test_sound_and_pictures_of_one_length_are_cut_at_the_same_steps(tmp_path):
    content = unimse_content()
    visual, audio = padded(ramp(3, 20), 5, front=True), padded(ramp(3, 5), 5, front=True)
    audio[3:] = 0  # alone it looks as if filled up at the end
    content["valid"] = [((["a"], visual, audio, "x", 3, 3), 1.0, "0123_1")]
    (stored,) = mosi.read(dump(tmp_path / "m.pkl", content)).stored
    found = stored.get("mosi/validation/0123_1")
    np.testing.assert_array_equal(found["visual"], ramp(3, 20))
    np.testing.assert_array_equal(found["audio"], padded(ramp(1, 5), 3))


def test_members_that_are_shared_are_refused(tmp_path):
    content = unimse_content()
    row = [0.5] * 5000
    content["valid"] = [((["a"], [row] * 5000, *INPUTS[2:]), 1.0, "a_1")]
    with pytest.raises(ValueError, match="m.pkl: valid, item 0: visual: more than 16777216 numbers in lists"):
        mosi.read(dump(tmp_path / "m.pkl", content))
    content["valid"] = [(INPUTS, [row] * 5000, "a_1")]
    with pytest.raises(ValueError, match="m.pkl: valid, item 0: label: expected a number, got list"):
        mosi.read(dump(tmp_path / "m.pkl", content))
    content["valid"] = [((["word" * 1000] * 5000, *INPUTS[1:3], None, 2, 2), 1.0, "a_1")]
    assert rows_of(mosi.read(dump(tmp_path / "m.pkl", content)), "text")[2] == (None,)
