"""Parameter groups by name with the paper's rates, what is frozen, optimizer and schedule."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import get_scheduler

from trainer.arguments import RunConfig

# What UniMSE adds to T5, by a part of the parameter name; everything else is the backbone's.
GROUPS = {
    "fusion": ("fusion", "segment_embedding"),
    "modality_encoders": ("audio_encoder", "visual_encoder"),
    "contrastive": ("contrastive_heads",),
}
BACKBONE = "backbone"
_BLOCK = re.compile(r"(?:^|\.)(?:encoder|decoder)\.block\.(\d+)\.")


def group_of(name: str) -> str:
    """The group of a parameter: `backbone`, `fusion`, `modality_encoders` or `contrastive`."""
    parts = name.split(".")
    return next((group for group, members in GROUPS.items() if any(part in parts for part in members)), BACKBONE)


def freeze_backbone(model: nn.Module, trainable_blocks: Sequence[int] | None) -> None:
    """Freeze the backbone but for some of its encoder and decoder blocks.

    Args:
        trainable_blocks: numbers of blocks, from 0; the authors' code trains [10, 11]. Embeddings and what lies outside
            the blocks are frozen too. `None` = nothing is frozen.

    Raises:
        ValueError: a block that the model does not have.
    """
    if trainable_blocks is None:
        return
    backbone = {name: value for name, value in model.named_parameters() if group_of(name) == BACKBONE}
    blocks = {name: int(match[1]) for name in backbone if (match := _BLOCK.search(name))}
    unknown = sorted(set(trainable_blocks) - set(blocks.values()))
    if unknown:
        raise ValueError(f"trainable_blocks: expected numbers of 0 to {max(blocks.values())}, got {unknown[0]}")
    for name, parameter in backbone.items():
        if blocks.get(name) not in trainable_blocks:
            parameter.requires_grad_(False)


def parameter_groups(model: nn.Module, config: RunConfig) -> list[dict]:
    """Named groups, each at its rate; weight decay on matrices only. Frozen parameters are in none."""
    groups = []
    for group, rate in learning_rates(config).items():
        for decays in (True, False):
            members = [
                parameter
                for name, parameter in model.named_parameters()
                if parameter.requires_grad and group_of(name) == group and (parameter.dim() > 1) == decays
            ]
            if members:
                decay = config.weight_decay if decays else 0.0
                groups.append({"name": group, "params": members, "lr": rate, "weight_decay": decay})
    return groups


def learning_rates(config: RunConfig) -> Mapping[str, float]:
    """Group -> its largest learning rate."""
    new = config.fusion_learning_rate
    return {
        BACKBONE: config.learning_rate,
        "fusion": new,
        "modality_encoders": config.encoder_learning_rate or new,
        "contrastive": config.contrastive_learning_rate or new,
    }


def build_optimizer(model: nn.Module, config: RunConfig, steps: int):
    """AdamW, fused where the device has it, and its schedule over `steps` optimisation steps."""
    parameters = parameter_groups(model, config)
    on_gpu = all(parameter.is_cuda for group in parameters for parameter in group["params"])
    optimizer = torch.optim.AdamW(parameters, fused=on_gpu or None)
    return optimizer, get_scheduler(config.scheduler, optimizer, round(config.warmup_ratio * steps), steps)
