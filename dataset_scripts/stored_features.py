"""Features that raw files bring along: repaired and counted on their way into a table of their own.

Files from the wild hold -inf (the logarithm of silence), NaN, and zeros that stand for a missing clip. A cell that is
not finite takes the mean of the finite cells of its column in the same utterance; a step in which no cell is finite is
dropped; a sequence of nothing but zeros is a missing one.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dataset_scripts.readers import Item, StoredSet, Tally
from dataset_scripts.schema import MODALITIES, validate_example


@dataclass
class StoredCounts:
    """What became of the features of one set."""

    rows: Counter = field(default_factory=Counter)
    cells_repaired: int = 0
    steps_dropped: int = 0
    problems: Tally = field(default_factory=Tally)


def stored_rows(items: Iterable[Item], stored: StoredSet, counts: StoredCounts) -> Iterator[dict[str, Any]]:
    """The rows of `items` with the features of one set.

    Raises:
        ValueError: features of another width than the set declares; names row and set.
    """
    for item in items:
        example = item.example
        for modality, sequence in stored.get(example["id"]).items():
            value = _usable(sequence, f"{example['id']}: {modality}", counts)
            if value is not None:
                example = {**example, f"{modality}_features": value}
                counts.rows[modality] += 1
        try:
            validate_example(example, stored.sizes)
        except ValueError as error:
            raise ValueError(f"{stored.source}: {error}") from None
        yield example


def stored_spec(stored: StoredSet) -> dict[str, dict[str, Any] | None]:
    """The content of features.json for one set. Sets of one name and width can be trained on together."""

    def spec(modality: str) -> dict[str, Any]:
        identity = json.dumps([stored.name, modality, stored.sizes[modality]])
        fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:12]
        settings = {
            "source": stored.source.encode("utf-8", "replace").decode("utf-8")
        }  # a name of bytes that are no text
        return {
            "name": stored.name,
            "size": stored.sizes[modality],
            "fingerprint": fingerprint,
            "settings": settings,
        }

    return {modality: spec(modality) if modality in stored.sizes else None for modality in MODALITIES}


def repair_features(sequence: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A sequence of finite values.

    Args:
        sequence: (T, d) numbers.

    Returns:
        float32 (T', d), how many cells were repaired, how many steps dropped.
    """
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and are repaired as such
        sequence = np.asarray(sequence, dtype=np.float32)
    finite = np.isfinite(sequence)
    if finite.all():
        return sequence, 0, 0
    keep = finite.any(axis=1)
    sequence, finite = sequence[keep], finite[keep]
    known = finite.sum(axis=0)
    means = np.where(finite, sequence, 0).sum(axis=0, dtype=np.float64) / np.maximum(known, 1)
    repaired = np.where(finite, sequence, means.astype(np.float32))
    return repaired, int((~finite).sum()), int((~keep).sum())


def _usable(sequence: np.ndarray, where: str, counts: StoredCounts) -> np.ndarray | None:
    """The sequence, repaired and counted, or `None` where nothing of it is left."""
    repaired, cells, steps = repair_features(sequence)
    counts.cells_repaired += cells
    counts.steps_dropped += steps
    if cells or steps:
        counts.problems.add("NaN or infinity", f"{where}: {cells} cells repaired, {steps} steps dropped")
    if not len(repaired):
        counts.problems.add("no steps", where)
        return None
    if not repaired.any():
        counts.problems.add("nothing but zeros, taken as missing", where)
        return None
    return repaired
