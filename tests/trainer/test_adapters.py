"""Adapters in a frozen backbone: what is trained and saved, that it loads and merges as it was, and wrong settings."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from modeling_unimse import UniMSEForConditionalGeneration
from tests.conftest import make_batch, moved, tiny_model, without
from trainer.adapters import BASE, add_adapter, added_modules, load_model, merged, parameter_count
from trainer.arguments import RunConfig
from trainer.checkpointing import BEST, save_checkpoint
from trainer.cli import main
from trainer.evaluator import evaluate_checkpoint
from trainer.optimization import BACKBONE, group_of, parameter_groups
from trainer.predictions_file import read_predictions
from trainer.results_file import read_results
from trainer.train import train

LORA = {"type": "lora", "r": 2, "target_modules": ["q", "v"]}
OTHERS = [
    {"type": "ia3", "target_modules": ["k", "v", "wo"], "feedforward_modules": ["wo"]},
    {"type": "lokr", "r": 2, "target_modules": ["q", "v"]},
    {"type": "lora", "r": 2, "target_modules": "all-linear"},
]


def adapted(tmp_path, settings: dict, **changes):
    """A tiny model with an adapter, some steps after its beginning, on a base saved where a run has it."""
    model = moved(tiny_model(**changes))
    model.save_pretrained(tmp_path / BASE)
    model = add_adapter(model, settings, tmp_path / BASE).train()
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    for _ in range(3):
        model(**make_batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.parametrize("fusion_type", ["ffn", "cross_attention"])
def test_only_the_adapter_and_what_unimse_adds_is_trained(fusion_type, tmp_path):
    model = adapted(tmp_path, LORA, fusion_type=fusion_type)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert all(".lora_" in name or ".modules_to_save." in name for name in trained)
    assert not any(".lora_" in name and group_of(name) != BACKBONE for name in trained)
    plain = tiny_model(fusion_type=fusion_type)
    new = {name for name, _ in plain.named_parameters() if group_of(name) != BACKBONE}
    found = {name.removeprefix("base_model.model.").replace(".modules_to_save.default", "") for name in trained}
    assert new <= found and all(".lora_" in name for name in found - new)
    base = load_file(tmp_path / BASE / "model.safetensors")
    now = {name.removeprefix("base_model.model."): value for name, value in model.state_dict().items()}
    frozen = [name for name in base if name in now]
    assert len(frozen) > 20 and all(torch.equal(base[name], now[name]) for name in frozen)


@pytest.mark.parametrize("settings", [LORA, *OTHERS], ids=lambda settings: str(settings["type"]))
def test_saved_loaded_and_merged_it_answers_alike(settings, processor, tmp_path):
    model = adapted(tmp_path, settings)
    save_checkpoint(tmp_path / BEST, model, processor)
    assert not (tmp_path / BEST / "model.safetensors").exists()
    batch = make_batch()
    again = load_model(tmp_path / BEST).eval()
    with torch.no_grad():
        expected = model(**batch)
        found = again(**batch)
        assert torch.equal(found.logits, expected.logits) and torch.equal(found.loss, expected.loss)
        assert torch.equal(
            again.generate(**without(batch, "labels"), max_new_tokens=4),
            model.generate(**without(batch, "labels"), max_new_tokens=4),
        )
        count = parameter_count(tiny_model())
        assert count < parameter_count(model) < 1.2 * count
        plain = merged(again)
        assert type(plain) is UniMSEForConditionalGeneration and parameter_count(plain) == count
        torch.testing.assert_close(plain(**batch).logits, expected.logits, atol=1e-4, rtol=1e-4)


def test_rates_are_the_groups_own(tmp_path):
    config = RunConfig(run="x", data=["x"], learning_rate=2e-3, fusion_learning_rate=1e-3, peft=LORA)
    model = adapted(tmp_path, LORA)
    rates = {id(value): group["lr"] for group in parameter_groups(model, config) for value in group["params"]}
    for name, value in model.named_parameters():
        if value.requires_grad:
            assert rates[id(value)] == (2e-3 if ".lora_" in name else 1e-3), name


def test_added_modules_are_the_outermost():
    names = set(added_modules(tiny_model(fusion_type="cross_attention")))
    assert names == {
        *(f"encoder.block.{layer}.fusion" for layer in (1, 2, 3)),
        *("encoder.audio_encoder", "encoder.visual_encoder", "encoder.segment_embedding"),
        *(f"contrastive_heads.{name}.{layer}" for name in ("audio", "visual") for layer in range(3)),
    }


@pytest.mark.parametrize("modalities", [[], ["audio"]])
def test_what_a_run_does_not_use_stays_frozen(run_settings, modalities, tmp_path):
    """With several processes a trainable parameter without a gradient is an error."""
    from tests.trainer.test_train import build
    from trainer.build import add_adapter_to
    from trainer.data import Collator, Indexed

    model_settings = {**run_settings["model"], "fusion_type": "cross_attention"}
    config, data, processor, model = build(run_settings, modalities=modalities, peft=LORA, model=model_settings)
    model = add_adapter_to(model, config, tmp_path / BASE)
    samples = Indexed(data.train)
    batch = Collator(processor, modalities)([samples[index] for index in range(8)])
    batch.pop("sample_index")
    model.train()(**batch).loss.backward()
    assert not [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]


WRONG = [
    (
        {"type": "lorra"},
        "peft.type: expected one of the peft library, such as lora, got 'lorra'; did you mean 'lora'",
    ),
    ({"r": 8}, "peft.type: expected one of the peft library, such as lora, got ''"),
    ({"type": "lora", "lora_alfa": 8}, "unknown field 'peft.lora_alfa'; did you mean 'lora_alpha'"),
    ({"type": "lora", "task_type": "x"}, "unknown field 'peft.task_type'"),
    ({"type": "prompt_tuning", "num_virtual_tokens": 4}, "prompt_tuning cannot train and save the fusion modules"),
    ({"type": "adalora"}, "adalora changes its ranks by a schedule"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_settings_fail_before_anything_starts(settings, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(run="x", data=["x"], peft=settings)


def test_an_adapter_and_trainable_blocks_do_not_go_together():
    with pytest.raises(ValueError, match="peft, trainable_blocks: expected one of them"):
        RunConfig(run="x", data=["x"], peft=LORA, trainable_blocks=[0])


def test_targets_that_are_not_there_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="^peft: No modules were targeted"):
        add_adapter(tiny_model(), {"type": "lora", "target_modules": ["nothing_like_it"]}, tmp_path)


_AUTO = """
import sys, torch
from peft import AutoPeftModelForSeq2SeqLM
sys.path = [entry for entry in sys.path if entry]
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__name__", repr(f)).lower()]
model = AutoPeftModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
assert "modeling_unimse" not in sys.modules and "trainer" not in sys.modules
with torch.no_grad():
    torch.save(model(**torch.load(sys.argv[2])).logits, sys.argv[3])
