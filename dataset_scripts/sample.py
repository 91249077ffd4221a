"""The embedded sample: four small benchmarks in their own raw layouts, written from nothing but a seed.

It lets everything be tried offline and in minutes, from raw folders to a published model, and it is made so that fusion
pays: only one modality of an utterance, its teller, expresses the emotion (`sample_plan`). Sentences, voices and faces
are our own and synthetic; nothing in it comes from the benchmarks but the shape of the folders (`sample_layouts`).
"""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataset_scripts.sample_layouts import Truth, write_iemocap, write_meld, write_mosei, write_mosi
from dataset_scripts.sample_plan import DATASETS, plan_dataset
from dataset_scripts.utils.files import check_space
from dataset_scripts.utils.outputs import check_folder, claimed, replaced_folder

WRITERS: dict[str, Callable[..., Truth]] = {
    "mosi": write_mosi,
    "mosei": write_mosei,
    "meld": write_meld,
    "iemocap": write_iemocap,
}
TRUTH = "truth.csv"  # it tells a sample, which is there as a whole or not at all
TRUTH_COLUMNS = ("id", "teller", "emotion", "sentiment")
BYTES = 40_000_000  # about, at scale 1


def write_sample(out: Path, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    """Write the sample; the same seed and scale give the same bytes.

    `out/mosi`, `out/mosei`, `out/meld` and `out/iemocap` are the raw folders. `out/truth.csv` has what no loader sees:
    per row id the teller, the emotion (MOSI and MOSEI publish none) and the sentiment in [-3, 3] (MELD and IEMOCAP
    publish none). The folder appears under its name only when it is whole.

    Args:
        out: folder to write; must not exist, or be empty.
        seed: not negative.
        scale: factor on the numbers of utterances, above 0; small values for tests.

    Returns:
        `{"out": str, "seed": int, "scale": float, "utterances": {dataset: {split: n}}, "bytes": int}`.

    Raises:
        ValueError: a seed below 0, or a scale that is not above 0.
        FileExistsError: `out` is a folder with something else in it, or is being written.
        OSError: `out` cannot be written, or its disk is too full.
        ImportError: av or h5py is not installed.
    """
    out = Path(out)
    _check(seed, scale)
    _require_libraries()
    with claimed(out):
        check_folder(out)
        check_space(out, int(BYTES * scale))
        with replaced_folder(out) as partial:
            counts = _write_datasets(partial, seed, scale)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"out": str(out), "seed": seed, "scale": scale, "utterances": counts, "bytes": size}


def _check(seed: int, scale: float) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"sample: seed: expected a whole number >= 0, got {seed!r}")
    if not 0 < scale <= 100:
        raise ValueError(f"sample: scale: expected a number above 0, at most 100, got {scale!r}")


def _require_libraries() -> None:
    """Fail before the work begins, with the remedy."""
    try:
        import av  # noqa: F401
        import h5py  # noqa: F401
    except ImportError as error:
        raise ImportError(f"the sample needs PyAV and h5py ({error}): pip install av h5py") from error


def _write_datasets(folder: Path, seed: int, scale: float) -> dict[str, dict[str, int]]:
    """Writes the raw folders and truth.csv; returns the utterances of each split as the loaders will count them."""
    from tqdm import tqdm

    plans = {dataset: plan_dataset(dataset, seed, scale) for dataset in DATASETS}
    total = sum(len(dialogue.utterances) for dialogues in plans.values() for dialogue in dialogues)
    counts: dict[str, dict[str, int]] = {}
    rows = []
    with tqdm(total=total, desc="sample", unit="utterance", disable=None) as progress:
        for dataset, dialogues in plans.items():
            splits: Counter[str] = Counter()
            (folder / dataset).mkdir()
            for row_id, utterance in WRITERS[dataset](folder / dataset, dialogues):
                rows.append((row_id, utterance.teller, utterance.emotion, f"{utterance.sentiment:.4f}"))
                splits[row_id.split("/")[1]] += 1
                progress.update()
            counts[dataset] = dict(splits)
    with (folder / TRUTH).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(TRUTH_COLUMNS)
        writer.writerows(rows)
    return counts
