"""A training that is killed and resumed ends as one that was not; states are whole or passed over."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trainer.arguments import RunConfig
from trainer.checkpointing import BEST, only_here, run_folder
from trainer.loop import Loop
from trainer.state import newest_state, states
from trainer.train import train


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def settings(run_settings):
    """Everything that is random is on: dropout, modality dropout, augmentation; six steps an epoch."""
    model = {**run_settings["model"], "modality_encoder_dropout": 0.2}
    model["text_config"] = {**model["text_config"], "dropout_rate": 0.1}
    random = {"modality_dropout": 0.2, "augmentation": {"noise": 0.3, "token_mask": 0.1, "time_stretch": 0.1}}
    return {**run_settings, "model": model, **random, "epochs": 3, "save_every": 2, "keep_last": 2, "log_every": 1}


def outcome(folder) -> tuple[dict, list, dict]:
    """Weights, log without what the clock says, and metrics."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for line in log:
        line.pop("tokens/s", None)
    return (
        load_file(folder / BEST / "model.safetensors"),
        log,
        json.loads((folder / "results.json").read_text())["metrics"],
    )


def kill_at(monkeypatch, target: str, count: int) -> None:
    """The next run is killed the `count`-th time that it comes to a function."""
    module, name = target.rsplit(".", 1)
    owner = Loop if module == "Loop" else __import__(f"trainer.{module}", fromlist=[name])
    original, calls = getattr(owner, name), []

    def killed(*arguments, **named):
        calls.append(None)
        if len(calls) == count:
            raise Killed
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, killed)


def run_killed(monkeypatch, config, target: str, count: int) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, target, count)
        with pytest.raises(Killed):
            train(config, progress=False)


def test_killed_anywhere_and_resumed_is_the_straight_run(settings, monkeypatch, capsys):
    straight = RunConfig(**{**settings, "run": "straight"})
    (path,) = train(straight, progress=False)
    killed = RunConfig(**{**settings, "run": "killed"})
    for target, count in (
        ("Loop._step", 2),  # before any state
        ("Loop._step", 4),
        ("state-*", None),  # a whole state under its passing name
        ("Loop._validate", 1),
        ("loop.save_checkpoint", 1),
        ("Loop._step", 2),
        ("loop.save_state", 1),  # the best checkpoint is newer than the state
        (BEST, None),  # between the two renames of the best checkpoint
        ("train._test", 1),
    ):
        if count is None:
            kill_rename(monkeypatch, killed, target)
        else:
            run_killed(monkeypatch, killed, target, count)
    (again,) = train(killed, progress=False)
    assert "going on from" in capsys.readouterr().out
    weights, log, metrics = outcome(path.parent)
    found, found_log, found_metrics = outcome(again.parent)
    assert found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)
    assert found_log == log
    assert found_metrics == metrics
    resumed = json.loads((again.parent / "environment.json").read_text())["resumed"]
    assert [one["seed"] for one in resumed] == [1] * 9
    assert [one["from"] and one["from"].partition("-")[0] for one in resumed] == [None] + ["state"] * 8
    assert not list(again.parent.glob(".*.unimse-*"))


def kill_rename(monkeypatch, config, name: str) -> None:
    """As `run_killed`, when a folder that was written aside is put in the place of an older one, or of none."""
    replace, remove = os.replace, shutil.rmtree

    def killed(source, target):
        if Path(source).match(f".{name}.unimse-new") and (
            name != BEST or Path(source).parent.joinpath(f".{BEST}.unimse-old").exists()
        ):
            patch.setattr(shutil, "rmtree", lambda *arguments, **named: None)  # a kill tidies nothing
            raise Killed
        return replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(Killed):
            train(config, progress=False)
    assert shutil.rmtree is remove


def test_states_are_rotated_and_broken_ones_passed_over_by_name(settings, monkeypatch, capsys):
    config = RunConfig(**settings)
    run_killed(monkeypatch, config, "Loop._step", 12)
    folder = run_folder(config, 1)
    older, newer = sorted(states(folder))
    assert [older.name, newer.name] == ["state-00000008", "state-00000010"]
    weights = newer / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert newest_state(folder) == (older, {newer: f"{newer.name}: pytorch_model.bin: missing or changed"})
    (older / "notes.txt").write_text("a user's")
    (newer / "whole.json").write_text("{")
    assert newest_state(folder)[1] == {newer: f"{newer.name}: whole.json is missing or cut off"}
    train(config, progress=False)
    printed = capsys.readouterr().out
    assert f"passed over, broken: {newer}" in printed and f"going on from {older}" in printed
    assert (older / "notes.txt").is_file() and not (older / "whole.json").exists()  # pruned, but for a user's file
    kept = folder / f"broken-{newer.name}"
    assert (kept / "whole.json").read_text() == "{" and f"kept as {kept.name}" in printed


