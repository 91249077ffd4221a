"""The text state before and after fusion, collected while a model runs; for pictures of what fusion does to it."""

import torch
from torch import nn


class TextStates:
    """Context manager: inside, each run of the encoder leaves the pooled text state of its batch here.

        with TextStates(model) as states:
            model.generate(**batch)
            points = states.before, states.after

    The state of a sample is the mean over the tokens of its current utterance (`segment_ids` 1), or over all of its
    tokens where it has none, in the residual stream.

    Args:
        model: a `UniMSEForConditionalGeneration`, or an adapter around one.

    Attributes:
        before: `(B, d_model)` float32 of the last run, as it enters the first fusion: the feed-forward's output. `None`
            for a model without fusion in the encoder, and before a run.
        after: likewise, as it leaves the last fusion.
    """

    def __init__(self, model: nn.Module):
        self.before: torch.Tensor | None = None
        self.after: torch.Tensor | None = None
        self._encoder = model.get_encoder()
        self._fusions = [block.fusion for block in self._encoder.block if hasattr(block, "fusion")]
        self._mask: torch.Tensor | None = None  # (B, S) bool, of the run that is going on; None = every token
        self._hooks: list = []

    def __enter__(self) -> "TextStates":
        if self._fusions:
            self._hooks = [
                self._encoder.register_forward_pre_hook(self._read_mask, with_kwargs=True),
                self._fusions[0].register_forward_pre_hook(self._read_before),
                self._fusions[-1].register_forward_hook(self._read_after),
            ]
        return self

    def __exit__(self, *error) -> None:
        for hook in self._hooks:
            hook.remove()

    def _read_mask(self, encoder, args: tuple, inputs: dict) -> None:
        mask, segments = inputs.get("attention_mask"), inputs.get("segment_ids")
        self._mask = None if mask is None else mask.bool()
        if segments is not None:
            current = (segments == 1) if mask is None else (segments == 1) & self._mask
            whole = torch.ones_like(current) if mask is None else self._mask
            self._mask = torch.where(current.any(1, keepdim=True), current, whole)

    def _read_before(self, fusion, args: tuple) -> None:
        self.before = self._pooled(args[1])  # the feed-forward's input, its output, the modalities

    def _read_after(self, fusion, args: tuple, output: torch.Tensor) -> None:
        self.after = self._pooled(output)

    def _pooled(self, states: torch.Tensor) -> torch.Tensor:
        """`(B, S, d_model)` -> the mean over the tokens of the mask, `(B, d_model)`."""
        states = states.detach().float()
        if self._mask is None:
            return states.mean(1)
        weights = self._mask[..., None].to(states)
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
