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
from trainer.hub_folders import hub_file, write_source
from trainer.leaderboard import build_board
from trainer.results_file import read_results, seal
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
    (results.parent / "deep.json").write_text('["schema_version", "run", "metrics", ' + "[" * 100_000)
    assert find_results([tmp_path / "runs"]) == [evaluated, results]


def test_a_results_file_of_an_old_form_is_found_so_that_it_is_refused(tmp_path):
    (tmp_path / "text.json").write_text(json.dumps(make_results() | {"schema_version": 1}))
    (found,) = find_results([tmp_path])
    with pytest.raises(ValueError, match=r"text\.json: schema_version: expected 2"):
        read_results(found)
    (tmp_path / "results.json").write_text("{")
    assert find_results([tmp_path])[0].name == "results.json"


def test_a_damaged_or_very_old_file_is_not_passed_over_in_silence(tmp_path):
    path = write_results(tmp_path)
    text = path.read_text()
    path.write_text(text[:-100])
    old = {name: value for name, value in make_results().items() if name != "schema_version"}
    (tmp_path / "old.json").write_text(json.dumps(old))
    found = find_results([tmp_path])
    assert [one.name for one in found] == ["full-seed1.json", "old.json"]
    for one, message in zip(found, ("expected JSON", "schema_version: expected 2"), strict=True):
        with pytest.raises(ValueError, match=message):
            read_results(one)


def test_files_folders_and_copies_count_once(tmp_path):
    path = write_results(tmp_path / "runs", run="full")
    copied = shutil.copytree(tmp_path / "runs", tmp_path / "copied")
    assert find_results([tmp_path / "runs", path, tmp_path / "runs", copied]) == [path]
    other = write_results(tmp_path / "runs", run="full", seed=2)
    assert find_results([copied, tmp_path / "runs"]) == [copied / path.name, other]


def test_of_two_copies_the_one_with_its_predictions_counts(tmp_path):
    path = write_results(tmp_path / "b", predictions=True)
    (tmp_path / "a").mkdir()
    shutil.copy(path, tmp_path / "a")
    assert find_results([tmp_path / "a", tmp_path / "b"]) == [path]
    path.with_suffix(".parquet").unlink()
    assert find_results([tmp_path / "b", tmp_path / "a"]) == [path]


def downloaded(folder, repo: str):
    """Results as they lie where `fetch_results` put them."""
    place = folder / f"{repo.replace('/', '--')}--0123456789ab"
    path = write_results(place)
    write_source(place, repo, "0123456789abcdef")
    return path


def test_a_copy_by_another_owner_is_an_entry_of_its_own_and_one_on_disk_is_not(tmp_path):
    alice, again, bob = (downloaded(tmp_path, repo) for repo in ("alice/full", "alice/again", "bob/full"))
    local = write_results(tmp_path / "runs")
    assert find_results([alice, again, bob]) == [alice, bob]
    assert find_results([local, alice]) == [local] and find_results([alice, local]) == [alice]
    (section,) = build_board([alice, bob]).sections["meld"]
    assert [(entry.name, entry.seeds, entry.rank) for entry in section.entries] == [
        ("alice/full", [1], 1),
        ("bob/full", [1], 1),
    ]


@pytest.mark.parametrize(
    "text", ["{}", "{", "[" * 100_000, "null", '{"repo": "eve/other", "revision": "0123456789ab"}']
)
def test_a_file_of_somebody_else_tells_nothing_of_where_results_are_from(tmp_path, text):
    place = tmp_path / "alice--full--0123456789ab"
    path = write_results(place)
    for name in (tmp_path / "source.json", place / "source.json", tmp_path / f"{place.name}.source"):
        name.write_text(text)
    assert hub_file(path) is None and read_results(path).owner is None
    assert list(build_board([path]).names.values()) == ["full-seed1.json"]


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
    several = written(folder, {f"results/{name}/one.json": more["results/meld/text.json"] for name in "abc"}, True)
    with HubServer() as server:
        first = put(server, "tester/good", {**good, "model.safetensors": b"x" * 1000, "results/notes.json": b"{}"})
        server.repositories["model", "tester/good"].tags["v1"] = first
        put(server, "tester/seed-2", written(folder, {"results.json": {"run": "full", "skill": 0.8, "seed": 2}}))
        put(server, "tester/old", {"results.json": json.dumps(make_results() | {"schema_version": 1}).encode()})
        put(server, "tester/edited", {"results.json": edited()})
        put(server, "tester/model-only", {"config.json": b"{}"})
        put(server, "tester/hidden", good, private=True)
        put(server, "tester/forged", forged(good))
        for name, files in untrusted(good).items():
            put(server, f"tester/{name}", files)
        for name, claims in CLAIMS.items():
            server.repositories["model", f"tester/{name}"] = Claiming(f"tester/{name}", claims)
            put(server, f"tester/{name}", good | several)
        yield server


