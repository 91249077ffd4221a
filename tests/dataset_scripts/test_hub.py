"""Prepared datasets on a (local) Hub: pushed, versioned, loaded by name; raw data taken from it."""

import shutil

import pytest

from dataset_scripts.dataset_card import VERSION
from dataset_scripts.hub import push_prepared, resolve_folder
from dataset_scripts.prepare import prepare_dataset
from tests.hub_server import run_client

BENCHMARKS = ("mosi", "mosei", "meld", "iemocap")
# Compares as bytes, so that missing features (NaN) equal each other.
PUSH_AND_LOAD = """
import json, pickle, sys
from datasets import load_dataset
from dataset_scripts.hub import push_prepared
from dataset_scripts.prepared import load_prepared

def cells(row):
    return [(name, value.tobytes() if hasattr(value, "tobytes") else value) for name, value in row.items()]

found = {}
for name, folder in FOLDERS.items():
    pushed = push_prepared(folder, f"tester/{name}")
    local = load_prepared(folder)
    by_name = load_dataset(f"tester/{name}")
    streamed = load_dataset(f"tester/{name}", streaming=True)
    equal = {"splits": list(by_name) == list(local) == list(streamed)}
    for split, table in local.items():
        rows = [cells(row) for row in table.with_format("numpy")]
        equal[split] = rows == [cells(row) for row in by_name[split].with_format("numpy")]
        equal[f"{split} streamed"] = rows == [cells(row) for row in streamed[split].with_format("numpy")]
        equal[f"{split} not empty"] = bool(rows)
    found[name] = {"version": pushed["version"], "equal": equal}
print(json.dumps(found))
"""
PUSH_TWICE = """
import json
from pathlib import Path
from huggingface_hub import HfApi
from dataset_scripts.hub import push_prepared, resolve_folder
from dataset_scripts.prepared import load_prepared
from trainer.data import data_fingerprint, feature_specs, load_split

versions = [push_prepared(folder, "tester/versions")["version"] for folder in FOLDERS]
api = HfApi()
tags = sorted(tag.name for tag in api.list_repo_refs("tester/versions", repo_type="dataset").tags)
old, new = (load_prepared(f"tester/versions@v{version}")["train"][0]["sentiment"] for version in ("1.0.0", "1.0.1"))
data = load_split(["tester/versions"], "train")["mosi"]
print(json.dumps({
    "versions": versions, "tags": tags, "old": old, "new": new,
    "private": api.repo_info("tester/versions", repo_type="dataset").private,
    "card": [line for line in Path(FOLDERS[-1], "README.md").read_text().splitlines() if line.startswith("version")],
    "audio": list(data[0]["audio_features"].shape[1:]),
    "same": data_fingerprint("tester/versions", "train") == data_fingerprint(FOLDERS[-1], "train"),
    "specs": sorted(feature_specs(["tester/versions"])),
    "files": sorted(p for p in api.list_repo_files("tester/versions", repo_type="dataset") if p.startswith("data")),
}))
"""
PUSH_CHANGED = """
import json
from pathlib import Path
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from dataset_scripts.hub import push_prepared

folder, api = Path(FOLDER), HfApi()
versions = [push_prepared(folder, "tester/changed")["version"]]
path = next((folder / "data" / "default").glob("train-*"))
table = pq.read_table(path)
pq.write_table(table.slice(0, 1), path)  # changed without a new stamp in the card
(folder / "labels.png").write_bytes(b"x")
versions.append(push_prepared(folder, "tester/changed")["version"])
(folder / "labels.png").unlink()
versions.append(push_prepared(folder, "tester/changed")["version"])
print(json.dumps([versions, "labels.png" in api.list_repo_files("tester/changed", repo_type="dataset")]))
"""
FROM_THE_HUB = """
import json
from huggingface_hub import HfApi
from trainer.cli import main

PUSH = ["--push-to-hub", "tester/meld-text", "--public"]
api = HfApi()
api.create_repo("tester/raw-meld", repo_type="dataset", private=True)
api.upload_folder(repo_id="tester/raw-meld", repo_type="dataset", folder_path=RAW)
codes = [
    main(["prepare", "meld", "tester/raw-meld", OUT, "--features", "none", *PUSH]),
    main(["prepare", "meld", "tester/nothing-here", OUT + "-2"]),
    main(["push", RAW, "tester/meld-text"]),
]
print(json.dumps([codes, api.repo_info("tester/meld-text", repo_type="dataset").private]))
"""


