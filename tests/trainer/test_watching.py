"""The bar, the log and the trackers of a training: what they show is what was, and none of them can end it."""

import importlib.util
import json
import os
import threading
from pathlib import Path

import pytest
from accelerate.tracking import TensorBoardTracker

from tests.trainer.tracked import (
    expected_values,
    run_names,
    tensorboard_tables,
    tensorboard_values,
    trackio_tables,
    trackio_values,
)
from trainer import watching
from trainer.arguments import RunConfig
from trainer.checkpointing import run_folder
from trainer.loop import Loop
from trainer.train import load_data, train
from trainer.watching import COLUMNS, Watch, gold_label, sample_rows


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def settings(run_settings) -> dict:
    return {**run_settings, "log_every": 1, "trackers": ["trackio", "tensorboard"]}


def senders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "_local_batch_sender" in thread.name]


def test_trackers_hold_what_the_log_holds_for_each_seed(settings, capfd):
    watching._say_once.cache_clear()
    paths = train(RunConfig(**{**settings, "run": "values", "seeds": [1, 2]}), progress=False)
    for path in paths:
        expected = expected_values(path.parent)
        names = {name for _, name in expected}
        assert {"train/task_loss", "train/grad_norm", "learning_rate/backbone", "validation/mosi/mae"} < names
        assert {step for step, name in expected if name == "train/loss"} == set(range(1, 13))
        assert trackio_values(path.parent) == expected
        assert tensorboard_values(path.parent) == pytest.approx(expected, rel=1e-5)
        assert len(run_names(path.parent)) == 1
    assert not senders()
    printed = capfd.readouterr().out
    assert printed.count("trackio show --project unimse, tensorboard --logdir") == 1
    assert "rackio" not in printed.replace("trackio show", "")  # none of trackio's own notices


def test_the_same_rows_of_each_benchmark_are_shown_at_every_validation(settings, monkeypatch):
    original, seen = Watch.validated, []

    def validated(self, line, rows):
        """Each validation predicts something else, and no label for every third row."""
        seen.append([{**row, "prediction": f"label {len(seen)}-{n}" if n % 3 else None} for n, row in enumerate(rows)])
        original(self, line, seen[-1])

    monkeypatch.setattr(Watch, "validated", validated)
    (path,) = train(RunConfig(**{**settings, "run": "tables", "epochs": 3}), progress=False)
    tables = trackio_tables(path.parent)
    assert len(tables) == len(seen) == 3
    for table, rows in zip(tables, seen, strict=True):
        predicted = {row["id"]: row["prediction"] or "(no label)" for row in rows}
        assert [row["id"].split("/")[0] for row in table] == ["mosi"] * 4 + ["meld"] * 4
        assert [row["id"] for row in table] == [row["id"] for row in tables[0]]
        assert all(row["predicted label"] == predicted[row["id"]] for row in table)
    assert tables[0][4]["text"] == "utterance 0 of 0 is glad" and tables[0][4]["gold label"] == "positive,-,joy"
    assert {row["predicted label"] for row in tables[2]} > {"label 2-2", "(no label)"}
    lines = [table.splitlines()[2:] for table in tensorboard_tables(path.parent)]
    assert lines == [[f"| {' | '.join(row[name] for name in COLUMNS)} |" for row in table] for table in tables]


def test_shown_rows_are_spread_and_gold_is_only_gold(settings):
    data = load_data(RunConfig(**settings)).validation
    assert [row["id"][-1] for row in sample_rows({"mosi": data["mosi"]}, 4)] == ["0", "2", "4", "6"]
    assert len(sample_rows({"mosi": data["mosi"]}, 100)) == 8
    assert gold_label(data["mosi"].rows[1]) == "negative,-2.2,-"
    assert gold_label(data["meld"].rows[2]) == "neutral,-,neutral"


def test_a_resumed_run_goes_on_in_its_tracker_run(settings, monkeypatch):
    """The kill is three steps after the state, so that three steps are logged twice, and takes a line from trackio."""
    config = RunConfig(**{**settings, "run": "resumed", "save_every": 4, "epochs": 3})
    folder = run_folder(config, 1)
    original, calls, dropped = Loop._step, [], []

    def killed(self, group):
        calls.append(None)
        if len(calls) == 8:
            raise Killed
        original(self, group)

    def losing(run, logs):
        dropped.extend(entry for entry in logs if entry["step"] == 3)
        write(run, [entry for entry in logs if entry["step"] != 3])

    import trackio.run

    write = trackio.run.Run._write_logs_to_sqlite
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", killed)
        patch.setattr(trackio.run.Run, "_write_logs_to_sqlite", losing)
        with pytest.raises(Killed):
            train(config, progress=False)
    assert dropped and not senders()
    assert max(step for step, _ in trackio_values(folder)) == 7
    train(config, progress=False)
    assert len(run_names(folder)) == 1
    expected = expected_values(folder)
    speeds = {key for key in expected if key[1] == "train/tokens_per_second"}  # of repeated steps, the first one stays
    found, shown = trackio_values(folder), tensorboard_values(folder)
    assert found.keys() == shown.keys() == expected.keys()
    for key in expected.keys() - speeds:
        assert found[key] == expected[key] and shown[key] == pytest.approx(expected[key], rel=1e-5), key
    assert len(trackio_tables(folder)) == len(tensorboard_tables(folder)) == 3


