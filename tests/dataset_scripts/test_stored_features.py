"""Features that come with raw files: what is repaired, dropped, taken as missing, and counted."""

import numpy as np
import pytest

from dataset_scripts.readers import Item, StoredSet
from dataset_scripts.schema import new_example
from dataset_scripts.stored_features import StoredCounts, repair_features, stored_rows, stored_spec

NAN, INF = np.nan, np.inf


def example(name: str) -> dict:
    return new_example(
        id=f"mosi/train/{name}",
        dataset="mosi",
        split="train",
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
        ([[1, NAN], [3, INF]], [[1, 0], [3, 0]], 2, 0),  # a column without a finite cell
        ([[NAN, NAN]], np.zeros((0, 2)), 0, 1),
        ([[1, 1e300], [3, 4]], [[1, 4], [3, 4]], 1, 0),  # beyond float32, without a warning
    ],
)
def test_cells_that_are_not_finite(sequence, expected, cells, steps):
    repaired, found_cells, found_steps = repair_features(np.array(sequence, np.float64))
    np.testing.assert_array_equal(repaired, np.array(expected, np.float32))
    assert (repaired.dtype, found_cells, found_steps) == (np.float32, cells, steps)


def test_rows_carry_what_is_left_and_everything_is_counted():
    sequences = {
        "whole": {"audio": np.ones((2, 3)), "visual": np.ones((4, 2))},
        "silent": {"audio": np.full((2, 3), -INF), "visual": np.zeros((4, 2))},
        "none": {},
        "partly": {"audio": np.array([[1.0, NAN, 2.0]])},
    }
    counts = StoredCounts()
    items = [Item(example(name)) for name in sequences]
    rows = dict(zip(sequences, stored_rows(items, stored(sequences, audio=3, visual=2), counts), strict=True))
    assert rows["whole"]["audio_features"].shape == (2, 3)
    assert rows["silent"]["audio_features"] is rows["silent"]["visual_features"] is None
    assert rows["none"]["audio_features"] is None
    np.testing.assert_array_equal(rows["partly"]["audio_features"], [[1, 0, 2]])
    assert (counts.cells_repaired, counts.steps_dropped, dict(counts.rows)) == (1, 2, {"audio": 2, "visual": 1})
    problems = counts.problems.as_dict()
    assert problems["nothing but zeros, taken as missing"]["first"] == "mosi/train/silent: visual"
    assert problems["NaN or infinity"]["count"] == 2
    assert items[0].example["audio_features"] is None  # the items stay without features


def test_another_width_than_declared_names_file_and_row():
    with pytest.raises(ValueError, match=r"COVAREP.csd: mosi mosi/train/a: audio_features: expected width 74, got .*3"):
        list(stored_rows([Item(example("a"))], stored({"a": {"audio": np.ones((2, 3))}}, audio=74), StoredCounts()))


def test_specs_tell_sets_of_another_name_or_width_apart():
    spec = stored_spec(stored({}, audio=74))
    assert (spec["text"], spec["visual"], spec["audio"]["name"], spec["audio"]["size"]) == (None, None, "covarep", 74)
    assert spec["audio"]["settings"] == {"source": "CMU_MOSI_COVAREP.csd"}
    assert spec["audio"]["fingerprint"] != stored_spec(stored({}, audio=5))["audio"]["fingerprint"]


def test_a_source_whose_name_is_no_text_can_be_written():
    spec = stored_spec(StoredSet("covarep", {"audio": 3}, "\udcff.csd", lambda row_id: {}))
    assert spec["audio"]["settings"] == {"source": "?.csd"}
