"""The metrics as Spaces: pushed to a (local) Hub, loaded by name in a fresh process, and their pages."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import RepoCard, SpaceCardData

from tests.hub_server import HubServer, run_client
from trainer import push
from trainer.cli import main
from trainer.metrics.erc_classification.erc_classification import score_emotions
from trainer.metrics.msa_regression.msa_regression import score_sentiment

ROOT = Path(__file__).parents[3]
METRICS = ROOT / "trainer" / "metrics"
NAMES = ("msa_regression", "erc_classification")
FILES = [".gitattributes", "README.md", "app.py", "requirements.txt"]
SENTIMENTS = {"predictions": [None, 1.5, -0.5, 0.0], "references": [1.0, 2.0, -1.0, 1 / 3]}
EMOTIONS = {"predictions": [None, "joy", "fear", "excited"], "references": ["fear", "joy", "joy", "anger"]}

PUSH = """
import json
from huggingface_hub import HfApi
from trainer.cli import main

api = HfApi()
codes = [
    main(["push", f"{METRICS}/msa_regression", "tester/msa_regression"]),
    main(["push", f"{METRICS}/erc_classification", "tester/erc_classification", "--public"]),
    main(["push", f"{METRICS}/msa_regression", "tester/sentiment"]),
]
spaces = [api.space_info(f"tester/{name}") for name in ("msa_regression", "erc_classification")]
print(json.dumps({
    "codes": codes, "listed": [one.id for one in api.list_spaces(author="tester")],
    "sdk": [one.sdk for one in spaces], "private": [one.private for one in spaces],
    "tags": [one.card_data.tags for one in spaces],
    "files": [sorted(file.rfilename for file in one.siblings) for one in spaces],
}))
"""

LOAD = """
import json, os, sys
sys.path = [entry for entry in sys.path if entry not in ("", ROOT)]
os.chdir(os.environ["HF_HOME"])
import evaluate

def computed(name, options):
    try:
        metric = evaluate.load(f"tester/{name}")
    except Exception as error:
        return type(error).__name__
    assert os.path.realpath(sys.modules[type(metric).__module__].__file__).startswith(os.path.realpath("."))
    return metric.compute(**options, resamples=30)

found = {name: computed(name, options) for name, options in INPUTS.items()}
assert not {"trainer", "modeling_unimse", "dataset_scripts"} & set(sys.modules)
print(json.dumps(found))
"""

PUSH_AGAIN = """
import json
from pathlib import Path
from huggingface_hub import HfApi
from trainer.push import push_space