@pytest.fixture
def client(local_hub, tmp_path):
    """Runs code in a fresh process that uses the local Hub; its variables stand at the top."""

    def run(code: str, **variables):
        head = "".join(f"{name} = {value!r}\n" for name, value in variables.items())
        return run_client(local_hub, head + code, tmp_path / "home")

    return run


def prepared(raw, folder, benchmark: str, visual_extractor) -> str:
    source = getattr(raw, benchmark)(folder / "raw" / benchmark)
    prepare_dataset(benchmark, source, folder / benchmark, extractor=visual_extractor)
    return str(folder / benchmark)


def test_all_benchmarks_pushed_and_loaded_by_name(raw, client, frozen, tmp_path):
    folders = {name: prepared(raw, tmp_path, name, frozen) for name in BENCHMARKS}
    found = client(PUSH_AND_LOAD, FOLDERS=folders)
    assert list(found) == list(BENCHMARKS)
    for name, facts in found.items():
        assert facts["version"] == VERSION
        assert all(facts["equal"].values()), (name, facts)


def test_the_version_rises_with_the_content_alone(raw, client, frozen, tmp_path):
    first = prepared(raw, tmp_path / "a", "mosi", frozen)
    source = raw.mosi(tmp_path / "b" / "raw" / "mosi")
    label = source / "label.csv"
    label.write_bytes(label.read_bytes().replace(b"2.6", b"1.6"))
    prepare_dataset("mosi", source, tmp_path / "b" / "mosi", extractor=frozen)
    second = str(tmp_path / "b" / "mosi")
    found = client(PUSH_TWICE, FOLDERS=[first, first, second, second])
    assert found["versions"] == ["1.0.0", "1.0.0", "1.0.1", "1.0.1"]
    assert found["tags"] == ["v1.0.0", "v1.0.1"]
    assert (found["old"], found["new"]) == (2.6, 1.6)
    assert found["card"] == ["version: 1.0.1"]
    assert found["private"] and found["same"]
    assert found["audio"] == [64]
    assert found["files"] == [f"data/default/{s}-00000-of-00001.parquet" for s in ("test", "train", "validation")]


def test_what_changed_on_disk_decides_not_what_the_card_says(raw, client, frozen, tmp_path):
    versions, stale = client(PUSH_CHANGED, FOLDER=prepared(raw, tmp_path, "mosi", frozen))
    assert versions == ["1.0.0", "1.0.1", "1.0.1"] and not stale


@pytest.mark.parametrize("name", ["bad repo/name", "owner", "a/b/c"])
def test_a_name_that_no_repository_can_have_is_refused_first(tmp_path, name):
    with pytest.raises(ValueError, match="expected owner/name of a Hub repository"):
        push_prepared(tmp_path / "nothing", name)


def test_raw_data_from_the_hub(raw, client, tmp_path, capfd):
    source = raw.meld(tmp_path / "raw", clips=False)
    codes, private = client(FROM_THE_HUB, RAW=str(source), OUT=str(tmp_path / "out"))
    assert codes == [0, 1, 1]
    assert private is False
    assert (tmp_path / "out" / "README.md").is_file() and not (tmp_path / "out-2").exists()


@pytest.mark.parametrize("name", ["owner/name", "hf://datasets/owner/name", "owner/name@v1.0.0"])
def test_offline_a_name_that_is_no_path_says_so(name):
    with pytest.raises(FileNotFoundError, match=f"{name}: no such folder here, and no dataset of that name could be"):
        resolve_folder(name)


def test_paths_stay_paths(tmp_path):
    assert resolve_folder(tmp_path) == tmp_path
    assert resolve_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert str(resolve_folder("a/b/c.pkl")) == "a/b/c.pkl"
    shutil.rmtree(tmp_path)
    assert resolve_folder(tmp_path) == tmp_path