def test_a_run_goes_on_with_other_trackers(settings, monkeypatch):
    """trackio then has the whole run, from its log."""
    config = RunConfig(**{**settings, "run": "others", "trackers": []})
    with monkeypatch.context() as patch:
        patch.setattr("trainer.train._test", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train(config, progress=False)
    folder = run_folder(config, 1)
    assert not (folder / "trackers.json").exists()
    train(RunConfig(**{**settings, "run": "others", "trackers": ["trackio"]}), progress=False)
    assert trackio_values(folder) == expected_values(folder)


def test_begun_again_is_another_tracker_run(settings):
    config = RunConfig(**{**settings, "run": "again", "epochs": 1, "overwrite": True, "trackers": ["trackio"]})
    for _ in range(2):
        (path,) = train(config, progress=False)
        assert trackio_values(path.parent) == expected_values(path.parent)
    assert len(set(run_names(path.parent))) == 2


@pytest.mark.parametrize("action", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_left_out_and_training_ends_well(settings, monkeypatch, action):
    calls = []

    def failing(*_, **__):
        calls.append(None)
        raise OSError("no space left")

    monkeypatch.setattr(TensorBoardTracker, action, failing)
    config = RunConfig(**{**settings, "run": f"failing-{action}", "epochs": 1})
    with pytest.warns(UserWarning, match="trackers: tensorboard failed and is left out.*: OSError: no space") as caught:
        (path,) = train(config, progress=False)
    assert len([warning for warning in caught if "trackers:" in str(warning.message)]) == len(calls) == 1
    assert path.is_file() and trackio_values(path.parent) == expected_values(path.parent)


def test_trackers_that_are_not_installed_are_named_before_anything_starts(settings, monkeypatch):
    monkeypatch.setattr(watching, "get_available_trackers", lambda: ["trackio"])
    with pytest.raises(ValueError, match="trackers: tensorboard is not installed; pip install tensorboard, or leave"):
        train(RunConfig(**settings), progress=False)
    assert not Path(settings["output_dir"]).exists()


def test_the_bar_shows_steps_loss_terms_and_speed(settings, capfd):
    train(RunConfig(**{**settings, "epochs": 1, "trackers": []}))
    bar = capfd.readouterr().err
    for part in ("tiny:", "/6 [", " loss=", " task=", " audio_contrastive=", "tokens/s=", "emotion_accuracy=0."):
        assert part in bar, part


def test_other_processes_write_and_show_nothing(settings, tmp_path, capfd):
    watch = Watch(RunConfig(**settings), tmp_path, {}, is_main=False)
    with watch.watching(0, 10):
        watch.stepped()
        watch.trained({"step": 1, "epoch": 1, "loss": 1.0, "tokens/s": 5})
        watch.validated({"step": 1, "epoch": 1, "metrics": {"emotion_accuracy": 1.0}}, [])
        assert not watch.trackers and not senders()
    assert capfd.readouterr() == ("", "") and not list(tmp_path.glob("*.json*"))


def test_trackio_stays_on_this_machine(settings, monkeypatch, tmp_path):
    """A local run of trackio asks the Hub for the user's name, if it is allowed to."""
    import trackio.run
    import trackio.utils
    from huggingface_hub import constants

    assert Path(os.environ["TRACKIO_DIR"]) == trackio.utils.TRACKIO_DIR
    asked = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(trackio.run, "_get_default_namespace", lambda: asked.append(constants.HF_HUB_OFFLINE))
    watch = Watch(RunConfig(**{**settings, "trackers": ["trackio"]}), tmp_path, {}, show_bar=False)
    with watch.watching(0, 10):
        assert watch.trackers
    assert asked == [True] and constants.HF_HUB_OFFLINE is False


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed (extra `wandb`)")
def test_wandb_takes_values_and_table_offline(settings, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = RunConfig(**{**settings, "run": "offline", "trackers": ["wandb"]})
    (path,) = train(config, progress=False)
    (recorded,) = path.parent.glob("wandb/offline-run-*/run-*.wandb")
    identity = json.loads((path.parent / "trackers.json").read_text())["run"].rsplit("-", 1)[-1]
    assert recorded.name == f"run-{identity}.wandb"
    content = recorded.read_bytes()
    for name in {name for _, name in expected_values(path.parent)}:
        assert name.encode() in content, name
    assert list(path.parent.glob("wandb/offline-run-*/files/media/table/validation/predictions_*.json"))
