"""Trainings that publish to a (local) Hub while they run, in processes of their own, as a user starts them."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.hub_repository import Repository
from tests.hub_server import TOKEN, HubServer, client_environment
from trainer.arguments import RunConfig
from trainer.card_folder import check_card
from trainer.checkpointing import BEST
from trainer.cli import main
from trainer.publishing import Publisher
from trainer.results_file import read_results
from trainer.state import Progress, states
from trainer.train import train
from trainer.uploads import Upload, make_pending, pending

ROOT = Path(__file__).resolve().parents[2]
LORA = {"type": "lora", "r": 2, "target_modules": ["q", "v"]}
# Predicts the validation part of MELD with what a tag of the repository holds; the project is not there.
_FRESH = """
import json, sys
sys.path = [entry for entry in sys.path if entry]
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__name__", repr(f)).lower()]
from datasets import load_dataset
from transformers import AutoModelForSeq2SeqLM, AutoProcessor
repo, tag, data = sys.argv[1:]
if "peft" in repo:
    from peft import AutoPeftModelForSeq2SeqLM as AutoModelForSeq2SeqLM
processor = AutoProcessor.from_pretrained(repo, revision=tag, trust_remote_code=True)
model = AutoModelForSeq2SeqLM.from_pretrained(repo, revision=tag, trust_remote_code=True).eval()
assert "modeling_unimse" not in sys.modules and "trainer" not in sys.modules
table = load_dataset("parquet", data_files=f"{data}/data/default/validation-*.parquet", split="train")
rows = list(table.with_format("numpy"))
features = {
    name: [row[name] if getattr(row[name], "ndim", 0) == 2 else None for row in rows]
    for name in ("audio_features", "visual_features")
}
inputs = processor([str(row["text"]) for row in rows], **features)
length = processor.label_trie().max_length
ids = model.generate(**inputs, logits_processor=processor.logits_processor("meld"), max_new_tokens=length)
labels = processor.batch_decode_labels(ids)
print(json.dumps(sum(label.emotion == row["emotion"] for label, row in zip(labels, rows)) / len(rows)))
"""


@pytest.fixture
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture
def settings(run_settings) -> dict:
    return {**run_settings, "epochs": 4, "context_before": 0, "context_after": 0, "learning_rate": 1e-2}


def environment(hub: HubServer, folder: Path, token: str | None = TOKEN) -> dict[str, str]:
    trackers = {"TRACKIO_DIR": str(folder / "trackio")}
    return {**client_environment(hub, folder / "home", token), "OMP_NUM_THREADS": "1", **trackers}


def start(
    hub: HubServer, folder: Path, settings: dict, token: str | None = TOKEN, processes: int = 1
) -> subprocess.Popen:
    path = folder / f"{settings['run']}.yaml"
    path.write_text(yaml.safe_dump(settings))
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    command = [sys.executable, "-m", *(launcher if processes > 1 else []), "trainer.train", str(path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    variables = {**environment(hub, folder, token), "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(command, env=variables, cwd=ROOT, **pipes)


def finish(process: subprocess.Popen) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return out + errors


def tags(hub: HubServer, repo: str) -> dict[str, str]:
    return hub.repositories["model", repo].tags


def newest_step(hub: HubServer, repo: str) -> int:
    return max(int(tag.removeprefix("step-")) for tag in tags(hub, repo) if tag.startswith("step-"))


def logged_accuracy(folder: Path) -> dict[int, float]:
    """Step -> validation accuracy on MELD."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["metrics"]["meld/accuracy"] for line in lines if "metrics" in line}


