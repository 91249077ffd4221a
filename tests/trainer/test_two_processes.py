"""Two processes train the model that one trains on batches of twice the size, and evaluate every sample once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file

from tests.trainer.tracked import expected_values, run_names, trackio_tables, trackio_values
from trainer.arguments import RunConfig
from trainer.checkpointing import BEST
from trainer.train import check_processes, train

ROOT = Path(__file__).resolve().parents[2]
needs_two = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")


def start_two(settings: dict, folder: Path, *before: Path) -> subprocess.Popen:
    """The run of these settings, after those of some config files."""
    config = folder / "two.yaml"
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["HF_DATASETS_CACHE"] = str(folder / "cache")
    command += ["-m", "trainer.train", *map(str, before), str(config)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)


def train_in_two(settings: dict, folder: Path, *before: Path) -> str:
    """What it printed."""
    process = start_two(settings, folder, *before)
    out, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    return out


def kill_in_two(settings: dict, folder: Path, wanted: Path) -> None:
    """Kills all processes as soon as a state is there."""
    process = start_two(settings, folder)
    while not wanted.exists():
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    subprocess.run(["pkill", "-9", "-f", str(folder / "two.yaml")], check=False)  # torchrun's workers have own groups
    process.communicate()


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@needs_two
def test_two_processes_are_one_with_the_doubled_batch(run_settings, tmp_path):
    """Losses over 20 steps, contrastive ones with gathered negatives among them; then every test sample, once."""
    settings = {**run_settings, "epochs": 7, "log_every": 1, "evaluate_every": 7}
    train_in_two({**settings, "run": "two", "batch_size": 8}, tmp_path)
    two = tmp_path / "runs" / "two" / "seed-1"
    assert json.loads((two / "environment.json").read_text())["processes"] == 2
    (path,) = train(RunConfig(**{**settings, "run": "one", "batch_size": 16}), progress=False)
    steps = [[line for line in logged(folder) if "grad_norm" in line] for folder in (path.parent, two)]
    assert len(steps[0]) == len(steps[1]) >= 20
    for one, other in zip(*steps, strict=True):
        for name in ("loss", "task_loss", "audio_contrastive_loss", "visual_contrastive_loss"):
            assert other[name] == pytest.approx(one[name], abs=1e-5), (name, one["step"])
    ids = datasets.Dataset.from_parquet(str(two / "predictions.parquet"))["id"]
    assert sorted(ids) == sorted(f"{name}/test/{index}" for name in ("mosi", "meld") for index in range(10))


@needs_two
def test_two_processes_go_on_where_they_were_killed(run_settings, tmp_path):
    model = {**run_settings["model"]}
    model["text_config"] = {**model["text_config"], "dropout_rate": 0.1}
    settings = {**run_settings, "model": model, "epochs": 2, "save_every": 2, "batch_size": 4}
    train_in_two({**settings, "run": "two-straight"}, tmp_path)
    killed = {**settings, "run": "two-killed"}
    kill_in_two(killed, tmp_path, tmp_path / "runs" / "two-killed" / "seed-1" / "state-00000004")
    assert "going on from" in train_in_two(killed, tmp_path)
    straight, resumed = (
        load_file(tmp_path / "runs" / run / "seed-1" / BEST / "model.safetensors")
        for run in ("two-straight", "two-killed")
    )
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    for run in ("two-straight", "two-killed"):  # only the main process has a tracker, and the kill broke nothing in it
        folder = tmp_path / "runs" / run / "seed-1"
        assert len(run_names(folder)) == 1 and len(trackio_tables(folder)) == 2
        expected, found = expected_values(folder), trackio_values(folder)
        assert found.keys() == expected.keys()
        assert all(found[key] == expected[key] for key in expected if "tokens" not in key[1])


@needs_two
def test_two_processes_stay_together_after_a_run_that_was_finished_before(run_settings, tmp_path):
    """Nothing may ask accelerate for its state before an Accelerator says that this is a CPU: both would be alone."""
    settings = {**run_settings, "epochs": 1}
    train(RunConfig(**{**settings, "run": "first"}), progress=False)
    (tmp_path / "first.yaml").write_text(yaml.safe_dump({**settings, "run": "first"}))
    printed = train_in_two({**settings, "run": "second"}, tmp_path, tmp_path / "first.yaml")
    second = tmp_path / "runs" / "second" / "seed-1"
    assert json.loads((second / "environment.json").read_text())["processes"] == 2
    assert printed.count("| second | 1 |") == 1 and (tmp_path / "runs" / "summary.md").is_file()


def test_processes_that_do_not_know_of_each_other_are_refused(run_settings, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="expected 2 processes that train together.* but accelerate sees 1"):
        check_processes(Accelerator())
