"""Prepared datasets read back: feature sets alone and joined, files in several parts."""

import json

import datasets
import numpy as np
import pytest

from dataset_scripts import publish
from dataset_scripts.prepared import feature_specs_of, load_prepared
from dataset_scripts.publish import parquet_files, write_split
from dataset_scripts.schema import feature_or_none, features, new_example

SETS = {"default": {"audio": 64, "visual": 8}, "covarep": {"audio": 74}, "bert": {"text": 16, "audio": 5}}


def rows(split: str, sizes: dict, count: int = 3) -> list[dict]:
    """Row 1 lacks all features."""
    return [
        new_example(
            id=f"mosi/{split}/v_{number}",
            dataset="mosi",
            split=split,
            dialogue_id="v",
            utterance_index=number,
            sentiment=1.0,
            polarity="positive",
            **{
                f"{name}_features": np.full((2, size), number, np.float32)
                for name, size in sizes.items()
                if number != 1
            },
        )
        for number in range(count)
    ]


@pytest.fixture
def folder(tmp_path):
    for name, sizes in SETS.items():
        for split in ("train", "test"):
            write_split(tmp_path, split, rows(split, sizes), features(sizes), name)
    specs = {
        name: {
            modality: {"name": name, "size": sizes[modality], "fingerprint": f"{name} {modality}"}
            if modality in sizes
            else None
            for modality in ("text", "audio", "visual")
        }
        for name, sizes in SETS.items()
    }
    (tmp_path / "features.json").write_text(json.dumps(specs))
    return tmp_path


def widths(table, row: int = 0) -> list[int | None]:
    cells = (
        feature_or_none(table.with_format("numpy")[row][f"{name}_features"]) for name in ("text", "audio", "visual")
    )
    return [None if cell is None else cell.shape[1] for cell in cells]


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (None, [None, 64, 8]),
        (["covarep"], [None, 74, None]),
        (["covarep", "default"], [None, 74, 8]),  # the first that has the modality gives it
        (["default", "covarep"], [None, 64, 8]),
        (["covarep", "bert", "default"], [16, 74, 8]),
    ],
)
def test_each_modality_comes_from_the_first_set_that_has_it(folder, sets, expected):
    tables = load_prepared(folder, sets)
    assert list(tables) == ["train", "test"]
    assert tables["train"].column_names == list(rows("train", {})[0])
    assert widths(tables["test"]) == expected
    assert widths(tables["test"], 1) == [None, None, None]
    assert (
        feature_or_none(tables["train"].with_format("numpy")[2]["audio_features"])[0, 0] == 2.0
    )  # rows keep their order
    sizes = [spec and spec["size"] for spec in feature_specs_of(folder, sets).values()]
    assert sizes == expected


def test_an_unknown_set_names_those_there_are(folder):
    with pytest.raises(ValueError, match=r"expected feature sets of default, covarep, bert, got 'facet'"):
        load_prepared(folder, ["covarep", "facet"])


def test_a_set_whose_files_are_gone_is_named(folder):
    for path in (folder / "data" / "covarep").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="the files of its feature set 'covarep' are missing; prepare it again"):
        load_prepared(folder, ["covarep"])


def test_large_splits_become_several_files_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "BYTES_A_FILE", 100)
    monkeypatch.setattr(publish, "ROWS_A_GROUP", 2)
    write_split(tmp_path, "test", rows("test", {"audio": 64}, 5), features({"audio": 64}))
    (tmp_path / "features.json").write_text('{"default": {"text": null, "audio": {"size": 64}, "visual": null}}')
    names = [path.name for path in parquet_files(tmp_path)["default"]]
    assert names == [f"test-{number:05d}-of-00003.parquet" for number in range(3)]
    assert load_prepared(tmp_path)["test"]["utterance_index"] == [0, 1, 2, 3, 4]
    assert not list(tmp_path.rglob("*.part*"))


def test_plain_datasets_read_the_same_files(folder):
    table = datasets.load_dataset("parquet", data_files=str(folder / "data" / "bert" / "train-*.parquet"))["train"]
    assert widths(table) == [16, 5, None]