def test_a_run_whose_states_are_all_broken_is_refused_and_loses_nothing(settings, monkeypatch):
    """One flipped bit in the only state must not cost the best checkpoint."""
    config = RunConfig(**{**settings, "keep_last": 1})
    run_killed(monkeypatch, config, "Loop._step", 12)
    folder = run_folder(config, 1)
    (state,) = states(folder)
    flip_a_bit(state / "pytorch_model.bin")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for _ in range(2):  # the second time too
        with pytest.raises(
            ValueError, match=f"seed-1: expected a whole training state .* only broken ones \\({state.name}: p.*Nothing"
        ):
            train(config, progress=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(ValueError, match="a run with other learning_rate was begun here"):
        train(RunConfig(**{**settings, "keep_last": 1, "learning_rate": 1e-3}), progress=False)
    train(RunConfig(**{**settings, "keep_last": 1, "resume": "never"}), progress=False)
    assert not list(folder.glob("broken-*")) and (folder / "results.json").is_file()


def test_a_best_checkpoint_without_states_is_kept_under_another_name(settings, monkeypatch, capsys):
    config = RunConfig(**settings)
    run_killed(monkeypatch, config, "Loop._step", 12)
    folder = run_folder(config, 1)
    for state in list(states(folder)):
        shutil.rmtree(state)  # by a user who needs the room
    weights = (folder / BEST / "model.safetensors").read_bytes()
    train(config, progress=False)
    assert (folder / f"earlier-1-{BEST}" / "model.safetensors").read_bytes() == weights
    assert (folder / "earlier-1-validation.json").is_file() and (folder / "earlier-1-log.jsonl").is_file()
    assert f"which is kept as earlier-1-{BEST}" in capsys.readouterr().out
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in log if "tokens/s" in line]
    assert steps == sorted(set(steps))


def test_a_run_stays_in_its_folder_and_spares_what_is_not_its_own(settings, tmp_path):
    victim = Path(settings["output_dir"]) / "tiny" / "seed-1"
    victim.mkdir(parents=True)
    (victim / "thesis.txt").write_text("years")
    for wish in ({}, {"overwrite": True}, {"resume": "never"}):
        with pytest.raises(
            FileExistsError, match="seed-1: is not empty and no run folder, so nothing is written there"
        ):
            train(RunConfig(**settings, **wish), progress=False)
    (victim / "thesis.txt").rename(tmp_path / "thesis.txt")
    config = RunConfig(**{**settings, "epochs": 1})
    train(config, progress=False)
    (victim / "notes.txt").write_text("a user's")
    train(RunConfig(**{**settings, "epochs": 1, "overwrite": True}), progress=False)
    assert (victim / "notes.txt").read_text() == "a user's"
    assert "overwrite" not in (victim / "config.yaml").read_text()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_run_of_another_configuration_is_not_gone_on_with(settings, monkeypatch):
    run_killed(monkeypatch, RunConfig(**settings), "Loop._step", 4)
    with pytest.raises(ValueError, match="a run with other learning_rate was begun here.*--resume never"):
        train(RunConfig(**{**settings, "learning_rate": 1e-3}), progress=False)
    train(RunConfig(**{**settings, "learning_rate": 1e-3, "resume": "never", "epochs": 1}), progress=False)


def test_a_loss_that_is_no_number_stops_and_names_its_samples(settings, monkeypatch):
    import trainer.loop as module

    original, calls = module.train_step, []

    def poisoned(*arguments):
        losses, norm = original(*arguments)
        calls.append(None)
        return ({**losses, "task_loss": torch.tensor(float("nan"))}, norm) if len(calls) == 3 else (losses, norm)

    monkeypatch.setattr(module, "train_step", poisoned)
    config = RunConfig(**{**settings, "log_every": 5})
    with pytest.raises(FloatingPointError, match="step 3: a loss or the gradient is NaN or infinite"):
        train(config, progress=False)
    bad = json.loads((run_folder(config, 1) / "bad-batch-0.json").read_text())
    assert bad["step"] == 3 and bad["losses"]["task_loss"] == "nan" and len(bad["ids"]) == 8
    assert all(name.split("/")[1] == "train" for name in bad["ids"])


def test_two_runs_do_not_train_in_one_folder(settings, monkeypatch):
    """Such as the processes of a launcher that was killed without them."""
    config = RunConfig(**{**settings, "epochs": 1})
    monkeypatch.setattr("trainer.checkpointing.LOCK_WAIT", 0.0)
    with only_here(run_folder(config, 1)):
        with pytest.raises(FileExistsError, match="seed-1: another process is writing it; wait for it, or end it"):
            train(config, progress=False)
    train(config, progress=False)
