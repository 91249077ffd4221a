"""The table of finished runs: means and deviations over seeds, and what cannot be compared is said."""

import csv
import json
import statistics

import pytest
import yaml

from tests.trainer.results_files import write_many, write_results
from trainer.cli import main
from trainer.results_file import seal
from trainer.summary import write_summary


def test_means_and_deviations_are_those_of_the_files(tmp_path):
    files = write_many(tmp_path / "results")
    text = write_summary(files, tmp_path)
    values = [json.loads(path.read_text())["metrics"]["mosi/mae"] for path in files[:3]]
    expected = f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}"
    lines = text.splitlines()
    assert "mosi MAE ↓" in lines[0] and lines[0].rstrip(" |").endswith("Emotion accuracy ↑")
    assert lines[0].startswith("| run | seeds | modalities | mosi MAE ↓ |")
    assert lines[2].startswith(f"| full | 1, 2, 3 | T+A+V | {expected} |")
    assert lines[4].startswith("| text-only | 1 | T |")
    shared = "context_after 2; context_before 2; decoding constrained greedy; emotions per benchmark; split test;"
    assert f"Protocol but for the columns above: {shared} universal_labels true." in lines
    assert [line.split(" | ")[0] for line in lines[3:5]] == ["| cross", "| text-only"]
    assert "±" not in lines[4] and "Commit 0123abc." in text
    assert text == (tmp_path / "summary.md").read_text()
    with (tmp_path / "summary.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["run"] == "full" and row["metric"] == "mae")
    assert (float(row["mean"]), float(row["std"])) == (statistics.fmean(values), statistics.stdev(values))


def test_each_difference_of_protocols_is_a_column_and_none_is_averaged_over(tmp_path):
    files = [write_results(tmp_path, run="full", seed=seed) for seed in (1, 2)]
    assert "Protocol: context_after 2; context_before 2;" in write_summary(files, tmp_path)
    content = json.loads(files[1].read_text())
    other = {"context_after": 0, "decoding": "posterior", "labels": "tf-idf"}
    files[1].write_text(json.dumps(seal(content | {"protocol": content["protocol"] | other})))
    lines = write_summary(files, tmp_path).splitlines()
    assert lines[0].startswith("| run | seeds | context | decoding | labels | mosi MAE ↓ |")
    assert lines[2].startswith("| full | 1 | 2/2 | constrained greedy | null |")
    assert lines[3].startswith("| full | 2 | 2/0 | posterior | tf-idf |")
    assert not any("±" in line for line in lines[2:4])


def test_other_rows_are_said_to_be_not_comparable(tmp_path):
    files = [write_results(tmp_path, run="full"), write_results(tmp_path, run="half", rows=60)]
    text = write_summary(files, tmp_path)
    assert "full on mosi 120 rows (aa11), meld 120 rows (bb22); not comparable with the others" in text
    assert "half on mosi 60 rows" in text


def test_files_of_a_user_are_not_taken_for_a_table(tmp_path):
    files = [write_results(tmp_path / "results", seed=seed) for seed in (1, 2)]
    (tmp_path / "summary.md").write_text("a user's")
    with pytest.raises(FileExistsError, match="summary.md exists and was not written by this command"):
        write_summary(files, tmp_path)
    assert (tmp_path / "summary.md").read_text() == "a user's"
    (tmp_path / "summary.md").unlink()
    write_summary(files, tmp_path)
    write_summary(files, tmp_path)


def test_several_configs_make_one_table(run_settings, tmp_path, capsys):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**run_settings, "epochs": 1, "seeds": [1, 2]}))
    for name, fields in {"full": {}, "text_only": {"modalities": []}}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"extends": "base.yaml", **fields}))
    configs = [str(tmp_path / f"{name}.yaml") for name in ("full", "text_only")]
    out = tmp_path / "ablations"
    assert main(["train", *configs, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    table = (out / "summary.md").read_text()
    assert table in printed and "| full | 1, 2 |" in table and "| text_only | 1, 2 |" in table
    assert (out / "full" / "summary.md").is_file() and (out / "text_only" / "seed-2" / "results.json").is_file()
    assert main(["train", *configs, "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("finished before") == 4


def test_a_run_that_fails_does_not_take_the_others_along(run_settings, tmp_path, capsys, monkeypatch):
    import trainer.train as module

    original = module.train_seed

    def failing(config, *arguments):
        if config.run == "bad":
            raise FloatingPointError("step 3: a loss or the gradient is NaN")
        return original(config, *arguments)

    monkeypatch.setattr(module, "train_seed", failing)
    for name in ("bad", "good"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**run_settings, "run": name, "epochs": 1}))
    out = tmp_path / "out"
    assert main(["train", str(tmp_path / "bad.yaml"), str(tmp_path / "good.yaml"), "--out", str(out)]) == 1
    assert "bad: step 3: a loss or the gradient is NaN" in capsys.readouterr().err
    assert (out / "good" / "seed-1" / "results.json").is_file()


def test_configs_of_different_precision_are_refused(run_settings, tmp_path, capsys):
    for name, precision in {"a": "no", "b": "bf16"}.items():
        settings = {**run_settings, "run": name, "mixed_precision": precision}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    assert main(["train", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]) == 1
    assert "mixed_precision: expected the same in all configs of a command, got no, bf16" in capsys.readouterr().err


@pytest.mark.parametrize("twice", ["full.yaml", "other/full.yaml"])
def test_two_configs_of_one_name_are_refused(run_settings, tmp_path, capsys, twice):
    for path in (tmp_path / "full.yaml", tmp_path / "other" / "full.yaml"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({name: value for name, value in run_settings.items() if name != "run"}))
    assert main(["train", str(tmp_path / "full.yaml"), str(tmp_path / twice)]) == 1
    assert "run 'full' stands in two configs" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