class Claiming(Repository):
    """A repository that says what is not true of the sizes of its files."""

    def __init__(self, name: str, claims: dict[str, int | None]):
        super().__init__("model", name)
        self.claims = claims

    def describe(self, *arguments, **options) -> dict:
        facts = super().describe(*arguments, **options)
        for file in facts["siblings"]:
            file["size"] = self.claims.get(file["rfilename"], file.get("size"))
        return facts


CLAIMS = {
    "unknown-size": {"results.json": None},
    "large-parquet": {"full-seed1.parquet": 201 * 2**20},
    "large-together": dict.fromkeys([f"results/{name}/text-only-seed1.parquet" for name in "abc"], 200 * 2**20),
}
ELSEWHERE = "other--name--0123456789ab"


def forged(good: dict[str, bytes]) -> dict[str, bytes]:
    """Results in a folder that looks like another owner's, with a note of each kind that says so."""
    source = b'{"repo": "other/name", "revision": "0123456789abcdef"}'
    notes = ("source.json", f"{ELSEWHERE}.json", f"{ELSEWHERE}.source", f"{ELSEWHERE}/source.json")
    return {f"results/{ELSEWHERE}/results.json": good["results.json"]} | {f"results/{name}": source for name in notes}


def untrusted(good: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    def changed(**fields) -> bytes:
        return json.dumps(seal(make_results() | fields)).encode()

    data = {"mosi": {"fingerprint": "aa11", "rows": 10**9, "split": "test"}}
    return {
        "many": good | {f"results/{number}.json": b"{}" for number in range(199)},
        "large": good | {"results/large.json": b" " * (5 * 2**20 + 1)},
        "deep": {"results.json": b"[" * 100_000},
        "rows": {"results.json": changed(data=make_results()["data"] | data)},
        "resamples": {"results.json": changed(bootstrap={"resamples": 50_000, "confidence_level": 0.95, "seed": 0})},
        "odd-name": {"results.json": changed(predictions={"file": f"{ELSEWHERE}.source", "sha256": "0"})},
        "card": good | {"README.md": b"---\nignore_metadata_errors: true\n---\n"},
    }


def edited() -> bytes:
    content = make_results()
    content["metrics"]["meld/macro_f1"] = 0.99
    return json.dumps(content).encode()


FETCH = """
import json, sys
from pathlib import Path
from trainer.hub_folders import hub_file
from trainer.results_sources import fetch_results
problems = {{}}
for repo in {repos}:
    try:
        found = [[str(path), hub_file(path).name] for path in fetch_results([repo], Path({folder!r}))]
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
    source = place.with_name(f"{place.name}.source")
    assert json.loads(source.read_text()) == {"repo": "tester/good", "revision": sha}
    assert all(read_results(place / name).beside("predictions") for name in names)
    assert not (place / "model.safetensors").exists()
    assert sorted(path.name for path in place.iterdir()) == ["full-seed1.parquet", "results", "results.json"]
    assert sorted((tmp_path / "hub").iterdir()) == [place, source]
    assert not list((tmp_path / "home").rglob("*.json"))  # each file is kept once


def test_a_repository_cannot_pass_its_files_off_as_those_of_another(hub, tmp_path):
    sha = hub.repositories["model", "tester/forged"].resolve("main")
    ((path, name),) = fetch(hub, tmp_path, "tester/forged")["tester/forged"]
    assert name == f"tester/forged@{sha[:12]}/results/{ELSEWHERE}/results.json"
    assert read_results(path).owner == "tester" and read_results(path).entry == "tester/full"


PROBLEMS = [
    ("tester/none", r"FileNotFoundError: tester/none: expected a model repository .* there is none, or it is private"),
    ("tester/hidden", r"FileNotFoundError: tester/hidden: expected a model repository .* HF_TOKEN"),
    ("tester/good@v9", r"FileNotFoundError: tester/good@v9: expected a branch, tag or commit of tester/good, got 'v9'"),
    ("tester/model-only", r"FileNotFoundError: tester/model-only: expected results\.json in this repository"),
    ("tester/old", r"ValueError: tester/old: results\.json: schema_version: expected 2"),
    ("tester/edited", r"ValueError: tester/edited: results\.json: digest: .* edited after it was written"),
    ("tester/many", r"ValueError: tester/many: expected at most 200 files in results/, got 201"),
    ("tester/large", r"ValueError: tester/large: results/large\.json: expected at most 5,242,880 bytes, got 5,242,881"),
    ("tester/deep", r"ValueError: tester/deep: results\.json: expected JSON \(maximum recursion depth"),
    ("tester/rows", r"ValueError: tester/rows: results\.json: data\.rows: expected at most 200,000, got 1,000,000,120"),
    ("tester/resamples", r"ValueError: .*: bootstrap\.resamples: expected at most 10,000, got 50,000"),
    ("tester/odd-name", r"ValueError: tester/odd-name: results\.json: expected \*\.parquet as predictions and states"),
    ("tester/card", r"ValueError: tester/card: its card or description cannot be read"),
    (
        "tester/unknown-size",
        r"ValueError: .*: results\.json: expected at most 5,242,880 bytes, got a file of unknown s",
    ),
    (
        "tester/large-parquet",
        r"ValueError: .*: full-seed1\.parquet: expected at most 209,715,200 bytes, got 210,763,776",
    ),
    ("tester/large-together", r"ValueError: tester/large-together: expected at most 524,288,000 bytes of results, got"),
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
files, problems = fetch_available({repos}, Path({folder!r}), {with_token})
print(json.dumps([{{repo: [path.name for path in paths] for repo, paths in files.items()}}, problems]))
"""


def test_what_is_wrong_with_one_repository_leaves_the_others(hub, tmp_path):
    repos = ["tester/none", "tester/good", "tester/good", "tester/seed-2", "tester/old"]
    code = AVAILABLE.format(repos=repos, folder=str(tmp_path / "hub"), with_token=[])
    files, problems = run_client(hub, code, tmp_path / "home", token=None)
    assert files == {"tester/good": ["text.json", "results.json"], "tester/seed-2": ["results.json"]}
    assert list(problems) == ["tester/none", "tester/old"] and str(tmp_path) not in str(problems)
    assert problems["tester/old"].startswith("tester/old: results.json: schema_version: expected 2")


def test_the_token_opens_only_repositories_that_it_is_meant_for(hub, tmp_path):
    repos = ["tester/hidden@main", "tester/hidden", "tester/seed-2"]
    code = AVAILABLE.format(repos=repos, folder=str(tmp_path / "hub"), with_token=["tester/hidden@main"])
    files, problems = run_client(hub, code, tmp_path / "home")
    assert list(files) == ["tester/hidden@main", "tester/seed-2"] and list(problems) == ["tester/hidden"]
    assert problems["tester/hidden"].endswith("there is none, or it is private or gated")


def test_the_command_ranks_runs_on_disk_with_those_of_the_hub(hub, tmp_path):
    write_results(tmp_path / "runs", run="cross", fusion_type="cross_attention")
    arguments = ["leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "board"), "--from-hub", "tester/good"]
    code = f"import json; from trainer.cli import main; print(json.dumps(main({[*arguments, 'tester/seed-2']})))"
    assert run_client(hub, code, tmp_path / "home", token=None) == 0
    table = (tmp_path / "board" / "meld.md").read_text(encoding="utf-8")
    assert "| tester/full | 1, 2 |" in table and "| cross |" in table
    for repo in ("tester/good", "tester/seed-2"):
        sha = hub.repositories["model", repo].resolve("main")
        assert f"{repo}@{sha[:12]}/results.json" in table
    assert str(tmp_path) not in table.replace(str(tmp_path / "runs"), "")
