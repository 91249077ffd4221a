"""What a run folder says of how it came to be."""

import dataclasses
from pathlib import Path

import pytest

from trainer.arguments import RunConfig
from trainer.checkpointing import command_line, settings_digest


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/home/jo/.venv/bin/unimse", "evaluate", "/home/jo/work/runs/a"], "unimse evaluate runs/a"),
        (["/home/jo/lib/trainer/train.py", "a.yaml"], "python -m trainer.train a.yaml"),
        (
            ["unimse", "train", "--data", "[/home/jo/work/data/mosi, /mnt/x/client/meld]"],
            "unimse train --data '[data/mosi, client/meld]'",
        ),
        (["unimse", "evaluate", "--out=/tmp/q/r.json", "me/model@v1"], "unimse evaluate --out=q/r.json me/model@v1"),
        (["unimse", "evaluate", "--context", "2/0"], "unimse evaluate --context 2/0"),
        (
            ["unimse", "predict", "--text", "it's 3/4 https://a.b/c"],
            """unimse predict --text 'it'"'"'s 3/4 https://a.b/c'""",
        ),
    ],
)
def test_a_command_names_no_place_of_one_machine(words, expected):
    assert command_line(words, Path("/home/jo/work")) == expected


def test_settings_are_told_apart_but_for_the_seed_and_the_place():
    config = RunConfig(run="a", data=["x/mosi"], backbone="/home/jo/t5")
    facts = {"training_data": {"mosi": "aa"}}
    digest = settings_digest(config, facts)
    same = dataclasses.replace(config, run="b", data=["y/mosi"], seeds=[2], output_dir="z", backbone="/mnt/t5")
    assert settings_digest(same, facts) == digest
    assert settings_digest(dataclasses.replace(config, learning_rate=1.0), facts) != digest
    assert settings_digest(config, {"training_data": {"mosi": "bb"}}) != digest
