"""Universal labels of prepared folders: every feature set is labelled, the rest stays, nothing is ever mixed."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataset_scripts.label_columns import LABEL_COLUMNS, OPTIONAL_COLUMNS
from dataset_scripts.prepared import load_prepared
from dataset_scripts.schema import COLUMNS, feature_or_none, features
from dataset_scripts.universal_labels import label_datasets
from dataset_scripts.utils.outputs import claimed
from tests.dataset_scripts.raw_labels import iemocap_rows, meld_rows, mosi_rows, prepared_row, write_prepared


@pytest.fixture
def folders(tmp_path):
    """MOSI with two feature sets, MELD with one."""
    return [
        write_prepared(tmp_path / "mosi", mosi_rows(), ("default", "covarep")),
        write_prepared(tmp_path / "meld", meld_rows()),
    ]


def read_dataset(folder, cache, config="default"):
    from datasets import load_dataset

    return load_dataset(str(folder), config, cache_dir=str(cache))


def file_bytes(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_tables(folder):
    paths = sorted((folder / "data").rglob("*.parquet"))
    return {path.relative_to(folder / "data").as_posix(): pq.read_table(path) for path in paths}


def test_folders_get_labels_and_keep_everything_else(folders, tmp_path):
    before = [read_tables(folder) for folder in folders]
    # Read once before: the cache of `datasets` must not give these rows again afterwards.
    assert read_dataset(folders[0], tmp_path / "cache")["train"]["label_emotion"][0] is None
    label_datasets(folders)
    for old, new in zip(before, map(read_tables, folders), strict=True):
        assert old.keys() == new.keys()
        for name in old:
            assert old[name].schema.equals(new[name].schema, check_metadata=True)
            assert old[name].drop_columns(LABEL_COLUMNS).equals(new[name].drop_columns(LABEL_COLUMNS))
    after = [read_dataset(folder, tmp_path / "cache") for folder in folders]
    assert after[0]["train"].features == features({"audio": 64, "visual": 5})
    audio = [feature_or_none(row["audio_features"]) for row in after[0]["train"].with_format("numpy")]
    assert [None if part is None else part.shape for part in audio] == [(3, 64), None, (5, 64)]
    labels = {
        row["id"]: tuple(row[name] for name in LABEL_COLUMNS[:3])
        for data in after
        for split in data.values()
        for row in split
    }
    assert labels == {
        "mosi/train/0": (2.0, "joy", "meld/train/0"),
        "mosi/train/1": (-1.4, "anger", "meld/train/1"),
        "mosi/train/2": (0.0, "neutral", None),
        "mosi/test/3": (-3.0, "anger", "meld/train/1"),  # not meld/test/3, whose text is the same
        "meld/train/0": (2.0, "joy", "mosi/train/0"),
        "meld/train/1": (-1.4, "anger", "mosi/train/1"),
        "meld/train/2": (0.0, "neutral", None),
        "meld/test/3": (-1.4, "disgust", "mosi/train/1"),
        "meld/test/4": (-1.0, "fear", None),
    }
    covarep = read_dataset(folders[0], tmp_path / "cache", "covarep")
    assert covarep["train"].features == features({"audio": 64})
    for split, table in after[0].items():
        for name in ("id", *LABEL_COLUMNS):
            assert covarep[split][name] == table[name]


def test_report_and_second_run_is_byte_equal(folders):
    report = label_datasets(folders)
    first = [file_bytes(folder) for folder in folders]
    assert label_datasets(folders) == report
    assert [file_bytes(folder) for folder in folders] == first
    own = json.loads(first[1]["labels.json"])
    assert (own["embedder"], own["leaky_donors"]) == ("tf-idf", False)
    assert own["donors"] == {"emotion": {"negative": 1, "positive": 1}, "sentiment": {"negative": 1, "positive": 1}}
    meld = own["datasets"]["meld"]
    assert list(own["datasets"]) == ["meld"]
    assert meld["source"] == {"gold": 0, "neutral": 1, "donor": 3, "no text": 1, "no donor": 0, "no gold": 0}
    assert meld["polarity"] == {"negative": 3, "neutral": 1, "positive": 1}
    assert meld["emotion"] == {"anger": 1, "disgust": 1, "fear": 1, "joy": 1, "neutral": 1}
    assert meld["intensity"] == {"-3": 0, "-2": 0, "-1": 3, "0": 1, "1": 0, "2": 1, "3": 0}
    assert sum(own["similarity"]["counts"]) == 3
    pair = next(pair for pair in own["pairs"] if pair["id"] == "meld/test/3")
    assert (pair["text"], pair["donor_text"], pair["taken"]) == ("awful food", "this is awful", {"intensity": -1.4})
    assert sum(part["source"]["donor"] for part in report["datasets"].values()) == 6


def test_test_text_has_no_say_in_training_labels(tmp_path):
    """TF-IDF weights come from training text: more test rows must not change which donor a training row finds."""
    train = [
        prepared_row("mosi", "train", 0, "common rare", sentiment=2.0),
        prepared_row("meld", "train", 0, "common filler", emotion="joy", polarity="positive"),
        prepared_row("meld", "train", 1, "rare filler", emotion="surprise", polarity="positive"),
    ]
    extra = [prepared_row("meld", "test", 10 + n, "common words", emotion="joy", polarity="positive") for n in range(6)]
    found = []
    for name, rows in (("without", train), ("with", train + extra)):
        folder = write_prepared(tmp_path / name, rows)
        label_datasets([folder])
        found.append(read_tables(folder)["default/train-00000-of-00001.parquet"].column("label_emotion").to_pylist())
    assert found[0] == found[1]


def test_leaky_donors_are_recorded(folders):
    report = label_datasets(folders, leaky_donors=True)
    assert report["leaky_donors"] is True
    assert {pair["id"]: pair["donor"] for pair in report["pairs"]}["mosi/test/3"] == "meld/test/3"


@pytest.mark.parametrize("moment", range(1, 5))  # two renames for each of two folders
def test_labels_of_a_folder_are_the_old_or_the_new_ones_wherever_it_is_interrupted(folders, monkeypatch, moment):
    label_datasets(folders)
    old = [file_bytes(folder) for folder in folders]
    label_datasets(folders, leaky_donors=True)
    new = [file_bytes(folder) for folder in folders]
    label_datasets(folders)
    (folders[0] / "notes.txt").write_text("a user's")
    replace, swaps = os.replace, []

    def stop(source, target):
        if folders[0].parent in (Path(source).parent, Path(target).parent):  # of whole folders
            swaps.append(target)
            if len(swaps) == moment:
                raise KeyboardInterrupt
        return replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        label_datasets(folders, leaky_donors=True)
    monkeypatch.undo()
    for number, folder in enumerate(folders):
        load_prepared(folder)  # whichever command comes next
        assert (folder / "notes.txt").exists() == (number == 0)
        (folder / "notes.txt").unlink(missing_ok=True)
        assert file_bytes(folder) in (old[number], new[number])
    label_datasets(folders, leaky_donors=True)
    assert [file_bytes(folder) for folder in folders] == new
    assert sorted(path.name for path in folders[0].parent.iterdir()) == ["meld", "mosi"]


def test_two_labellings_of_one_folder(folders):
    with claimed(folders[1]), pytest.raises(FileExistsError, match="meld: another process is writing it; wait for it"):
        label_datasets(folders)
    label_datasets(folders)


def test_folder_and_embedder_errors_are_clear(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is not a prepared dataset; make it with `unimse prepare`"):
        label_datasets([tmp_path / "nothing"])
    with pytest.raises(ValueError, match="expected 5 vectors for as many texts"):
        label_datasets(folders, lambda texts: np.ones((1, 2)))
    with pytest.raises(ValueError, match="expected ids that are unique"):
        label_datasets(
            [folders[0], write_prepared(tmp_path / "copy", [prepared_row("mosi", "train", 0, "a", sentiment=1.0)])]
        )
    with pytest.raises(ValueError, match="search: expected one of exact, faiss, got 'quick'"):
        label_datasets(folders, search="quick")
    path = folders[1] / "data" / "default" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["dataset", "label_donor"]), path)
    with pytest.raises(ValueError, match="expected the columns of a prepared folder, lacks dataset, label_donor"):
        label_datasets(folders)


def test_feature_sets_of_different_rows_are_refused(folders):
    path = folders[0] / "data" / "covarep" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ValueError, match="mosi: expected the same rows in every feature set, those of 'covarep' and"):
        label_datasets(folders)


def test_faiss_gives_the_same_labels(folders):
    pytest.importorskip("faiss", reason="needs faiss-cpu")

    def letters(texts):
        return np.array([[text.count(letter) + 0.1 for letter in "aefoluw"] for text in texts])

    label_datasets(folders, letters)
    exact = [file_bytes(folder) for folder in folders]
    label_datasets(folders, letters, search="faiss")
    assert [file_bytes(folder) for folder in folders] == exact


# --- nobody gives -----------------------------------------------------------------------------------------------------


def test_rows_without_donors_are_said_and_recorded(folders, caplog):
    report = label_datasets(folders[:1])
    assert report["datasets"]["mosi"]["source"]["no donor"] == 3
    assert report["donors"]["emotion"] == {"negative": 0, "positive": 0}
    assert report["warnings"] == [record.getMessage() for record in caplog.records]
    assert report["warnings"] == [
        "2 negative rows of mosi found no donor and have emotion sadness without one: label meld, iemocap or custom "
        "data with emotions together with them",
        "1 positive rows of mosi found no donor and have emotion joy without one: label meld, iemocap or custom data "
        "with emotions together with them",
    ]
    assert json.loads((folders[0] / "labels.json").read_text(encoding="utf-8"))["warnings"] == report["warnings"]


def test_a_warning_is_one_line_on_stderr_and_only_in_the_folder_it_is_about(tmp_path, caplog):
    positive = [row for row in meld_rows() if row["polarity"] == "positive"]
    folders = [write_prepared(tmp_path / "mosi", mosi_rows()), write_prepared(tmp_path / "meld", positive)]
    (line,) = label_datasets(folders)["warnings"]
    assert line.startswith("2 negative rows of mosi found no donor")
    assert [record.getMessage() for record in caplog.records] == [line]
    assert json.loads((folders[1] / "labels.json").read_text(encoding="utf-8"))["warnings"] == []


# --- emotions per data set --------------------------------------------------------------------------------------------


@pytest.fixture
def three(folders, tmp_path):
    return [*folders, write_prepared(tmp_path / "iemocap", iemocap_rows())]


def test_emotions_of_both_data_sets_as_columns_of_their_own(three, tmp_path):
    report = label_datasets(three, per_dataset_emotions=True)
    expected = {
        "mosi/train/0": ("joy", "meld/train/0", "excited", "iemocap/train/0"),
        "mosi/train/1": ("anger", "meld/train/1", "frustrated", "iemocap/train/1"),
        "mosi/train/2": ("neutral", None, "neutral", None),
        "mosi/test/3": ("anger", "meld/train/1", "frustrated", "iemocap/train/1"),  # not the test rows of its text
        "meld/train/0": ("joy", None, "excited", "iemocap/train/0"),
        "meld/train/1": ("anger", None, "frustrated", "iemocap/train/1"),
        "meld/train/2": ("neutral", None, "neutral", None),
        "meld/test/3": ("disgust", None, "frustrated", "iemocap/train/1"),
        "meld/test/4": ("fear", None, None, None),  # no text to search by
        "iemocap/train/0": ("joy", "meld/train/0", "excited", None),
        "iemocap/train/1": ("anger", "meld/train/1", "frustrated", None),
        "iemocap/test/2": ("anger", "meld/train/1", "sadness", None),
    }
    columns = [name for name in OPTIONAL_COLUMNS if "similarity" not in name]
    found = {}
    for folder in three:
        for table in read_dataset(folder, tmp_path / "cache").values():
            assert table.column_names == [*COLUMNS, *OPTIONAL_COLUMNS]
            found |= {row["id"]: tuple(row[name] for name in columns) for row in table.remove_columns(["text"])}
            for name in ("meld", "iemocap"):
                for row in table:
                    assert (row[f"label_donor_{name}"] is None) == (row[f"label_similarity_{name}"] is None)
    assert found == expected
    assert report["per_dataset_emotions"] is True
    meld = report["datasets"]["meld"]["emotion_iemocap"]
    assert meld["emotion"] == {"excited": 1, "frustrated": 2, "neutral": 1}
    assert meld["source"] == {"gold": 0, "neutral": 1, "donor": 3, "no text": 1, "no donor": 0, "no gold": 0}


def test_the_union_label_is_the_same_with_and_without_them(three):
    label_datasets(three)
    plain = [file_bytes(folder) for folder in three]
    label_datasets(three, per_dataset_emotions=True)
    for folder, before in zip(three, plain, strict=True):
        for name, table in read_tables(folder).items():
            assert table.column_names[-6:] == list(OPTIONAL_COLUMNS)
            assert before[f"data/{name}"] != (folder / "data" / name).read_bytes()
    label_datasets(three)
    assert [file_bytes(folder) for folder in three] == plain


def test_per_dataset_columns_keep_features_and_load_in_every_feature_set(folders, tmp_path):
    before = read_tables(folders[0])
    label_datasets(folders, per_dataset_emotions=True)
    for name, table in read_tables(folders[0]).items():
        kept = table.drop_columns([*LABEL_COLUMNS, *OPTIONAL_COLUMNS])
        assert kept.equals(before[name].drop_columns(LABEL_COLUMNS))
        known = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert list(known) == table.column_names
        assert known["label_emotion_iemocap"] == {"dtype": "string", "_type": "Value"}
    for config in ("default", "covarep"):
        table = read_dataset(folders[0], tmp_path / "cache", config)["train"]
        audio = [feature_or_none(row["audio_features"]) for row in table.with_format("numpy")]
        assert [None if part is None else part.shape for part in audio] == [(3, 64), None, (5, 64)]
        assert table["label_emotion_meld"] == ["joy", "anger", "neutral"]


def test_a_data_set_that_is_not_there_leaves_nulls_and_is_said(folders):
    report = label_datasets(folders, per_dataset_emotions=True)
    assert report["warnings"] == [
        "6 rows of meld, mosi found no donor in iemocap: their label_emotion_iemocap stays null; label iemocap "
        "together with them"
    ]
    emotions = read_tables(folders[1])["default/train-00000-of-00001.parquet"]["label_emotion_iemocap"].to_pylist()
    assert emotions == [None, None, "neutral"]
