"""Changes of training inputs that make a small training set go further."""

from dataclasses import dataclass, fields

import numpy as np
import torch


@dataclass
class Augmentation:
    """Changes of training features; all off by default, as in the paper.

    Args:
        time_stretch: the audio sequence is resampled in time by a factor in [1 - x, 1 + x].
        frequency_shift: its bands are moved by up to so many places.
        time_mask, frequency_mask: a run of up to so many frames / bands is set to the mean (Park et al. 2019).
        noise: standard deviation of Gaussian noise added to standardised audio and visual features.
        token_mask: probability that a text token, the end token excepted, is replaced by the unknown token.
    """

    time_stretch: float = 0.0
    frequency_shift: int = 0
    time_mask: int = 0
    frequency_mask: int = 0
    noise: float = 0.0
    token_mask: float = 0.0

    @classmethod
    def from_settings(cls, settings: dict) -> "Augmentation":
        known = [item.name for item in fields(cls)]
        for name, value in settings.items():
            if name not in known:
                raise ValueError(f"augmentation: expected fields of {', '.join(known)}, got {name!r}")
            if not isinstance(value, (int, float)) or value < 0:
                raise ValueError(f"augmentation.{name}: expected a number >= 0, got {value!r}")
        return cls(**settings)

    def stretched(self, sequence: np.ndarray) -> np.ndarray:
        """Stretches and shifts raw `(T, bands)` features."""
        if self.time_stretch:
            factor = 1 + self.time_stretch * (2 * _random() - 1)
            places = np.linspace(0, len(sequence) - 1, max(1, round(len(sequence) * factor)))
            low = places.astype(int)
            high = np.minimum(low + 1, len(sequence) - 1)
            weight = (places - low)[:, None].astype(np.float32)
            sequence = sequence[low] * (1 - weight) + sequence[high] * weight
        if self.frequency_shift:
            shift = round(self.frequency_shift * (2 * _random() - 1))
            sequence = sequence[:, np.clip(np.arange(sequence.shape[1]) - shift, 0, sequence.shape[1] - 1)]
        return sequence

    def masked(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Runs of frames and bands set to the mean, 0, in standardised, padded audio `(B, T, bands)`."""
        features = features.clone()
        for row, length in enumerate(mask.sum(1).tolist()):
            for axis, longest, size in ((0, self.time_mask, length), (1, self.frequency_mask, features.shape[2])):
                width = min(int(_random() * (longest + 1)), size)
                start = int(_random() * (size - width + 1))
                features[row].narrow(axis, start, width).zero_()
        return features

    def noisy(self, features: torch.Tensor) -> torch.Tensor:
        """Standardised features plus noise."""
        return features + self.noise * torch.randn_like(features) if self.noise else features

    def without_tokens(self, input_ids: torch.Tensor, tokenizer) -> torch.Tensor:
        """`(B, S)` ids with some tokens unknown."""
        if not self.token_mask:
            return input_ids
        kept = (input_ids == tokenizer.pad_token_id) | (input_ids == tokenizer.eos_token_id)
        hidden = (torch.rand(input_ids.shape) < self.token_mask) & ~kept
        return input_ids.masked_fill(hidden, tokenizer.unk_token_id)


def _random() -> float:
    return torch.rand(()).item()
