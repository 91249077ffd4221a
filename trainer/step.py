"""One optimisation step over one or several micro-batches."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from accelerate import Accelerator

from trainer.sharding import plain

LOSSES = ("loss", "task_loss", "audio_contrastive_loss", "visual_contrastive_loss")
_NOT_FOR_THE_MODEL = ("sample_index",)


def train_step(
    accelerator: Accelerator, model, optimizer, scheduler, batches: Sequence[dict], max_grad_norm: float
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Forward and backward of each micro-batch, then clip and update once.

    The task loss is the mean over all target tokens of the step, in whatever micro-batches and processes they are:
    accumulating and distributing change nothing. Contrastive losses compare the samples of a micro-batch (over all
    processes) and are averaged over the micro-batches.

    Args:
        batches: micro-batches of this process, on the accelerator's device.

    Returns:
        Loss terms of this process (over all processes their mean is the step's), detached; and the norm of the
        gradient before clipping, 0 where fp16 left the update out.
    """
    tokens = [(batch["labels"] != -100).sum() for batch in batches]
    share = accelerator.num_processes / accelerator.reduce(torch.stack(tokens).sum(), "sum")
    terms: dict[str, torch.Tensor] = {}
    for place, batch in enumerate(batches):
        is_last = place == len(batches) - 1
        accelerator.sync_gradients = is_last  # DeepSpeed updates within the backward pass where this is true
        with nullcontext() if is_last else accelerator.no_sync(model):
            with accelerator.autocast():
                outputs = model(**{name: value for name, value in batch.items() if name not in _NOT_FOR_THE_MODEL})
            found = _loss_terms(outputs, tokens[place] * share, len(batches))
            accelerator.backward(found["loss"])
        for name, value in found.items():
            terms[name] = terms.get(name, 0.0) + value.detach()
    norm = plain(accelerator.clip_grad_norm_(model.parameters(), max_grad_norm), accelerator.device)
    optimizer.step()
    if accelerator.optimizer_step_was_skipped:
        norm = torch.zeros_like(norm)  # fp16: the gradient overflowed, its scaler changed nothing and scales less
    else:
        scheduler.step()
    optimizer.zero_grad()
    return terms, norm


def _loss_terms(outputs, task_share: torch.Tensor, batches: int) -> dict[str, torch.Tensor]:
    """What a micro-batch adds to each loss term of the step."""
    task = outputs.task_loss * task_share
    found = {"loss": task + (outputs.loss - outputs.task_loss) / batches, "task_loss": task}
    for name in LOSSES[2:]:
        if (value := getattr(outputs, name)) is not None:
            found[name] = value / batches
    return found
