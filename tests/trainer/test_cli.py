import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from trainer.cli import main


@pytest.fixture
def sample(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "cli-sample"
    if not folder.exists():
        from dataset_scripts.sample import write_sample

        write_sample(folder, scale=0.05)
    return folder


def test_raw_folder_to_prediction_by_commands(sample, tmp_path, run_settings, capsys):
    """The path of a user: prepare, label, train, evaluate, leaderboard, publish, predict."""
    data = [str(tmp_path / name) for name in ("mosi", "meld")]
    for folder, name in zip(data, ("mosi", "meld"), strict=True):
        assert main(["prepare", name, str(sample / name), folder, "--visual-extractor", "frozen-conv"]) == 0
    assert main(["label", *data, "--embedder", "tf-idf"]) == 0
    config = {**run_settings, "data": data, "epochs": 1}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", str(tmp_path / "run.yaml"), "--seeds", "[7]"]) == 0
    run = tmp_path / "runs" / "tiny" / "seed-7"
    out = tmp_path / "results" / "text.json"
    arguments = ["evaluate", str(run / "checkpoint-best"), data[1], "--out", str(out), "--modalities", "text"]
    assert main(arguments) == 0
    assert json.loads(out.read_text())["protocol"]["modalities"] == ["text"]
    assert out.with_suffix(".parquet").is_file()
    assert main(["leaderboard", str(run / "results.json"), str(out), "--out", str(tmp_path / "board")]) == 0
    assert "meld" in (tmp_path / "board" / "leaderboard.md").read_text().lower()
    assert main(["publish", str(run), str(tmp_path / "published")]) == 0
    clip = next((sample / "meld").rglob("*.mp4"))
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "published"), str(clip), "--text", "I am glad", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["modalities"] == ["text", "audio", "visual"] and answer["label"].count(",") == 2


def test_a_custom_manifest_with_own_emotions(tmp_path):
    from tests.dataset_scripts.conftest import write_wav

    write_wav(tmp_path / "raw" / "a.wav")
    with (tmp_path / "raw" / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split", "text", "audio", "emotion"])
        writer.writerows(
            [[f"{split}{n}", split, "hello", "a.wav", "glad"] for split in ("train", "test") for n in "12"]
        )
    arguments = ["prepare", "custom", str(tmp_path / "raw" / "manifest.csv"), str(tmp_path / "out"), "--name", "mine"]
    assert main([*arguments, "--emotion-map", "glad=joy"]) == 0
    report = json.loads((tmp_path / "out" / "prepare-report.json").read_text())
    assert report["splits"]["train"]["emotion"] == {"joy": 2}


ERRORS = [
    (["prepare", "meld", "{tmp}/nowhere", "{tmp}/out"], "nowhere"),
    (["label", "{tmp}"], "unimse label: "),
    (["train", "{tmp}/no.yaml"], "no.yaml: no such config file"),
    (["evaluate", "{tmp}/no-model", "{tmp}", "--out", "{tmp}/r.json"], "unimse evaluate: "),
    (["leaderboard", "{tmp}/no.json", "--out", "{tmp}/board"], "no.json"),
    (["compare", "{tmp}/no.json", "{tmp}"], "no.json: expected a results file"),
    (["publish", "{tmp}", "{tmp}/published"], "expected a finished run folder"),
    (["predict", "{tmp}"], "expected --text, a clip, or both"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_failures_are_one_line_and_exit_1(tmp_path, capsys, arguments, message):
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"unimse {arguments[0]}: ") and message in error


def test_a_message_that_quotes_a_whole_file_is_cut_in_its_middle(tmp_path, capsys):
    (tmp_path / "label.csv").write_text(f"video_id,clip_id,text,label,mode\na,1,so,{'x' * 100_000},train\n")
    assert main(["prepare", "mosi", str(tmp_path), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("unimse prepare: ") and "label.csv, line 2: label: expected a number, got 'xx" in error
    assert len(error) < 1050 and error.endswith("xx'\n") and " ... " in error


def test_a_missing_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["sample", str(tmp_path / "s")]) == 1
    assert "pip install" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(FileNotFoundError):
        main(["train", str(tmp_path / "no.yaml"), "--debug"])
    with pytest.raises(FileNotFoundError):
        main(["train", "--debug", str(tmp_path / "no.yaml")])


def test_wrong_usage_exits_2(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["prepare", "mosy", "a", "b"])
    assert exit_info.value.code == 2
    assert "mosi" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "sample",
        "prepare",
        "label",
        "train",
        "evaluate",
        "leaderboard",
        "compare",
        "predict",
        "publish",
        "card",
        "merge",
        "push",
        "demo",
    ],
)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([command, "--help"])
    assert exit_info.value.code == 0
    assert f"example: unimse {command} " in capsys.readouterr().out


def test_sample_command_and_module_entry(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "trainer.cli", "sample", str(tmp_path / "s"), "--seed", "-1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "seed" in done.stderr and "Traceback" not in done.stderr


def test_predict_without_video_features(tmp_path, run_settings, capsys):
    from tests.dataset_scripts.conftest import write_wav
    from trainer.arguments import RunConfig
    from trainer.train import train

    (path,) = train(RunConfig(**{**run_settings, "epochs": 1}), progress=False)
    write_wav(tmp_path / "a.wav", seconds=0.8)
    capsys.readouterr()
    assert main(["predict", str(path.parent / "checkpoint-best"), str(tmp_path / "a.wav"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["modalities"] == ["audio"]
    assert np.isfinite(json.loads(path.read_text())["metrics"]["meld/accuracy"])


def test_ctrl_c_is_one_line(tmp_path, capsys, monkeypatch):
    from dataset_scripts import prepare
    from dataset_scripts.extraction import Interrupted

    def stopped(*arguments, **settings):
        raise Interrupted("stopped; 1 of 2 clips are kept")

    monkeypatch.setattr(prepare, "prepare_dataset", stopped)
    assert main(["prepare", "mosi", str(tmp_path), str(tmp_path / "out"), "--visual-extractor", "none"]) == 130
    assert capsys.readouterr().err == "unimse prepare: stopped; 1 of 2 clips are kept\n"
