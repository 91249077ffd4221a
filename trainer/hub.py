"""A checkpoint as a folder in Hub layout: weights, processor, remote code, card and results."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from trainer.checkpointing import BEST
from trainer.model_card import write_model_card


def publish_folder(run_folder: Path, out: Path, results: Sequence[Path] = (), overwrite: bool = False, **card) -> Path:
    """Lays out the best checkpoint of a run as a model repository.

    Args:
        run_folder: `runs/<run>/seed-<seed>`.
        out: the folder to make.
        results: further results files for the tables of the card (other seeds, ablations).
        overwrite: replace an `out` that exists and is not empty.
        card: further arguments of `trainer.model_card.write_model_card`.

    Returns:
        `out`, whole: it is written aside and renamed.

    Raises:
        FileNotFoundError: the run has no checkpoint or no results.
        FileExistsError: `out` is not empty.
    """
    if not overwrite and out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out}: exists and is not empty; name another folder or pass --overwrite")
    checkpoint, own = run_folder / BEST, run_folder / "results.json"
    for needed in (checkpoint / "config.json", own):
        if not needed.is_file():
            raise FileNotFoundError(f"{needed} not found: expected a finished run folder, got {run_folder}")
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(checkpoint, partial)
    shutil.copy(own, partial / "results.json")
    others = [path for path in results if path.resolve() != own.resolve()]
    write_model_card([own, *others], partial / "README.md", **card)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)
    return out
