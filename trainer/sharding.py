"""Training with weights, gradients and optimizer spread over processes: FSDP2 and DeepSpeed ZeRO.

`accelerate launch --config_file trainer/configs/accelerate/<name>.yaml` chooses it. accelerate does the sharding; here
stands what it does not know of the model and the loop, and what is refused before anything starts.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers.integrations import unset_hf_deepspeed_config

from trainer.arguments import RunConfig

_KINDS = {
    DistributedType.FSDP: ("FSDP2", "ACCELERATE_USE_FSDP"),
    DistributedType.DEEPSPEED: ("DeepSpeed", "ACCELERATE_USE_DEEPSPEED"),
}


def check_processes(accelerator: Accelerator) -> None:
    """Refuses to train as many times as there are processes: they must know of each other."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise ValueError(
            f"expected {started} processes that train together, as they were started, but accelerate sees "
            f"{accelerator.num_processes}; on CPUs set ACCELERATE_USE_CPU=true"
        )


def check_sharding(accelerator: Accelerator, config: RunConfig) -> None:
    """Refuse what cannot work, in one line.

    Raises:
        ValueError: sharding was asked for where accelerate does not shard, or with settings that do not go together.
    """
    steps = accelerator.gradient_accumulation_steps
    if steps != 1:
        raise ValueError(
            f"gradient_accumulation_steps of accelerate: expected 1, got {steps}; set gradient_accumulation of the run "
            "instead"
        )
    if accelerator.distributed_type not in _KINDS:
        for kind, variable in _KINDS.values():
            if os.environ.get(variable, "false").lower() == "true":
                raise ValueError(
                    f"{kind}: accelerate shards on accelerators only, and here is {accelerator.device.type}; launch "
                    "without a config file"
                )
        return
    kind, _ = _KINDS[accelerator.distributed_type]
    if config.peft is not None:
        raise ValueError(f"peft: does not go together with {kind}; an adapter needs no sharding, launch with ddp.yaml")
    if config.compile:
        raise ValueError(f"compile: does not go together with {kind}; pass --compile false")
    if config.mixed_precision == "fp16":
        raise ValueError(f"mixed_precision: fp16 does not go together with {kind}; pass --mixed_precision bf16")
    if kind == "FSDP2":
        _check_fsdp(accelerator.state.fsdp_plugin)


def _check_fsdp(plugin: Any) -> None:
    from torch.distributed.fsdp import CPUOffloadPolicy, StateDictType

    if plugin.fsdp_version != 2:
        raise ValueError(f"fsdp_version of accelerate: expected 2, got {plugin.fsdp_version}")
    if plugin.state_dict_type != StateDictType.SHARDED_STATE_DICT:
        # torch cannot load whole weights that are tied. The best checkpoint is whole in any case.
        raise ValueError(
            f"fsdp_state_dict_type of accelerate: expected SHARDED_STATE_DICT, got {plugin.state_dict_type.name}"
        )
    if plugin.cpu_ram_efficient_loading:
        # transformers would leave the best checkpoint empty on all processes but the first.
        raise ValueError("fsdp_cpu_ram_efficient_loading of accelerate: expected false, got true")
    if isinstance(plugin.cpu_offload, CPUOffloadPolicy):
        raise ValueError("fsdp_offload_params of accelerate: expected false, got true; shard over more GPUs instead")
    if plugin.activation_checkpointing:
        raise ValueError(
            "fsdp_activation_checkpointing of accelerate: expected false, got true; set activation_checkpointing of "
            "the run instead"
        )


def load_models_whole() -> None:
    """Let `from_pretrained` give ordinary models: under ZeRO-3 it would cut each into parts that have no shape."""
    unset_hf_deepspeed_config()


def prepare(accelerator: Accelerator, config: RunConfig, model: torch.nn.Module, optimizer) -> tuple:
    """Model and optimizer as `accelerator.prepare` gives them; sharded where it was launched so."""
    if accelerator.distributed_type == DistributedType.FSDP:
        _describe_to_fsdp(accelerator.state.fsdp_plugin, model)
    elif accelerator.distributed_type == DistributedType.DEEPSPEED:
        settings = accelerator.state.deepspeed_plugin.deepspeed_config
        settings.update(train_micro_batch_size_per_gpu=config.batch_size, gradient_clipping=config.max_grad_norm)
        if config.mixed_precision == "bf16":
            settings.update(bf16={"enabled": False}, torch_autocast={"enabled": True, "dtype": "bfloat16"})
    return accelerator.prepare(model, optimizer)


def _describe_to_fsdp(plugin: Any, model: torch.nn.Module) -> None:
    from torch.distributed.fsdp import MixedPrecisionPolicy

    # A parameter may belong to one shard group only, and groups are made of modules: tied weights are not enough.
    model.set_input_embeddings(model.get_input_embeddings())
    present = {type(module).__name__ for module in model.modules()}
    plugin.transformer_cls_names_to_wrap = sorted(present.intersection(model._no_split_modules))
    # Weights stay float32 and autocast decides, as on one GPU: T5 needs its residual stream in float32.
    plugin.mixed_precision_policy = MixedPrecisionPolicy()


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether no process has all weights of a model (FSDP2, ZeRO-3)."""
    return _is_fsdp(model) or any(hasattr(parameter, "ds_id") for parameter in model.parameters())


def _is_fsdp(model: Any) -> bool:
    if not torch.distributed.is_available():
        return False
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


@contextmanager
def gathered_root(model: torch.nn.Module) -> Iterator[None]:
    """Weights outside the blocks are whole inside; a model of FSDP2 must have run forward before.

    Generation calls the encoder by itself, so the root's hook, which would gather them, does not run.
    """
    if not _is_fsdp(model):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def whole_weights(accelerator: Accelerator, model: torch.nn.Module) -> dict[str, torch.Tensor] | None:
    """All weights of a sharded model, on the main process; `None` for another model. All processes must call it."""
    bare = accelerator.unwrap_model(model)
    if not is_sharded(bare):
        return None
    # Tied weights come as copies of each other; a checkpoint has the first only.
    once, every = (dict(bare.named_parameters(remove_duplicate=value)) for value in (True, False))
    weights = accelerator.get_state_dict(model) or {}
    return {name: value for name, value in weights.items() if name not in every.keys() - once.keys()}


@contextmanager
def own_class(model: torch.nn.Module) -> Iterator[None]:
    """The model is of the class that its code defines, which a checkpoint names and copies; FSDP2 gives it another."""
    given = type(model)
    if _is_fsdp(model):
        model.__class__ = next(base for base in given.__mro__ if not base.__module__.startswith("torch.distributed"))
    try:
        yield
    finally:
        model.__class__ = given


def plain(norm: torch.Tensor | float, device: torch.device) -> torch.Tensor:
    """A norm as an ordinary tensor: FSDP2 gives a distributed one, DeepSpeed a number."""
    return norm.full_tensor() if hasattr(norm, "full_tensor") else torch.as_tensor(norm, device=device)
