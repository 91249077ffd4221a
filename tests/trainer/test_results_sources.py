"""Where results come from: files and folders on disk, and repositories of the local Hub."""

import json
import re
import shutil
from pathlib import PurePosixPath

import pytest
from results_files import make_results, write_results

from tests.hub_repository import Blob, Commit, Repository
from tests.hub_server import HubServer, run_client
from trainer.cli import main
from trainer.results_file import read_results
from trainer.results_sources import find_results


def test_a_folder_is_searched_for_results_files_only(tmp_path):
    run = write_results(tmp_path / "runs" / "full" / "seed-1", run="full")
    results = run.rename(run.with_name("results.json"))
    evaluated = write_results(tmp_path / "runs" / "full" / "other", run="text", modalities=("text",))
    for name in ("validation.json", ".hidden.json", "pending/00000012/results.json", "out.partial/results.json"):
        other = results.parent / name
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text(json.dumps(make_results(seed=2)))
    (results.parent / "environment.json").write_text('{"run": 1, "metrics": {}, "why": "\\"schema_version\\""}')
    (results.parent / "labels.json").write_text('{"schema_version": 2, "run": "a", "metrics": ')
    (results.parent / "list.json").write_text('["schema_version", "run", "metrics"]')
    assert find_results([tmp_path / "runs"]) == [evaluated, results]


def test_a_results_file_of_an_old_form_is_found_so_that_it_is_refused(tmp_path):
    (tmp_path / "text.json").write_text(json.dumps(make_results() | {"schema_version": 1}))
    (found,) = find_results([tmp_path])
    with pytest.raises(ValueError, match=r"text\.json: schema_version: expected 2"):
        read_results(found)
    (tmp_path / "results.json").write_text("{")
    assert find_results([tmp_path])[0].name == "results.json"


def test_files_folders_and_copies_count_once(tmp_path):
    path = write_results(tmp_path / "runs", run="full")
    copied = shutil.copytree(tmp_path / "runs", tmp_path / "copied")
    assert find_results([tmp_path / "runs", path, tmp_path / "runs", copied]) == [path]
    other = write_results(tmp_path / "runs", run="full", seed=2)
    assert find_results([copied, tmp_path / "runs"]) == [copied / path.name, other]