folder, api = Path(FOLDER), HfApi()
first = push_space(folder, "tester/leaderboard", private=False)
(folder / "old.py").unlink()
(folder / "app.py").write_text("print(2)")
(folder / "__pycache__").mkdir()
(folder / "__pycache__" / "app.cpython-311.pyc").write_bytes(b"x")
second = push_space(folder, "tester/leaderboard")
print(json.dumps({
    "commits": [first, second], "private": api.space_info("tester/leaderboard").private,
    "files": sorted(api.list_repo_files("tester/leaderboard", repo_type="space")),
    "app": Path(api.hf_hub_download("tester/leaderboard", "app.py", repo_type="space")).read_text(),
}))
"""


@pytest.fixture(scope="module")
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def pushed(hub, tmp_path_factory) -> dict:
    return run_client(hub, f"METRICS = {str(METRICS)!r}\n{PUSH}", tmp_path_factory.mktemp("home"))


def load(hub, home, **who):
    """What a fresh process that has nothing of ours computes by both metrics."""
    inputs = {"msa_regression": {**SENTIMENTS, "failure_penalty": 6.0}, "erc_classification": EMOTIONS}
    return run_client(hub, f"ROOT, INPUTS = {str(ROOT)!r}, {inputs!r}\n{LOAD}", home, **who)


def test_the_command_line_makes_spaces_of_the_metrics(pushed):
    assert pushed["codes"] == [0, 0, 1]  # another name than the module's could not be loaded
    assert pushed["listed"] == ["tester/msa_regression", "tester/erc_classification"]
    assert pushed["sdk"] == ["gradio", "gradio"] and pushed["private"] == [True, False]
    assert all(tags == ["evaluate", "metric"] for tags in pushed["tags"])
    assert pushed["files"] == [sorted([*FILES, f"{name}.py"]) for name in NAMES]


def test_a_fresh_process_loads_both_by_name_and_computes_the_same(hub, pushed, tmp_path):
    found = load(hub, tmp_path)
    assert found["msa_regression"] == score_sentiment(**SENTIMENTS, failure_penalty=6.0, resamples=30)
    assert found["erc_classification"] == score_emotions(**EMOTIONS, resamples=30)
    assert hub.unknown == []


def test_without_a_token_only_the_public_one_is_there(hub, pushed, tmp_path):
    found = load(hub, tmp_path, token=None)
    assert found["msa_regression"] == "FileNotFoundError"
    assert found["erc_classification"] == score_emotions(**EMOTIONS, resamples=30)


def space(folder: Path, card: str = "---\nsdk: gradio\n---\n") -> Path:
    folder.mkdir()
    for name, text in (("README.md", card), ("app.py", "print(1)"), ("old.py", ""), ("data.json", "{}")):
        (folder / name).write_text(text)
    return folder


def test_a_space_has_only_code_and_declared_data_of_the_packages_that_it_imports(tmp_path, monkeypatch):
    folder = space(tmp_path / "leaderboard")
    for name in (".env", ".venv/lib.py", "inner/.env", "app.pyc"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    package = tmp_path / "trainer"
    sent = ["configs/a.yaml", "folds/a.json", "loop.py", "page.css", "page.html", "page.js", "card.md", "needs.txt"]
    kept = [".env", "configs/.env", "runs/results.json", "model.safetensors", "__pycache__/a.py", ".venv/a.py", "a.py~"]
    for name in [*sent, *kept]:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("")
    monkeypatch.setattr(push, "_PACKAGES", (package,))
    own = ["README.md", "app.py", "data.json", "old.py"]
    assert planned(folder) == own
    (folder / "app.py").write_text("from trainer.leaderboard import build_board")
    assert planned(folder) == own + sorted(f"trainer/{name}" for name in sent)


def planned(folder: Path) -> list[str]:
    ((_, files),) = push.planned_files(folder, f"tester/{folder.name}")
    return [name for name, _ in files]


def test_a_space_pushed_again_loses_old_code_and_stays_as_public_as_it_was(hub, tmp_path):
    folder = space(tmp_path / "leaderboard")
    found = run_client(hub, f"FOLDER = {str(folder)!r}\n{PUSH_AGAIN}", tmp_path / "home")
    assert found["files"] == [".gitattributes", "README.md", "app.py", "data.json"]
    assert found["app"] == "print(2)" and found["private"] is False
    assert all(address.startswith(f"{hub.url}/spaces/tester/leaderboard/commit/") for address in found["commits"])


def test_a_dry_run_lists_the_files_and_sends_nothing(capsys, tmp_path):
    folder = tmp_path / "msa_regression"
    shutil.copytree(METRICS / "msa_regression", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "app.cpython-311.pyc").write_bytes(b"x")
    assert main(["push", str(folder), "me/msa_regression", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("me/msa_regression: 4 files")
    assert [line.split()[1] for line in lines[1:]] == ["README.md", "app.py", "msa_regression.py", "requirements.txt"]


@pytest.mark.parametrize(
    ("card", "repo", "message"),
    [
        ("---\nsdk: flask\n---\n", "me/x", "sdk: expected one of .*gradio.*, got 'flask'"),
        ("---\nsdk: [gradio\n---\n", "me/x", "README.md: its front matter cannot be read"),
        ("---\nsdk: gradio\n---\n", "x", "x: expected owner/name of a Hub repository"),
        ("---\nsdk: gradio\ntags: [evaluate]\n---\n", "me/x", r"me/x: a metric .* has no x\.py; push it to me/space"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_folder_that_could_be_no_space_is_refused_before_the_hub_is_asked(
    tmp_path, capsys, card, repo, message, options
):
    assert main(["push", str(space(tmp_path / "space", card)), repo, *options]) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_heads_a_space_that_evaluate_finds(name):
    data = RepoCard.load(METRICS / name / "README.md").data.to_dict()
    card = SpaceCardData(**data)
    assert (card.sdk, card.app_file, card.tags) == ("gradio", "app.py", ["evaluate", "metric"])
    assert set(data) >= {"title", "emoji", "colorFrom", "colorTo", "license", "description"} and data["pinned"] is False
    assert (METRICS / name / card.app_file).is_file() and card.sdk_version.startswith("6.")  # as in the extra [space]


def test_an_installed_package_has_all_files_of_both_spaces(tmp_path):
    """Built from a copy, since setuptools writes beside the sources."""
    for part in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "modeling_unimse", "dataset_scripts", "trainer"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        copy(ROOT / part, tmp_path / part)
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for name in NAMES:
        there = {path.name for path in (tmp_path / "built" / "trainer" / "metrics" / name).iterdir()}
        assert there == {"README.md", "app.py", "requirements.txt", f"{name}.py"}


# --- the pages --------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(monkeypatch):
    """Opens the page of a metric and gives what asks it, as a browser does."""
    pytest.importorskip("gradio", reason="the pages need Gradio, of the extra [space]")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    from gradio_client import Client

    opened = []

    def ask(name):
        opened.append(importlib.import_module(f"trainer.metrics.{name}.app").build_page())
        _, address, _ = opened[-1].launch(prevent_thread_lock=True, quiet=True, show_error=True)
        client = Client(address, verbose=False)

        def compute(rows=None, *options):
            """What the page shows for rows and options; without any, for those that it opens with."""
            table = [] if rows is None else [{"headers": ["predictions", "references"], "data": rows}]
            return client.predict(*table, *options, api_name="/compute")

        return compute

    yield ask
    for one in opened:
        one.close()


def test_the_page_of_msa_computes_what_stands_in_its_table(page):
    compute = page("msa_regression")
    rows = [["1.5", "1"], ["", "2"], ["-0.4", "-1"], ["", ""]]
    expected = score_sentiment([1.5, None, -0.4], [1, 2, -1], 6.0, resamples=100)
    assert compute(rows, "6", 100) == expected
    assert compute()["parse_failures"] == 1 and compute()["mae"] is None  # as the page opens: no penalty
    assert compute([["", ""]], "", 0)["samples"] == 0
    for cell, message in (("nan", r"predictions\[0\]: expected a finite number"), ("x", r"\[0\]: expected a number")):
        with pytest.raises(Exception, match=message):
            compute([[cell, "1"]], "", 0)


def test_the_page_of_erc_computes_what_stands_in_its_table(page):
    compute = page("erc_classification")
    rows = [["joy", "joy"], ["", "fear"], [" excited ", "joy"], ["", ""]]
    expected = score_emotions(["joy", None, "excited"], ["joy", "fear", "joy"], ["joy", "fear"], resamples=100)
    assert compute(rows, "joy, fear", 100) == expected
    assert compute()["parse_failures"] == 1 and compute()["intervals"]["accuracy"][1] < 1
    assert compute(rows, "", 0)["confusion"]["labels"] == ["excited", "fear", "joy"]
    with pytest.raises(Exception, match=r"references\[0\]: expected one of joy, fear, got 'anger'"):
        compute([["joy", "anger"]], "joy, fear", 0)
