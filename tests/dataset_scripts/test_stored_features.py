"""Features that come with raw files: what is repaired, dropped, taken as missing, and counted."""

import numpy as np
import pytest

from dataset_scripts.readers import Item, StoredSet
from dataset_scripts.schema import new_example
from dataset_scripts.stored_features import StoredTable, stored_spec

NAN, INF = np.nan, np.inf


def example(name: str, split: str = "train") -> dict:
    return new_example(
        id=f"mosi/{split}/{name}",
        dataset="mosi",
        split=split,
        dialogue_id="v",
        utterance_index=0,
        sentiment=1.0,
        polarity="positive",
    )


def stored(sequences: dict, **sizes: int) -> StoredSet:
    return StoredSet("covarep", sizes, "CMU_MOSI_COVAREP.csd", lambda row_id: sequences[row_id.rsplit("/")[-1]])


@pytest.mark.parametrize(
    ("sequence", "expected", "cells", "steps"),
    [
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]], 0, 0),
        ([[1, -INF], [3, 4], [5, 8]], [[1, 6], [3, 4], [5, 8]], 1, 0),  # the mean of what the column has
        ([[NAN, INF], [3, 4]], [[3, 4]], 0, 1),
        ([[1, NAN], [3, INF]], [[1, 7], [3, 7]], 2, 0),  # nothing in the utterance: the mean of the training rows
        ([[1e39, 2], [3, 4]], [[3, 2], [3, 4]], 1, 0),  # beyond float32
        ([[NAN, NAN]], None, 0, 1),
    ],
)
def test_cells_that_are_not_finite(sequence, expected, cells, steps):
    sequences = {"a": {"audio": np.array(sequence)}, "b": {"audio": np.array([[9.0, 6.0], [9.0, 8.0]])}}
    items = [Item(example("a", "test")), Item(example("b"))]
    table = StoredTable(stored(sequences, audio=2), items)
    (row,) = table.examples(items[:1])
    if expected is None:
        assert row["audio_features"] is None
    else:
        np.testing.assert_array_equal(row["audio_features"], np.array(expected, np.float32))
        assert row["audio_features"].dtype == np.float32
    assert (table.cells_repaired, table.steps_dropped) == (cells, steps)


def test_a_column_that_never_has_a_value_is_zero_and_said_to_be():
    sequences = {"a": {"audio": np.array([[1.0, NAN]])}}
    table = StoredTable(stored(sequences, audio=2), [Item(example("a"))])
    (row,) = table.examples([Item(example("a"))])
    np.testing.assert_array_equal(row["audio_features"], [[1, 0]])
    assert table.problems.as_dict()["column without a value in any training row, set to 0"]["first"] == "audio column 1"


def test_aligned_modalities_stay_aligned():
    """A step goes in all of them or in none; sequences of other lengths are each for themselves."""
    audio, visual = np.array([[1.0], [NAN], [NAN], [4.0]]), np.array([[5.0], [6.0], [NAN], [8.0]])
    sequences = {"a": {"audio": audio, "visual": visual}, "b": {"audio": audio, "visual": visual[:2]}}
    items = [Item(example("a")), Item(example("b"))]
    aligned, other = StoredTable(stored(sequences, audio=1, visual=1), items).examples(items)
    np.testing.assert_array_equal(aligned["audio_features"], [[1], [2.5], [4]])
    np.testing.assert_array_equal(aligned["visual_features"], [[5], [6], [8]])
    np.testing.assert_array_equal(other["audio_features"], [[1], [4]])
    np.testing.assert_array_equal(other["visual_features"], [[5], [6]])


def test_rows_carry_what_is_left_and_everything_is_counted():
    sequences = {
        "whole": {"audio": np.ones((2, 3)), "visual": np.ones((4, 2))},
        "silent": {"audio": np.full((2, 3), -INF), "visual": np.zeros((4, 2))},
        "none": {},
        "partly": {"audio": np.array([[1.0, NAN, 2.0]])},
    }
    items = [Item(example(name)) for name in sequences]
    counts = StoredTable(stored(sequences, audio=3, visual=2), items)
    rows = dict(zip(sequences, counts.examples(items), strict=True))
    assert rows["whole"]["audio_features"].shape == (2, 3)
    assert rows["silent"]["audio_features"] is rows["silent"]["visual_features"] is None
    assert rows["none"]["audio_features"] is None
    np.testing.assert_array_equal(rows["partly"]["audio_features"], [[1, 1, 2]])  # of `whole`
    assert (counts.cells_repaired, counts.steps_dropped, dict(counts.rows)) == (1, 2, {"audio": 2, "visual": 1})
    problems = counts.problems.as_dict()
    assert problems["nothing but zeros, taken as missing"]["first"] == "mosi/train/silent: visual"
    assert problems["NaN or infinity"]["count"] == 2
    assert items[0].example["audio_features"] is None  # the items stay without features


def test_another_width_than_declared_names_file_and_row():
    with pytest.raises(ValueError, match=r"COVAREP.csd: mosi mosi/train/a: audio_features: expected width 74, got .*3"):
        list(StoredTable(stored({"a": {"audio": np.ones((2, 3))}}, audio=74), []).examples([Item(example("a"))]))


def test_specs_tell_sets_of_another_name_or_width_apart():
    spec = stored_spec(stored({}, audio=74))
    assert (spec["text"], spec["visual"], spec["audio"]["name"], spec["audio"]["size"]) == (None, None, "covarep", 74)
    assert spec["audio"]["settings"] == {"source": "CMU_MOSI_COVAREP.csd"}
    assert spec["audio"]["fingerprint"] != stored_spec(stored({}, audio=5))["audio"]["fingerprint"]


def test_a_source_whose_name_is_no_text_can_be_written():
    spec = stored_spec(StoredSet("covarep", {"audio": 3}, "\udcff.csd", lambda row_id: {}))
    assert spec["audio"]["settings"] == {"source": "?.csd"}
