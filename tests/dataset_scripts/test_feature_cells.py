"""Feature cells read from Arrow buffers: equal to what went in, whatever slice, order or gap."""

import numpy as np
import pytest

from dataset_scripts.feature_cells import feature_cells
from dataset_scripts.publish import parquet_path, write_split
from dataset_scripts.schema import features
from tests.dataset_scripts.raw_labels import prepared_row

COUNT = 12


@pytest.fixture
def rows():
    """Audio of 3 to 14 steps; visual missing in rows 0, 5 and 11; no text features."""
    rows = [prepared_row("mosi", "train", number, "text", sentiment=1.0) for number in range(COUNT)]
    for at in (0, 5, 11):
        rows[at]["visual_features"] = None
    return rows


@pytest.fixture
def table(rows, tmp_path):
    from datasets import load_dataset

    write_split(tmp_path, "train", rows, features({"audio": 64, "visual": 5}))
    path = str(parquet_path(tmp_path, "train"))
    return load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))


def expect(cells, rows, name):
    assert len(cells) == len(rows)
    for cell, row in zip(cells, rows, strict=True):
        if row[name] is None:
            assert cell is None
        else:
            assert cell.dtype == np.float32
            np.testing.assert_array_equal(cell, row[name])


@pytest.mark.parametrize("name", ["audio_features", "visual_features", "text_features"])
@pytest.mark.parametrize(
    "key", [slice(None), slice(3, 9), slice(5, 6), slice(11, 12), [7, 5, 0, 7, 2], [5], slice(0, 0)], ids=str
)
def test_cells_are_what_was_written(table, rows, name, key):
    chosen = rows[key] if isinstance(key, slice) else [rows[at] for at in key]
    expect(feature_cells(table.with_format("arrow")[key].column(name)), chosen, name)


def test_cells_of_tables_that_were_shuffled_cut_and_joined(table, rows):
    from datasets import concatenate_datasets

    order = np.random.default_rng(0).permutation(COUNT).tolist()
    joined = concatenate_datasets([table.select(order), table.select(range(4, 8)), table]).with_format("arrow")
    expected = [rows[at] for at in [*order, *range(4, 8), *range(COUNT)]]
    for name in ("audio_features", "visual_features"):
        expect(feature_cells(joined[:].column(name)), expected, name)
        for at, row in enumerate(expected):
            expect(feature_cells(joined[at].column(name)), [row], name)


def test_cells_cannot_be_written_to(table):
    (cell,) = feature_cells(table.with_format("arrow")[3].column("audio_features"))
    with pytest.raises(ValueError, match="read-only"):
        cell[0, 0] = 1.0
