"""The normalised table: what a valid row is, and what the message says where it is not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_scripts.schema import (
    COLUMNS,
    feature_or_none,
    features,
    new_example,
    number_utterances,
    order_examples,
    validate_example,
)


def valid_row(**changes):
    row = new_example(
        id="meld/train/dia0_utt3",
        dataset="meld",
        split="train",
        dialogue_id="dia0",
        utterance_index=3,
        speaker="Joey",
        text="Hi.",
        start=1.0,
        end=2.5,
        audio_features=np.zeros((5, 64), np.float32),
        visual_features=np.zeros((2, 7), np.float32),
        emotion="joy",
        polarity="positive",
    )
    return {**row, **changes}


def test_a_valid_row_passes():
    validate_example(valid_row(), {"audio": 64, "visual": 7})
    validate_example(valid_row(text=None, speaker=None, start=None, audio_features=None, visual_features=None))
    validate_example(
        valid_row(label_intensity=1.5, label_emotion="joy", label_donor="mosi/train/x_1", label_similarity=1)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "dia0_utt3"}, r"meld dia0_utt3: id: expected 'meld/train/<name>'"),
        ({"id": "meld/test/dia0_utt3"}, r"id: expected 'meld/train/<name>', got 'meld/test/dia0_utt3'"),
        ({"id": None}, r"id: expected a non-empty string, got None"),
        ({"dataset": "my data", "id": "my data/train/1"}, r"dataset: expected a name of at most 64 letters"),
        ({"dataset": "overall", "id": "overall/train/1"}, r"dataset: expected another name than overall, leaderboard"),
        ({"split": "valid"}, r"meld meld/train/dia0_utt3: split: expected one of train, validation, test, got 'valid'"),
        ({"dialogue_id": ""}, r"dialogue_id: expected a non-empty string, got ''"),
        ({"utterance_index": -1}, r"utterance_index: expected an integer >= 0, got -1"),
        ({"utterance_index": True}, r"utterance_index: expected an integer >= 0, got True"),
        ({"text": " "}, r"text: expected text, or None where there is none, got ' '"),
        ({"speaker": 7}, r"speaker: expected text"),
        ({"text": "so\ud800"}, r"text: expected text, got bytes that are no character in 'so\\ud800'"),
        ({"dialogue_id": "\udcff"}, r"dialogue_id: expected text, got bytes that are no character in '\\udcff'"),
        ({"start": -0.1}, r"start: expected a number in \[0, inf\], got -0.1"),
        ({"start": math.nan}, r"start: expected a finite number or None, got nan"),
        ({"end": 0.5}, r"end: expected at least start = 1.0, got 0.5"),
        ({"audio_features": np.zeros((5, 63), np.float32)}, r"audio_features: expected width 64, got shape \(5, 63\)"),
        ({"audio_features": np.zeros((0, 64), np.float32)}, r"audio_features: expected at least one time step"),
        (
            {"audio_features": np.zeros((5, 64))},
            r"audio_features: expected a \(T, d\) float32 array or None, got float64",
        ),
        ({"audio_features": [[0.0] * 64]}, r"audio_features: expected .* got list"),
        ({"visual_features": np.zeros((2, 8), np.float32)}, r"visual_features: expected width 7, got shape \(2, 8\)"),
        ({"visual_features": np.full((2, 7), np.nan, np.float32)}, r"expected finite values.*first at time step 0"),
        ({"sentiment": 3.1, "polarity": "positive"}, r"sentiment: expected a number in \[-3.0, 3.0\], got 3.1"),
        ({"sentiment": -1.0}, r"polarity: expected 'negative' for sentiment -1.0, got 'positive'"),
        ({"polarity": None}, r"polarity: expected one of negative, neutral, positive, got None"),
        ({"emotion": "excited"}, r"emotion: expected one of neutral, joy, .*, got 'excited'"),
        ({"emotion": "Joy"}, r"emotion: expected a lower-case word"),
        ({"label_intensity": 4}, r"label_intensity: expected a number in"),
        ({"label_similarity": 2.0}, r"label_similarity: expected a number in"),
        ({"label_emotion": 3}, r"label_emotion: expected a name or None, got 3"),
        ({"label_donor": ""}, r"label_donor: expected the id of a row or None, got ''"),
        ({"mood": "fine"}, r"columns: expected the schema's; missing: none, unknown: \['mood'\]"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(changes, message):
    with pytest.raises(ValueError, match=message):
        validate_example(valid_row(**changes), {"audio": 64, "visual": 7})


def test_a_missing_column_is_named():
    row = valid_row()
    del row["polarity"]
    with pytest.raises(ValueError, match=r"meld meld/train/dia0_utt3: columns: .*missing: \['polarity'\]"):
        validate_example(row)


def test_features_hold_every_column_and_the_width():
    table = features({"audio": 64, "visual": 7})
    assert list(table) == list(COLUMNS)
    assert table["visual_features"].shape == (None, 7)
    assert table["audio_features"].shape == (None, 64)
    assert table["sentiment"].dtype == "float64"  # MOSEI's thirds keep their digits


def test_a_table_without_visual_features_joins_one_with_them():
    import datasets

    def table(visual_size, **changes):
        row = valid_row(**changes)
        return datasets.Dataset.from_list([row], features=features({"audio": 64, "visual": visual_size}))

    with_visual = table(7)
    joined = datasets.concatenate_datasets([with_visual, table(None, visual_features=None)]).with_format("numpy")
    assert feature_or_none(joined[0]["visual_features"]).shape == (2, 7)
    assert feature_or_none(joined[1]["visual_features"]) is None


@pytest.mark.parametrize("cell", [None, math.nan, np.array(np.nan), np.float64("nan")])
def test_a_missing_cell_comes_back_as_none(cell):
    assert feature_or_none(cell) is None


def test_a_features_cell_comes_back_as_float32():
    assert feature_or_none([[1, 2], [3, 4]]).dtype == np.float32


def test_an_unknown_column_is_refused():
    with pytest.raises(TypeError, match="unknown columns mood"):
        new_example(mood="fine")


@given(
    st.lists(
        st.tuples(st.sampled_from(["train", "test"]), st.sampled_from("abc"), st.integers(0, 99)),
        min_size=1,
        max_size=30,
    )
)
def test_numbering_and_order(rows):
    examples = [new_example(split=split, dialogue_id=dialogue) for split, dialogue, _ in rows]
    positions = [position for _, _, position in rows]
    number_utterances(examples, positions)
    by_example = {id(example): position for example, position in zip(examples, positions, strict=True)}
    ordered = order_examples(examples)
    keys = [(example["split"], example["dialogue_id"]) for example in ordered]
    assert [split for split, _ in keys] == sorted((split for split, _ in keys), key=["train", "test"].index)
    for key in set(keys):
        members = [example for example in ordered if (example["split"], example["dialogue_id"]) == key]
        assert [example["utterance_index"] for example in members] == list(range(len(members)))
        assert [by_example[id(example)] for example in members] == sorted(
            by_example[id(example)] for example in members
        )
        first, last = keys.index(key), len(keys) - 1 - keys[::-1].index(key)
        assert last - first + 1 == len(members)  # a dialogue's rows stand together
