"""Sharded training is training: losses, best checkpoint, resuming; what cannot work is refused at the start."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from torch.distributed.fsdp import CPUOffloadPolicy, StateDictType

from modeling_unimse import UniMSEForConditionalGeneration
from tests.conftest import tiny_model
from trainer.arguments import RunConfig
from trainer.checkpointing import BEST
from trainer.data import load_split
from trainer.evaluation import predict
from trainer.sharding import check_sharding
from trainer.train import train

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "trainer" / "configs" / "accelerate"
LOSSES = ("loss", "task_loss", "audio_contrastive_loss", "visual_contrastive_loss", "grad_norm")


def train_in_two(launch_config: str, folder: Path, *runs: dict) -> str:
    """Trains on two processes, as `accelerate launch --config_file` starts them; returns what they printed."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / launch_config)]
    command += ["--num_processes", "2", "--main_process_port", "0", "-m", "tests.trainer.train_sharded"]
    for settings in runs:
        config = folder / f"{settings['run']}.yaml"
        config.write_text(yaml.safe_dump(settings))
        command.append(str(config))
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    environment["HF_DATASETS_CACHE"] = str(folder / "cache")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "[rank" in line)[-5000:]
    return done.stdout


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("launch_config", ["fsdp2.yaml", "deepspeed_zero2.yaml", "deepspeed_zero3.yaml"])
def test_sharded_training_is_training(run_settings, tmp_path, launch_config):
    """Two processes that share one model are one process with batches of twice the size; a kill changes nothing."""
    if launch_config.startswith("deepspeed"):
        pytest.importorskip("deepspeed")
    settings = {**run_settings, "log_every": 1, "max_grad_norm": 0.5, "gradient_accumulation": 2, "save_every": 2}
    runs = [{**settings, "run": run, "batch_size": 4} for run in ("straight", "killed")]
    assert "going on from" in train_in_two(launch_config, tmp_path, *runs)
    straight, killed = (tmp_path / "runs" / run / "seed-1" for run in ("straight", "killed"))
    (path,) = train(RunConfig(**{**settings, "run": "one", "batch_size": 8}), progress=False)

    assert len(logged(path.parent)) == 8  # six steps and two validations
    for found, wanted in zip(logged(straight), logged(path.parent), strict=True):
        for name in LOSSES:
            assert found[name] == pytest.approx(wanted[name], abs=1e-5), (name, wanted["step"])
    weights, gone_on, one = (load_file(run / BEST / "model.safetensors") for run in (straight, killed, path.parent))
    assert weights.keys() == one.keys() and all(torch.equal(weights[name], gone_on[name]) for name in weights)
    for name in one:
        torch.testing.assert_close(weights[name], one[name], rtol=0, atol=1e-4)
    results = [json.loads((run / "results.json").read_text())["metrics"] for run in (straight, killed, path.parent)]
    assert results[0] == results[1] == results[2]
    check_checkpoint(straight / BEST, path.parent / BEST)


def check_checkpoint(sharded: Path, whole: Path) -> None:
    """Same files and same classes in the configuration, and every weight is there."""
    assert {file.name for file in sharded.iterdir()} == {file.name for file in whole.iterdir()}
    configs = [json.loads((folder / "config.json").read_text()) for folder in (sharded, whole)]
    for name in ("auto_map", "architectures", "dtype"):
        assert configs[0][name] == configs[1][name]
    _, report = UniMSEForConditionalGeneration.from_pretrained(sharded, output_loading_info=True)
    assert not any(report.values()), report


@pytest.mark.parametrize("sharded", [True, False])
def test_generation_waits_for_the_other_processes_where_weights_are_spread(prepared, processor, monkeypatch, sharded):
    """A process whose labels are shorter would else leave the others waiting for its parts."""
    model, waits = tiny_model(), []
    if sharded:
        next(model.parameters()).ds_id = 0  # as ZeRO-3 marks them
    generate = model.generate
    monkeypatch.setattr(
        model, "generate", lambda synced_gpus, **kwargs: waits.append(synced_gpus) or generate(**kwargs)
    )
    predict(model, processor, load_split(prepared, "validation"), Accelerator(), progress=False)
    assert waits == [sharded] * 2


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_launch_configs_are_accelerates(path):
    config = load_config_from_file(str(path))
    assert path.read_text().startswith("# ")
    if path.stem == "fsdp2":
        assert config.distributed_type == DistributedType.FSDP
        named = config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"].split(",")
        assert named == UniMSEForConditionalGeneration._no_split_modules
    elif path.stem.startswith("deepspeed"):
        assert config.distributed_type == DistributedType.DEEPSPEED
        assert config.deepspeed_config["zero_stage"] == int(path.stem[-1])
    else:
        assert config.distributed_type == DistributedType.MULTI_GPU


def sharding_accelerator(kind=DistributedType.FSDP, steps: int = 1, **plugin) -> SimpleNamespace:
    settings = {"fsdp_version": 2, "state_dict_type": StateDictType.SHARDED_STATE_DICT, "cpu_offload": None}
    settings.update({"cpu_ram_efficient_loading": False, "activation_checkpointing": False, **plugin})
    state = SimpleNamespace(fsdp_plugin=SimpleNamespace(**settings))
    return SimpleNamespace(gradient_accumulation_steps=steps, distributed_type=kind, state=state)


@pytest.mark.parametrize(
    ("accelerator", "changes", "message"),
    [
        ({}, {"compile": True}, "compile: does not go together with FSDP2"),
        ({}, {"mixed_precision": "fp16"}, "fp16 does not go together with FSDP2; pass --mixed_precision bf16"),
        ({"kind": DistributedType.DEEPSPEED}, {"compile": True}, "compile: does not go together with DeepSpeed"),
        ({"fsdp_version": 1}, {}, "fsdp_version of accelerate: expected 2, got 1"),
        ({"state_dict_type": StateDictType.FULL_STATE_DICT}, {}, "expected SHARDED_STATE_DICT, got FULL_STATE_DICT"),
        ({"cpu_offload": CPUOffloadPolicy()}, {}, "fsdp_offload_params of accelerate: expected false, got true"),
        ({"cpu_ram_efficient_loading": True}, {}, "fsdp_cpu_ram_efficient_loading of accelerate: expected false"),
        ({"activation_checkpointing": True}, {}, "set activation_checkpointing of the run instead"),
        ({"kind": DistributedType.NO, "steps": 4}, {}, "expected 1, got 4; set gradient_accumulation"),
    ],
)
def test_what_does_not_go_together_is_refused(accelerator, changes, message):
    with pytest.raises(ValueError, match=message):
        check_sharding(sharding_accelerator(**accelerator), RunConfig(run="x", data=["x"], **changes))


def test_whole_models_are_no_substitute_for_sharded_ones(run_settings, monkeypatch):
    """accelerate would silently train without sharding on CPUs."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    with pytest.raises(ValueError, match="FSDP2: accelerate shards on accelerators only, and here is cpu"):
        train(RunConfig(**run_settings), progress=False)