"""


def test_a_fresh_process_loads_it_by_the_auto_class(processor, tmp_path):
    model = adapted(tmp_path, LORA)
    save_checkpoint(tmp_path / BEST, model, processor)
    torch.save(make_batch(), tmp_path / "batch.pt")
    command = [sys.executable, "-c", _AUTO, *(str(tmp_path / name) for name in (BEST, "batch.pt", "logits.pt"))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with torch.no_grad():
        assert torch.equal(torch.load(tmp_path / "logits.pt"), model(**make_batch()).logits)


def test_a_run_with_an_adapter_from_training_to_merge(run_settings, tmp_path, monkeypatch, capsys):
    """Killed and resumed it ends as the straight run; its folder can be moved; merged it scores the same."""
    from tests.trainer.test_resume import run_killed

    settings = {**run_settings, "peft": {**LORA, "lora_dropout": 0.1}, "save_every": 2}
    (path,) = train(RunConfig(**{**settings, "run": "straight"}), progress=False)
    killed = RunConfig(**{**settings, "run": "killed"})
    run_killed(monkeypatch, killed, "Loop._step", 4)
    (again,) = train(killed, progress=False)
    weights = [load_file(one.parent / BEST / "adapter_model.safetensors") for one in (path, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    results = json.loads(path.read_text())
    assert results["model"]["peft"] == "lora"
    moved_run = tmp_path / "elsewhere"
    shutil.move(path.parent, moved_run)
    (scored,) = map(read_results, evaluate_checkpoint(moved_run, settings["data"], tmp_path / "scored.json"))
    assert scored.content["metrics"] == results["metrics"] and scored.seed == 1
    assert main(["merge", str(moved_run), str(tmp_path / "merged")]) == 0
    (merged,) = map(read_results, evaluate_checkpoint(tmp_path / "merged", settings["data"], tmp_path / "merged.json"))
    labels = [[row["prediction"] for row in read_predictions(one)] for one in (scored, merged)]
    assert labels[0] == labels[1]
    assert main(["merge", str(tmp_path / "merged"), str(tmp_path / "twice")]) == 1
    assert "nothing to merge" in capsys.readouterr().err
    mine = tmp_path / "bert"  # a model of another kind is not a UniMSE model
    mine.mkdir()
    (mine / "config.json").write_text('{"model_type": "bert"}')
    for out, message in (
        (mine, "bert is not empty and no UniMSE model, so it is not replaced"),
        (moved_run / "base", "holds what is read"),
    ):
        assert main(["merge", str(moved_run), str(out), "--overwrite"]) == 1
        assert message in capsys.readouterr().err
    (tmp_path / "merged" / "notes.txt").write_text("a user's")
    assert main(["merge", str(moved_run), str(tmp_path / "merged"), "--overwrite"]) == 0
    assert (tmp_path / "merged" / "notes.txt").is_file() and (moved_run / "base" / "config.json").is_file()
