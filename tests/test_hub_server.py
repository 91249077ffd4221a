"""The local Hub as the real clients see it: what one process publishes, a fresh one finds and loads."""

import subprocess
import sys
import urllib.request

import pytest

from tests.hub_server import ROOT, HubServer, run_client

CARD = """---
license: mit
configs:
- config_name: words
  default: true
  data_files:
  - {split: train, path: words/train-*.parquet}
  - {split: test, path: words/test-*.parquet}
- config_name: numbers
  data_files:
  - {split: train, path: numbers/train-*.parquet}
---
# Small
"""

PUBLISH = """
import json, pathlib
import pyarrow, pyarrow.parquet
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

BROKEN_CARD = b"---\\nlicense: [mit\\n---\\n"
api, folder, refused = HfApi(), pathlib.Path(FOLDER), {}
def write(name, **columns):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / name)
def attempt(name, kind, act):
    try:
        act()
    except kind as error:
        refused[name] = type(error).__name__

write("words/train-00000.parquet", word=["a", "b"])
write("words/test-00000.parquet", word=["c"])
write("numbers/train-00000.parquet", number=list(range(5000)))
(folder / "README.md").write_text(CARD)
api.create_repo("tester/small", repo_type="dataset")
api.create_repo("tester/small", repo_type="dataset", exist_ok=True)
first = api.upload_folder(folder_path=folder, repo_id="tester/small", repo_type="dataset", commit_message="one")
api.create_tag("tester/small", tag="v1", repo_type="dataset")
write("words/train-00000.parquet", word=["a", "b", "later"])
api.upload_folder(folder_path=folder, repo_id="tester/small", repo_type="dataset", commit_message="two")
pull = api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="tester/small", repo_type="dataset",
                       create_pr=True)
api.create_repo("tester/hidden", repo_type="dataset", private=True)
api.upload_file(path_or_fileobj=b"secret", path_in_repo="a.txt", repo_id="tester/hidden", repo_type="dataset")
attempt("missing", RepositoryNotFoundError, lambda: api.dataset_info("tester/none"))
attempt("revision", RevisionNotFoundError, lambda: api.dataset_info("tester/small", revision="v9"))
attempt("card", ValueError, lambda: api.upload_file(
    path_or_fileobj=BROKEN_CARD, path_in_repo="README.md", repo_id="tester/small", repo_type="dataset"))
attempt("again", Exception, lambda: api.create_repo("tester/small", repo_type="dataset"))
api.create_repo("tester/gone")
api.delete_repo("tester/gone")
attempt("deleted", RepositoryNotFoundError, lambda: api.model_info("tester/gone"))
files = {one.path: one.lfs is not None
         for one in api.list_repo_tree("tester/small", repo_type="dataset", recursive=True) if hasattr(one, "lfs")}
print(json.dumps({
    "user": api.whoami()["name"], "first": first.oid, "pull": pull.pr_num, "files": files, "refused": refused,
    "titles": [one.title for one in api.list_repo_commits("tester/small", repo_type="dataset")],
    "private": api.dataset_info("tester/hidden").private, "card": api.dataset_info("tester/small").card_data.license,
    "found": [one.id for one in api.list_datasets(author="tester")],
}))
"""

LOAD = """
import json
from pathlib import Path
from datasets import get_dataset_config_names, load_dataset
from huggingface_hub import list_repo_refs, snapshot_download

repo = "tester/small"
refs = list_repo_refs(repo, repo_type="dataset", include_pull_requests=True)
folder = Path(snapshot_download(repo, repo_type="dataset"))
streamed = load_dataset(repo, "numbers", split="train", streaming=True)
print(json.dumps({
    "configs": get_dataset_config_names(repo),
    "default": {split: data["word"][:] for split, data in load_dataset(repo).items()},
    "numbers": sum(load_dataset(repo, "numbers", split="train")["number"][:]),
    "streamed": [row["number"] for row in streamed.take(3)],
    "tagged": load_dataset(repo, "words", revision="v1", split="train")["word"][:],
    "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file()),
    "tags": {tag.name: tag.target_commit for tag in refs.tags}, "branches": [branch.name for branch in refs.branches],
    "pulls": [pull.ref for pull in refs.pull_requests],
}))
"""

