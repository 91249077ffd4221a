"""The demo end to end on a small sample with one epoch: what it writes, prints, and that a fresh process answers."""

import functools

import pytest
import yaml

import dataset_scripts.sample
from trainer import demo


def test_the_demo_leaves_leaderboard_card_and_a_folder_that_answers(tmp_path, monkeypatch, capsys):
    small = functools.partial(dataset_scripts.sample.write_sample, scale=0.05)
    monkeypatch.setattr(dataset_scripts.sample, "write_sample", small)
    config = yaml.safe_load(demo.CONFIG.read_text())
    (tmp_path / "short.yaml").write_text(yaml.safe_dump({**config, "epochs": 1}))
    monkeypatch.setattr(demo, "CONFIG", tmp_path / "short.yaml")
    out = tmp_path / "demo"
    demo.run_demo(out)
    printed = capsys.readouterr().out
    tables = ("leaderboard/leaderboard.html", "leaderboard/leaderboard.md", "comparison/comparison.md")
    for path in (*tables, "published/README.md", "published/model.safetensors"):
        assert (out / path).is_file(), path
    assert len(list((out / "results").glob("*.json"))) == 7  # every set of modalities
    assert list((out / "leaderboard" / "plots").glob("*states*.png"))
    assert list((out / "leaderboard" / "plots").glob("*.png"))
    table = printed.split("told by")[1].splitlines()
    shown = [line.split() for line in table[1:] if line.startswith("meld/test/")]
    assert {row[1] for row in shown} == {"text", "voice", "face"}
    assert all(row[3].count(",") == 2 for row in shown)
    assert "What you can do next" in printed


def test_the_demo_spares_a_folder_of_another_kind(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="raw exists and is not empty; name another folder$"):
        demo.run_demo(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["raw", "thesis.txt"]
