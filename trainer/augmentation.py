"""Changes of training inputs that make a small training set go further."""

from dataclasses import dataclass, fields

import numpy as np
import torch

from trainer.fields import check_fields


@dataclass
class Augmentation:
    """Changes of the features of one training sample; all off by default, as in the paper.

    What is random comes from the generator that is passed in, one a sample: a sample is changed in the same way in any
    batch, process or worker, and when a run is resumed.

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
        check_fields(settings, (item.name for item in fields(cls)), "augmentation")
        for name, value in settings.items():
            if not isinstance(value, (int, float)) or value < 0:
                raise ValueError(f"augmentation.{name}: expected a number >= 0, got {value!r}")
        return cls(**settings)

    def stretched(self, sequence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Stretches and shifts raw `(T, bands)` features."""
        if self.time_stretch:
            factor = 1 + self.time_stretch * rng.uniform(-1, 1)
            places = np.linspace(0, len(sequence) - 1, max(1, round(len(sequence) * factor)))
            low = places.astype(int)
            high = np.minimum(low + 1, len(sequence) - 1)
            weight = (places - low)[:, None].astype(np.float32)
            sequence = sequence[low] * (1 - weight) + sequence[high] * weight
        if self.frequency_shift:
            shift = round(self.frequency_shift * rng.uniform(-1, 1))
            sequence = sequence[:, np.clip(np.arange(sequence.shape[1]) - shift, 0, sequence.shape[1] - 1)]
        return sequence

    def mask(self, features: torch.Tensor, rng: np.random.Generator) -> None:
        """Sets runs of frames and bands of standardised features `(T, bands)` to the mean, 0, in place."""
        for axis, longest in ((0, self.time_mask), (1, self.frequency_mask)):
            size = features.shape[axis]
            width = min(int(rng.integers(longest + 1)), size)
            features.narrow(axis, int(rng.integers(size - width + 1)), width).zero_()

    def add_noise(self, features: torch.Tensor, rng: np.random.Generator) -> None:
        """Adds noise to standardised features `(T, d)`, in place."""
        if self.noise:
            features.add_(torch.from_numpy(rng.standard_normal(features.shape, np.float32)), alpha=self.noise)

    def hide_tokens(self, input_ids: torch.Tensor, tokenizer, rng: np.random.Generator) -> None:
        """Makes some of the ids `(S,)` unknown, in place."""
        if self.token_mask:
            kept = (input_ids == tokenizer.pad_token_id) | (input_ids == tokenizer.eos_token_id)
            hidden = torch.from_numpy(rng.random(len(input_ids)) < self.token_mask) & ~kept
            input_ids.masked_fill_(hidden, tokenizer.unk_token_id)
