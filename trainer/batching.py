"""Which samples make each batch of an epoch: mixing of datasets, batches of similar length, shares of processes.

Everything follows from the seed and the number of the epoch. The global batches of N processes with B samples each are
those of one process with N*B, and a run that is resumed goes on at any batch without reading those before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from trainer.fields import check_fields

MIXINGS = ("size", "temperature", "weights")
_BUCKET = 32  # global batches whose samples are sorted by length together


@dataclass(frozen=True)
class Draw:
    """A sample of an epoch: its place in the data, and the seed of whatever is random about it (dropout of modalities,
    augmentation). The seed does not depend on the process or worker that reads the sample."""

    index: int
    seed: int


@dataclass(frozen=True)
class Mixing:
    """How often each dataset is seen.

    Args:
        by: `size` = every sample once an epoch; `temperature` = datasets in proportion to size ** (1 / temperature);
            `weights` = in the given proportion. An epoch has as many samples as there are, however they are mixed.
        temperature: >= 1; larger = more even.
        weights: dataset name -> number > 0, one for each dataset.
    """

    by: str = "size"
    temperature: float = 2.0
    weights: Mapping[str, float] | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Mixing":
        """Raises a `ValueError` for unknown fields and values out of range."""
        check_fields(settings, (item.name for item in fields(cls)), "mixing")
        mixing = cls(**settings)
        if mixing.by not in MIXINGS:
            raise ValueError(f"mixing.by: expected one of {', '.join(MIXINGS)}, got {mixing.by!r}")
        if not isinstance(mixing.temperature, int | float) or not mixing.temperature >= 1:
            raise ValueError(f"mixing.temperature: expected a number >= 1, got {mixing.temperature!r}")
        if mixing.by == "weights" and not (mixing.weights and all(value > 0 for value in mixing.weights.values())):
            raise ValueError(f"mixing.weights: expected a number > 0 for each dataset, got {mixing.weights}")
        return mixing

    def counts(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Dataset -> samples an epoch, for datasets of these sizes; they add up to the sum of the sizes.

        Raises:
            ValueError: weights for other datasets than these.
        """
        if self.by == "size":
            return dict(sizes)
        if self.by == "weights" and set(self.weights) != set(sizes):
            raise ValueError(f"mixing.weights: expected the datasets {', '.join(sizes)}, got {', '.join(self.weights)}")
        shares = (
            self.weights if self.by == "weights" else {n: size ** (1 / self.temperature) for n, size in sizes.items()}
        )
        total, whole = sum(sizes.values()), sum(shares.values())
        exact = {name: total * shares[name] / whole for name in sizes}
        counts = {name: int(value) for name, value in exact.items()}
        rest = sorted(exact, key=lambda name: counts[name] - exact[name])  # largest remainder first
        for name in rest[: total - sum(counts.values())]:
            counts[name] += 1
        return counts


class EpochBatches:
    """The batches of one process, as a batch sampler of a `DataLoader`: lists of `Draw`s.

    Args:
        sizes: dataset name -> samples, in the order in which the datasets are joined.
        lengths: one number a sample, alike for samples that fit into one batch; `None` = batches of any lengths.
        batch_size: samples a process and batch.
        seed: of the run.
        mixing: of the datasets.
        processes, rank: this process takes every batch's share number `rank` of `processes`. A last batch that cannot
            be shared evenly is filled up with samples of the epoch's beginning.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        lengths: Sequence[int] | None,
        batch_size: int,
        seed: int,
        mixing: Mixing | None = None,
        processes: int = 1,
        rank: int = 0,
    ):
        self.sizes, self.lengths, self.seed = dict(sizes), lengths, seed
        self.batch_size, self.processes, self.rank = batch_size, processes, rank
        self.counts = (mixing or Mixing()).counts(self.sizes)
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return -(-sum(self.counts.values()) // (self.batch_size * self.processes))

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, and the number of its batches to leave out at the beginning."""
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[list[Draw]]:
        for batch in self._global_batches()[self.start :]:
            share = len(batch) // self.processes
            yield batch[self.rank * share : (self.rank + 1) * share]

    def _global_batches(self) -> list[list[Draw]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(np.concatenate(self._chosen(rng)))
        size = self.batch_size * self.processes
        order = self._bucketed(order, size) if self.lengths is not None else order
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        missing = -len(batches[-1]) % self.processes
        batches[-1] = np.concatenate([batches[-1], np.resize(order, missing)])
        if self.lengths is not None:
            batches = [batches[place] for place in rng.permutation(len(batches) - 1)] + batches[-1:]
        seeds = rng.integers(2**62, size=(len(batches), size))
        return [
            [Draw(int(index), int(seed)) for index, seed in zip(batch, row, strict=False)]
            for batch, row in zip(batches, seeds, strict=True)
        ]

    def _chosen(self, rng) -> list[np.ndarray]:
        """Samples of each dataset: whole passes over it, and a part of one more."""
        chosen, first = [], 0
        for name, size in self.sizes.items():
            passes = [rng.permutation(size) for _ in range(-(-self.counts[name] // size))]
            chosen.append(first + np.concatenate([*passes, np.zeros(0, int)])[: self.counts[name]])
            first += size
        return chosen

    def _bucketed(self, order: np.ndarray, size: int) -> np.ndarray:
        """The order with samples of similar length side by side, within stretches of some batches."""
        lengths = np.asarray(self.lengths)
        stretches = [order[start : start + _BUCKET * size] for start in range(0, len(order), _BUCKET * size)]
        return np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in stretches])