def fresh_accuracy(hub: HubServer, folder: Path, repo: str, tag: str, data: str) -> float:
    command = [sys.executable, "-c", _FRESH, repo, tag, data]
    variables = {**environment(hub, folder), "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("peft", [None, LORA], ids=["whole", "peft"])
def test_a_fresh_process_gets_the_logged_metric_from_the_newest_tag(peft, hub, settings, tmp_path):
    repo = "tester/peft" if peft else "tester/whole"
    settings = {**settings, "run": "pushed", "peft": peft, "push_to_hub": {"repo": repo, "only_best": False}}
    finish(start(hub, tmp_path, settings))
    folder = tmp_path / "runs" / "pushed" / "seed-1"
    logged = logged_accuracy(folder)
    assert {*tags(hub, repo)} == {*(f"step-{step}" for step in logged), "final"} and len(logged) == 4
    step = newest_step(hub, repo)
    assert fresh_accuracy(hub, tmp_path, repo, f"step-{step}", settings["data"][1]) == logged[step]
    repository = hub.repositories["model", repo]
    assert repository.private and hub.unknown == []
    files = set(repository.tree(f"step-{step}"))
    weights = "adapter_model.safetensors" if peft else "model.safetensors"
    assert {"README.md", "results.json", "processing_unimse.py", "processor_config.json", weights} <= files
    assert "modeling_unimse.py" in repository.tree("base" if peft else "main")
    assert not [name for name in files if name.endswith((".partial", ".bin")) or "state" in name]
    assert json.loads(repository.tree(f"step-{step}")["results.json"].data)["protocol"]["split"] == "validation"
    assert json.loads(repository.tree("final")["results.json"].data)["protocol"]["split"] == "test"
    card = repository.tree("main")["README.md"].data.decode()
    assert ("AutoPeftModelForSeq2SeqLM" in card) == bool(peft) and f'name = "{repo}"' in card
    assert str(tmp_path) not in repository.tree("main")["adapter_config.json"].data.decode() if peft else True
    assert "predictions.parquet" not in repository.tree("final") and "card.yaml" in files
    assert str(tmp_path) not in repository.tree("final")["card.yaml"].data.decode()
    assert TOKEN.encode() not in written(tmp_path / "runs") and TOKEN.encode() not in b"".join(
        blob.data for blob in repository.tree("main").values()
    )
    assert not list((folder / "pending").iterdir())
    check_evaluation_by_name(hub, tmp_path, repo, settings["data"], folder / "results.json")


def check_evaluation_by_name(hub: HubServer, folder: Path, repo: str, data: list[str], results: Path) -> None:
    """`unimse evaluate OWNER/NAME` gives the numbers of the run, and says which revision it read."""
    out = folder / "evaluated.json"
    command = [sys.executable, "-m", "trainer.cli", "evaluate", repo, *data, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment(hub, folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found, expected = read_results(out).content, read_results(results).content
    assert found["metrics"] == expected["metrics"] and found["protocol"] == expected["protocol"]
    revision = hub.repositories["model", repo].tags["final"]
    assert found["checkpoint"] == {**expected["checkpoint"], "repo": repo, "revision": revision}


def test_a_hub_that_goes_away_and_comes_back_changes_nothing(hub, settings, tmp_path):
    """It goes when the first tag is there and is back when the training has ended; what was missed arrives then."""
    repo = "tester/outage"
    settings = {**settings, "epochs": 6, "peft": LORA}
    process = start(hub, tmp_path, {**settings, "run": "pushed", "push_to_hub": {"repo": repo, "only_best": False}})
    wait_for(process, lambda: ("model", repo) in hub.repositories and tags(hub, repo))
    hub.stop()
    folder = tmp_path / "runs" / "pushed" / "seed-1"
    wait_for(process, lambda: (folder / "results.json").exists())
    hub.start_again()
    printed = finish(process)
    assert_weights_of_a_run_that_pushes_nothing(settings, folder / BEST / "adapter_model.safetensors")
    if list((folder / "pending").glob("*.json")):  # the outage was longer than the last attempts
        assert "did not reach the Hub and are kept" in printed
        command = [sys.executable, "-m", "trainer.cli", "push", str(folder), repo]
        subprocess.run(command, env=environment(hub, tmp_path), cwd=ROOT, check=True, capture_output=True)
    logged = logged_accuracy(folder)
    assert {*tags(hub, repo)} == {*(f"step-{step}" for step in logged), "final"} and len(logged) == 6
    assert not list((folder / "pending").iterdir())


def assert_weights_of_a_run_that_pushes_nothing(settings: dict, weights: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other process: sums in another order are other sums
    (path,) = train(RunConfig(**{**settings, "run": "alone", "push_to_hub": None}), progress=False)
    torch.set_num_threads(threads)
    found, alone = load_file(weights), load_file(path.parent / BEST / weights.name)
    assert found.keys() == alone.keys() and all(torch.equal(found[name], alone[name]) for name in alone)


def wait_for(process: subprocess.Popen, condition) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)


def test_killed_during_a_push_nothing_is_lost(hub, settings, tmp_path):
    """SIGKILL while an upload is under way; the resumed run sends it, and its weights are the straight run's."""
    repo = "tester/killed"
    settings = {**settings, "save_every": 2, "push_to_hub": {"repo": repo, "only_best": False}}
    process = start(hub, tmp_path, {**settings, "run": "killed"})
    folder = tmp_path / "runs" / "killed" / "seed-1"
    hub.delay = 5.0  # every answer: the first upload is still under way when the process is killed
    wait_for(process, lambda: list((folder / "pending").glob("*.json")) and len(list(states(folder))))
    process.kill()
    process.communicate()
    hub.delay = 0.0
    assert "going on from" in finish(start(hub, tmp_path, {**settings, "run": "killed"}))
    assert_weights_of_a_run_that_pushes_nothing(settings, folder / BEST / "model.safetensors")
    assert {*tags(hub, repo)} == {*(f"step-{step}" for step in logged_accuracy(folder)), "final"}


@pytest.mark.parametrize(
    ("token", "message"), [("hf_wrong", "tester/x: Invalid user token"), (None, "there is no access token")]
)
def test_without_a_valid_token_it_stops_before_it_begins(token, message, hub, settings, tmp_path):
    process = start(hub, tmp_path, {**settings, "run": "x", "push_to_hub": {"repo": "tester/x"}}, token=token)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"push_to_hub: {message}" in errors.splitlines()[-1]
    assert not list(states(tmp_path / "runs" / "x" / "seed-1"))


def test_a_kill_before_the_last_upload_is_made_good_when_the_command_is_given_again(hub, settings, tmp_path):
    """The run is finished, its `final` was never set aside; and tags of an earlier, longer run do not stay above."""
    settings = {**settings, "run": "late", "epochs": 1}
    (path,) = train(RunConfig(**settings), progress=False)
    repository = hub.repositories.setdefault(("model", "tester/late"), Repository("model", "tester/late", private=True))
    repository.tags.update({"step-999": repository.refs["main"], "mine": repository.refs["main"]})
    printed = finish(start(hub, tmp_path, {**settings, "push_to_hub": {"repo": "tester/late"}}))
    assert f"{path.parent}: finished before" in printed
    assert {*tags(hub, "tester/late")} == {"step-999", "mine", "final"}
    finish(start(hub, tmp_path, {**settings, "push_to_hub": {"repo": "tester/late"}, "overwrite": True}))
    assert {*tags(hub, "tester/late")} == {f"step-{max(logged_accuracy(path.parent))}", "mine", "final"}


def test_only_the_best_is_pushed_and_each_seed_has_its_repository(hub, settings, tmp_path):
    """By two processes, of which one pushes."""
    push = {"repo": "tester/best", "private": False}
    settings = {**settings, "run": "best", "seeds": [1, 2], "epochs": 3, "push_to_hub": push}
    printed = finish(start(hub, tmp_path, settings, processes=2))
    assert printed.count("seed-2/results.json: ") == 1
    for seed in (1, 2):
        folder = tmp_path / "runs" / "best" / f"seed-{seed}"
        assert json.loads((folder / "environment.json").read_text())["processes"] == 2
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        best = {f"step-{line['step']}" for line in lines if line.get("best")}
        assert {*tags(hub, f"tester/best-seed-{seed}")} == {*best, "final"}
        assert not hub.repositories["model", f"tester/best-seed-{seed}"].private


def test_a_finished_run_is_pushed_by_the_command(hub, settings, tmp_path, capsys):
    (path,) = train(RunConfig(**{**settings, "run": "plain", "epochs": 1, "peft": LORA}), progress=False)
    folder, repo = path.parent, "tester/by-hand-peft"
    assert main(["push", str(folder), repo, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert f"{repo}@final: " in printed and f"{repo}@base: " in printed
    assert "model.safetensors" in printed and not (folder / "pending").exists() and not hub.repositories
    command = [sys.executable, "-m", "trainer.cli", "push", str(folder), repo, "--public"]
    done = subprocess.run(command, env=environment(hub, tmp_path), cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{folder} -> {hub.url}/{repo}/commit/" in done.stdout
    sent = [name for tag in ("final", "base") for name in hub.repositories["model", repo].tree(tag)]
    listed = {line.split()[1] for line in printed.splitlines() if line.startswith(" ")}
    assert listed == {*sent} - {".gitattributes"}
    results = json.loads((folder / "results.json").read_text())
    card = hub.repositories["model", repo].tree("main")["README.md"].data.decode()
    assert f"{100 * results['metrics']['meld/accuracy']:.2f}" in card


def test_uploads_that_wait_are_sent_by_the_command_and_to_their_repository_only(hub, settings, tmp_path, capsys):
    (path,) = train(RunConfig(**{**settings, "run": "waits", "epochs": 1}), progress=False)
    folder = path.parent
    make_pending(folder, "00000003", Upload("tester/waits", "x", tag="step-3"), lambda out: (out / "a").write_text("a"))
    assert main(["push", str(folder), "tester/other", "--dry-run"]) == 1
    assert "what is pending there goes to tester/waits, got tester/other" in capsys.readouterr().err
    command = [sys.executable, "-m", "trainer.cli", "push", str(folder), "tester/waits"]
    subprocess.run(command, env=environment(hub, tmp_path), cwd=ROOT, capture_output=True, check=True)
    assert {*tags(hub, "tester/waits")} == {"step-3", "final"} and not pending(folder)


def test_predictions_are_pushed_only_where_asked_and_go_with_the_next_push(hub, settings, tmp_path):
    """By a training, then by hand without them; both by hand and by the training the card can be checked there."""
    repo, push = "tester/open", {"repo": "tester/open", "with_predictions": True}
    finish(start(hub, tmp_path, {**settings, "run": "open", "epochs": 1, "push_to_hub": push}))
    folder, repository = tmp_path / "runs" / "open" / "seed-1", hub.repositories["model", repo]
    parquet = repository.tree("final")["predictions.parquet"].data
    assert parquet == (folder / "predictions.parquet").read_bytes()
    assert not [name for name in repository.tree(f"step-{newest_step(hub, repo)}") if name.endswith(".parquet")]
    assert checked(repository, "final", tmp_path / "with").endswith("recomputed; weights: those that were scored")
    by_hand(hub, tmp_path, "push", str(folder), repo)
    assert "predictions.parquet" not in repository.tree("final") and "predictions.parquet" not in repository.tree(
        "main"
    )
    assert checked(repository, "main", tmp_path / "without").endswith("no predictions; weights: those that were scored")
    by_hand(hub, tmp_path, "push", str(folder), repo, "--with-predictions")
    assert repository.tree("main")["predictions.parquet"].data == parquet


def by_hand(hub: HubServer, folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "trainer.cli", *words]
    done = subprocess.run(command, env=environment(hub, folder), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def checked(repository: Repository, revision: str, folder: Path) -> str:
    """What `unimse card --check` finds in a copy of a repository."""
    for name, blob in repository.tree(revision).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(blob.data)
    return check_card(folder)


def test_a_published_folder_tells_its_training_and_takes_the_name_it_is_pushed_under(hub, settings, tmp_path, capsys):
    paths = train(RunConfig(**{**settings, "run": "named", "epochs": 1, "seeds": [1, 2]}), progress=False)
    out, run = tmp_path / "published", str(paths[0].parent)
    assert main(["publish", run, str(out), "--results", *map(str, paths)]) == 0
    card = (out / "README.md").read_text("utf-8")
    assert 'name = "OWNER/unimse"' in card and "| started from | scratch |" in card and "| epochs | 1 |" in card
    assert "| learning rate | 0.01 |" in card and "| training data | mosi 24 rows (" in card
    assert (out / "results" / "named-seed-2" / "results.json").is_file() and not [*out.rglob("*.parquet")]
    assert str(tmp_path) not in (out / "card.yaml").read_text("utf-8")
    assert check_card(out).endswith("no predictions; weights: those that were scored")
    (out / "README.md").write_text("mine")
    by_hand(hub, tmp_path, "push", str(out), "tester/other")
    assert hub.repositories["model", "tester/other"].tree("main")["README.md"].data == b"mine"
    assert main(["card", str(out)]) == 0
    by_hand(hub, tmp_path, "push", str(out), "tester/named")
    assert 'name = "tester/named"' in hub.repositories["model", "tester/named"].tree("main")["README.md"].data.decode()
    assert main(["publish", run, str(out), "--overwrite", "--with-predictions", "--repo", "me/x"]) == 0
    assert (out / "predictions.parquet").is_file() and 'name = "me/x"' in (out / "README.md").read_text("utf-8")
    capsys.readouterr()
    assert main(["push", str(out), "me/x", "--with-predictions"]) == 1
    assert "--with-predictions is for run folders" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("only_best", "since_best", "due"),
    [
        # epochs 1 to 8, every third of which is pushed, and the last; patience ends the run at the fifth
        (False, [0, 0, 1, 2, 3], [3, 5]),
        (True, [0, 1, 2, 0, 1], [3]),
        (True, [0, 1, 2, 3, 4], [3]),
        (False, [0, 0, 0, 0, 0, 0, 0, 0], [3, 6, 8]),
    ],
)
def test_every_third_validation_is_pushed_and_the_last(only_best, since_best, due, tmp_path):
    push = {"repo": "me/x", "every": 3, "only_best": only_best}
    config = RunConfig(run="x", data=["x"], epochs=8, patience=3, push_to_hub=push)
    publisher = Publisher(config, 1, tmp_path, is_main=False)
    found = [
        epoch for epoch, since in enumerate(since_best, 1) if publisher.is_due(Progress(epoch=epoch, since_best=since))
    ]
    assert found == due


def test_what_is_no_run_is_not_pushed(tmp_path, capsys):
    (tmp_path / "run" / "seed-1").mkdir(parents=True)
    assert main(["push", str(tmp_path / "run"), "me/x"]) == 1
    assert "expected the run folder of one seed, such as" in capsys.readouterr().err
    assert main(["push", str(tmp_path), "me/x"]) == 1
    assert f"unimse push: {tmp_path}" in capsys.readouterr().err