@pytest.mark.parametrize(
    ("name", "message"), [("empty", "empty: expected results files in this folder"), ("none", "none: expected a resu")]
)
def test_a_path_without_results_is_refused(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    write_results(tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match=message):
        find_results([tmp_path / "runs", tmp_path / name])


def test_the_command_takes_folders_and_wants_something(tmp_path, capsys):
    write_results(tmp_path / "runs" / "full")
    assert main(["leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "board")]) == 0
    assert "| full |" in (tmp_path / "board" / "meld.md").read_text(encoding="utf-8")
    assert main(["leaderboard", "--out", str(tmp_path / "board")]) == 1
    assert "--from-hub OWNER/NAME; got none of them" in capsys.readouterr().err


# --- the Hub ----------------------------------------------------------------------------------------------------------


def put(hub: HubServer, name: str, files: dict[str, bytes], private: bool = False) -> str:
    """A repository with these files; returns the commit."""
    repository = hub.repositories.setdefault(("model", name), Repository("model", name, private))
    return repository.add_commit("main", Commit({path: Blob(data) for path, data in files.items()}, "files"))


def written(folder, names: dict[str, dict], predictions=False) -> dict[str, bytes]:
    """Name in a repository -> bytes, of made-up results with these arguments; their predictions lie beside them."""
    files = {}
    for name, arguments in names.items():
        path = write_results(folder, predictions=predictions, **arguments)
        files[name] = path.read_bytes()
        if predictions:
            beside = PurePosixPath(name).with_name(f"{path.stem}.parquet")
            files[str(beside)] = path.with_suffix(".parquet").read_bytes()
    return files


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Repositories: good, with predictions and a tag; and each kind that is refused."""
    folder = tmp_path_factory.mktemp("made")
    more = {"results/meld/text.json": {"run": "text-only", "modalities": ("text",)}}
    good = written(folder, {"results.json": {"run": "full", "skill": 0.8}, **more}, predictions=True)
    with HubServer() as server:
        first = put(server, "tester/good", {**good, "model.safetensors": b"x" * 1000, "results/notes.json": b"{}"})
        server.repositories["model", "tester/good"].tags["v1"] = first
        put(server, "tester/seed-2", written(folder, {"results.json": {"run": "full", "skill": 0.8, "seed": 2}}))
        put(server, "tester/old", {"results.json": json.dumps(make_results() | {"schema_version": 1}).encode()})
        put(server, "tester/edited", {"results.json": edited()})
        put(server, "tester/model-only", {"config.json": b"{}"})
        put(server, "tester/hidden", good, private=True)
        yield server


def edited() -> bytes:
    content = make_results()
    content["metrics"]["meld/macro_f1"] = 0.99
    return json.dumps(content).encode()


FETCH = """
import json, sys
from pathlib import Path
from trainer.results_sources import fetch_results, hub_name
problems = {{}}
for repo in {repos}:
    try:
        found = [[str(path), hub_name(path)] for path in fetch_results([repo], Path({folder!r}))]
    except Exception as error:
        found = type(error).__name__ + ": " + str(error)
    problems[repo] = found
problems["torch"] = "torch" in sys.modules
print(json.dumps(problems))
"""


def fetch(hub: HubServer, folder, *repos: str, token: str | None = None) -> dict:
    return run_client(hub, FETCH.format(repos=repos, folder=str(folder / "hub")), folder / "home", token)


def test_a_repository_gives_results_and_what_lies_beside_them_at_a_fixed_revision(hub, tmp_path):
    sha = hub.repositories["model", "tester/good"].resolve("main")
    found = fetch(hub, tmp_path, "tester/good", "tester/good@v1")
    place = tmp_path / "hub" / f"tester--good--{sha[:12]}"
    names = ["results/meld/text.json", "results.json"]
    expected = [[str(place / name), f"tester/good@{sha[:12]}/{name}"] for name in names]
    assert found == {"tester/good": expected, "tester/good@v1": expected, "torch": False}
    assert json.loads((place / "source.json").read_text()) == {"repo": "tester/good", "revision": sha}
    assert all(read_results(place / name).beside("predictions") for name in names)
    assert not (place / "model.safetensors").exists()
    assert [path.name for path in (tmp_path / "hub").iterdir()] == [place.name]


PROBLEMS = [
    ("tester/none", r"FileNotFoundError: tester/none: expected a model repository .* there is none, or it is private"),
    ("tester/hidden", r"FileNotFoundError: tester/hidden: expected a model repository .* HF_TOKEN"),
    ("tester/good@v9", r"FileNotFoundError: tester/good@v9: expected a branch, tag or commit of tester/good, got 'v9'"),
    ("tester/model-only", r"FileNotFoundError: tester/model-only: expected results\.json in this repository"),
    ("tester/old", r"ValueError: tester/old: results\.json: schema_version: expected 2"),
    ("tester/edited", r"ValueError: tester/edited: results\.json: digest: .* edited after it was written"),
    ("good", r"ValueError: good: expected owner/name of a Hub repository"),
    ("a/b/c", r"ValueError: a/b/c: expected owner/name of a Hub repository"),
]


@pytest.fixture(scope="module")
def refused(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refused")
    return folder, fetch(hub, folder, *(repo for repo, _ in PROBLEMS))


@pytest.mark.parametrize(("repo", "message"), PROBLEMS, ids=[repo for repo, _ in PROBLEMS])
def test_a_repository_without_usable_results_is_refused_in_one_line(refused, repo, message):
    folder, found = refused
    assert re.match(message, found[repo]) and "\n" not in found[repo] and str(folder) not in found[repo]
    assert not list((folder / "hub").iterdir())  # nothing half of them is kept


def test_a_token_opens_a_private_repository_and_a_hub_that_does_not_answer_is_said(hub, tmp_path):
    assert len(fetch(hub, tmp_path, "tester/hidden", token="hf_test")["tester/hidden"]) == 2
    hub.stop()
    try:
        found = fetch(hub, tmp_path, "tester/good")["tester/good"]
    finally:
        hub.start_again()
    assert found.startswith("ConnectionError: tester/good: the Hub cannot be reached")


AVAILABLE = """
import json
from pathlib import Path
from trainer.results_sources import fetch_available
files, problems = fetch_available({repos}, Path({folder!r}))
print(json.dumps([{{repo: [path.name for path in paths] for repo, paths in files.items()}}, problems]))
"""


def test_what_is_wrong_with_one_repository_leaves_the_others(hub, tmp_path):
    repos = ["tester/none", "tester/good", "tester/good", "tester/seed-2", "tester/old"]
    code = AVAILABLE.format(repos=repos, folder=str(tmp_path / "hub"))
    files, problems = run_client(hub, code, tmp_path / "home", token=None)
    assert files == {"tester/good": ["text.json", "results.json"], "tester/seed-2": ["results.json"]}
    assert list(problems) == ["tester/none", "tester/old"] and str(tmp_path) not in str(problems)
    assert problems["tester/old"].startswith("tester/old: results.json: schema_version: expected 2")


def test_the_command_ranks_runs_on_disk_with_those_of_the_hub(hub, tmp_path):
    write_results(tmp_path / "runs", run="cross", fusion_type="cross_attention")
    arguments = ["leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "board"), "--from-hub", "tester/good"]
    code = f"import json; from trainer.cli import main; print(json.dumps(main({[*arguments, 'tester/seed-2']})))"
    assert run_client(hub, code, tmp_path / "home", token=None) == 0
    table = (tmp_path / "board" / "meld.md").read_text(encoding="utf-8")
    assert "| full |" in table and "| cross |" in table
    for repo in ("tester/good", "tester/seed-2"):
        sha = hub.repositories["model", repo].resolve("main")
        assert f"{repo}@{sha[:12]}/results.json" in table
    assert str(tmp_path) not in table.replace(str(tmp_path / "runs"), "")
