"""Features that raw files bring along: repaired and counted on their way into a table of their own.

Files from the wild hold -inf (the logarithm of silence), NaN, and zeros that stand for a missing clip.

- A cell that is not finite takes the mean of its column over the utterance; where the utterance has none, over the
  training rows; a column that has no finite cell there either is 0 throughout, and said to be.
- A step in which no cell is finite is dropped; of modalities with equally many steps (aligned ones) in all or in none.
- A sequence of nothing but zeros is a missing one.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dataset_scripts.readers import Item, StoredSet, Tally
from dataset_scripts.schema import MODALITIES, validate_example


class StoredTable:
    """The rows of one stored set, and what became of its features.

    Args:
        stored: the set.
        items: all rows; those of `train` give the means of columns that an utterance lacks.

    Attributes:
        rows: modality -> rows that have it. `cells_repaired`, `steps_dropped`: over all rows. `problems`: the reasons.
    """

    def __init__(self, stored: StoredSet, items: Sequence[Item]):
        self.stored = stored
        self.rows: Counter = Counter()
        self.cells_repaired = self.steps_dropped = 0
        self.problems = Tally()
        self._training = [item.example["id"] for item in items if item.example["split"] == "train"]
        self._means: dict[str, np.ndarray] = {}

    def examples(self, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
        """The rows of `items` with their features.

        Raises:
            ValueError: features of another width than the set declares; names row and set.
        """
        for item in items:
            example = dict(item.example)
            found = {name: _as_float32(value) for name, value in self.stored.get(example["id"]).items()}
            for modality, sequence in self._repaired(example["id"], found).items():
                example[f"{modality}_features"] = sequence
                self.rows[modality] += 1
            try:
                validate_example(example, self.stored.sizes)
            except ValueError as error:
                raise ValueError(f"{self.stored.source}: {error}") from None
            yield example

    def _repaired(self, row: str, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What is left of the features of a row, by modality."""
        kept = {}
        for modality, keep in _steps_to_keep(found).items():
            sequence, where = found[modality][keep], f"{row}: {modality}"
            cells = int((~np.isfinite(sequence)).sum())
            steps = int((~keep).sum())
            self.cells_repaired += cells
            self.steps_dropped += steps
            if cells or steps:
                self.problems.add("NaN or infinity", f"{where}: {cells} cells repaired, {steps} steps dropped")
                sequence = self._filled(sequence, modality, where)
            if not len(sequence):
                self.problems.add("no steps", where)
            elif not sequence.any():
                self.problems.add("nothing but zeros, taken as missing", where)
            else:
                kept[modality] = sequence
        return kept

    def _filled(self, sequence: np.ndarray, modality: str, where: str) -> np.ndarray:
        """The sequence (T, d) with means of its columns where cells are not finite."""
        means = _column_means([sequence])
        if np.isnan(means).any() and len(sequence):
            self.problems.add("column without a value in the utterance, filled by the training rows' mean", where)
            means = np.where(np.isnan(means), self._training_means(modality), means)
        return np.where(np.isfinite(sequence), sequence, means.astype(np.float32))

    def _training_means(self, modality: str) -> np.ndarray:
        """Mean of each column over the training rows, made when it is first needed; 0 where none has a value."""
        if modality not in self._means:
            rows = (self.stored.get(row).get(modality) for row in self._training)
            means = _column_means(_as_float32(row) for row in rows if row is not None)
            for column in np.flatnonzero(np.isnan(means)):
                self.problems.add("column without a value in any training row, set to 0", f"{modality} column {column}")
            self._means[modality] = np.nan_to_num(means)
        return self._means[modality]


def _as_float32(sequence: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and are repaired as such
        return np.asarray(sequence, dtype=np.float32)


def _steps_to_keep(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """For each modality a mask (T,) of the steps with a value; of aligned modalities one mask, with a value in any."""
    keep = {modality: np.isfinite(sequence).any(axis=1) for modality, sequence in found.items()}
    if len(found) > 1 and len({len(sequence) for sequence in found.values()}) == 1:
        anywhere = np.logical_or.reduce(list(keep.values()))
        return dict.fromkeys(keep, anywhere)
    return keep


def _column_means(sequences: Iterable[np.ndarray]) -> np.ndarray:
    """Mean over the finite cells of each column of (T, d) sequences, (d,) float64; NaN where there is none."""
    total = count = np.zeros(1)
    for sequence in sequences:
        finite = np.isfinite(sequence)
        total = total + np.where(finite, sequence, 0).sum(axis=0, dtype=np.float64)
        count = count + finite.sum(axis=0)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def stored_spec(stored: StoredSet) -> dict[str, dict[str, Any] | None]:
    """The content of features.json for one set. Sets of one name and width can be trained on together."""

    def spec(modality: str) -> dict[str, Any]:
        identity = json.dumps([stored.name, modality, stored.sizes[modality]])
        fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:12]
        settings = {"source": stored.source.encode("utf-8", "replace").decode()}  # a name may be no text
        return {
            "name": stored.name,
            "size": stored.sizes[modality],
            "fingerprint": fingerprint,
            "settings": settings,
        }

    return {modality: spec(modality) if modality in stored.sizes else None for modality in MODALITIES}
