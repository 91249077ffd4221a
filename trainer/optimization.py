"""Parameter groups with the paper's two learning rates, optimizer and schedule."""

import torch
from torch import nn
from transformers import get_scheduler

from trainer.arguments import RunConfig

# What UniMSE adds to T5, by a part of the parameter name.
NEW_PARTS = ("fusion", "audio_encoder", "visual_encoder", "contrastive_heads", "segment_embedding")


def is_new(name: str) -> bool:
    """Whether a parameter is UniMSE's own rather than the backbone's."""
    return any(part in name.split(".") for part in NEW_PARTS)


def parameter_groups(model: nn.Module, config: RunConfig) -> list[dict]:
    """Backbone at `learning_rate`, the rest at `fusion_learning_rate`; weight decay on matrices only."""
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    decayed = {name for name, parameter in parameters.items() if parameter.dim() > 1}
    groups = []
    for new, rate in ((False, config.learning_rate), (True, config.fusion_learning_rate)):
        for decays in (True, False):
            members = [
                value for name, value in parameters.items() if is_new(name) == new and (name in decayed) == decays
            ]
            if members:
                decay = config.weight_decay if decays else 0.0
                groups.append({"params": members, "lr": rate, "weight_decay": decay})
    return groups


def build_optimizer(model: nn.Module, config: RunConfig, steps: int, processes: int):
    """AdamW and its schedule over `steps` optimisation steps.

    Accelerate steps a prepared schedule once per process, so its lengths are multiplied by `processes`.
    """
    optimizer = torch.optim.AdamW(parameter_groups(model, config))
    total = steps * processes
    warmup = round(config.warmup_ratio * total)
    return optimizer, get_scheduler(config.scheduler, optimizer, warmup, total)