STRANGER = """
import json
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

def outcome(act):
    try:
        return bool(act())
    except (RepositoryNotFoundError, HfHubHTTPError) as error:
        return type(error).__name__

api = HfApi()
print(json.dumps({
    "info": outcome(lambda: api.dataset_info("tester/hidden")),
    "file": outcome(lambda: hf_hub_download("tester/hidden", "a.txt", repo_type="dataset")),
    "write": outcome(lambda: api.create_repo("tester/mine")),
    "public": outcome(lambda: api.dataset_info("tester/small")),
    "listed": [one.id for one in api.list_datasets()],
}))
"""


@pytest.fixture(scope="module")
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def published(hub, tmp_path_factory) -> dict:
    """What the publishing process saw."""
    settings = f"FOLDER, CARD = {str(tmp_path_factory.mktemp('small'))!r}, {CARD!r}\n"
    return run_client(hub, settings + PUBLISH, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def loaded(hub, published, tmp_path_factory) -> dict:
    """What a fresh process found by the repository's name alone."""
    return run_client(hub, LOAD, tmp_path_factory.mktemp("home"))


def test_a_folder_is_published_with_parquet_in_lfs(published):
    assert published["user"] == "tester" and published["card"] == "mit"
    assert published["titles"] == ["two", "one", "initial commit"]
    assert published["files"]["README.md"] is False
    assert published["files"]["words/train-00000.parquet"] is published["files"]["numbers/train-00000.parquet"] is True


def test_wrong_requests_are_refused_as_the_real_hub_does(published):
    assert published["refused"] == {
        "missing": "RepositoryNotFoundError",
        "revision": "RevisionNotFoundError",
        "card": "ValueError",
        "again": "HfHubHTTPError",
        "deleted": "RepositoryNotFoundError",
    }


def test_a_fresh_process_loads_both_configs_by_name(loaded):
    assert loaded["configs"] == ["words", "numbers"]
    assert loaded["default"] == {"train": ["a", "b", "later"], "test": ["c"]}
    assert loaded["numbers"] == sum(range(5000))
    assert loaded["streamed"] == [0, 1, 2]


def test_a_tag_keeps_what_was_there(published, loaded):
    assert loaded["tagged"] == ["a", "b"]
    assert loaded["tags"] == {"v1": published["first"]} and loaded["branches"] == ["main"]
    assert loaded["pulls"] == [f"refs/pr/{published['pull']}"]


def test_a_snapshot_has_every_file(published, loaded):
    assert loaded["files"] == sorted(published["files"])


def test_a_private_repository_is_seen_with_a_token_only(hub, published, tmp_path):
    assert published["private"] is True and "tester/hidden" in published["found"]
    seen = run_client(hub, STRANGER, tmp_path, token=None)
    assert seen["info"] == seen["file"] == "RepositoryNotFoundError" and seen["write"] == "HfHubHTTPError"
    assert seen["public"] is True and seen["listed"] == ["tester/small"]


def test_every_request_had_a_route(hub, published, loaded):
    assert hub.unknown == []


def test_a_failing_client_shows_its_output(local_hub, tmp_path):
    with pytest.raises(AssertionError, match="the client failed:\n(.|\n)*KeyError: 'planted'"):
        run_client(local_hub, "raise KeyError('planted')", tmp_path)


def test_it_runs_as_a_process_that_prints_its_address():
    command = [sys.executable, "-m", "tests.hub_server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            address = process.stdout.readline().strip()
            with urllib.request.urlopen(f"{address}/api/models", timeout=10) as answer:
                assert answer.read() == b"[]"
        finally:
            process.terminate()
