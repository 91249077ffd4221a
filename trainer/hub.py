"""A checkpoint as a folder in Hub layout: weights, processor, remote code, card and results."""

import fnmatch
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from dataset_scripts.utils.files import check_space, folder_size, link_or_copy
from dataset_scripts.utils.outputs import claimed, replaced_folder, settle
from trainer.adapters import BASE, is_adapter, point_to_hub
from trainer.card_folder import RESULTS, add_results
from trainer.card_metadata import PROJECT_MODEL_ID, CardSettings
from trainer.checkpointing import BEST, CHECKPOINT_FILES, MODEL, check_model_folder
from trainer.evaluation import check_scored_weights
from trainer.results_file import read_results
from trainer.uploads import Upload

BASE_NAME = "00000000-base"  # in the queue of uploads before every step
FINAL_NAME = "final"  # and behind every step
# Fields of a run's config that its card shows, where they are set.
_TRAINING_FIELDS = (
    *("epochs", "patience", "batch_size", "gradient_accumulation", "learning_rate", "fusion_learning_rate"),
    *("encoder_learning_rate", "contrastive_learning_rate", "weight_decay", "warmup_ratio", "scheduler"),
    *("max_grad_norm", "mixed_precision", "trainable_blocks", "peft", "modality_dropout", "augmentation", "mixing"),
)
Part = tuple[str, Upload, Callable[[Path], None]]  # an upload by name, and what writes its files into a folder


def publish_folder(
    run_folder: Path,
    out: Path,
    results: Sequence[Path] = (),
    overwrite: bool = False,
    model_id: str = PROJECT_MODEL_ID,
    with_predictions: bool = False,
) -> Path:
    """Lays out the best checkpoint of a run as a model repository.

    Args:
        run_folder: `runs/<run>/seed-<seed>`.
        out: the folder to make.
        results: further results files for the tables of the card (other seeds, ablations).
        overwrite: replace an `out` that exists and is not empty.
        model_id: Hub name of the model, for the card.
        with_predictions: also the predictions beside the results: ids and labels, which may not be passed on of most
            data sets.

    Returns:
        `out`, whole: it is written aside and renamed.

    Raises:
        FileNotFoundError: the run has no checkpoint or no results.
        FileExistsError: `out` is not empty and `overwrite` is not given, is no model, or is being written.
        OSError: `out` cannot be written, or its disk is too full.
        ValueError: the checkpoint is an adapter, which needs its base beside it; its weights are not those that were
            scored.
    """
    check_finished(run_folder)
    if is_adapter(run_folder / BEST):
        raise ValueError(
            f"{run_folder}: holds an adapter, which one folder cannot publish with its base; `unimse push` sends both, "
            "`unimse merge` makes one model of them"
        )
    settings = card_settings(run_folder, model_id)
    others = [path for path in results if path.resolve() != (run_folder / RESULTS).resolve()]
    with claimed(out):
        check_model_folder(out, overwrite, [run_folder / BEST, run_folder / RESULTS, *results])
        check_space(out, folder_size(run_folder / BEST))
        with replaced_folder(out, drop=MODEL.files) as new:
            fill_repository(new, run_folder / BEST, run_folder / RESULTS, settings, others, with_predictions)
            check_scored_weights(new, read_results(run_folder / RESULTS), named=run_folder / BEST)
    return out


def check_finished(run_folder: Path) -> None:
    """Raise a `FileNotFoundError` unless a run has its best checkpoint and test results."""
    settle(run_folder)
    settle(run_folder / BEST)
    for name in (BEST, RESULTS):
        if not (run_folder / name).exists():
            raise FileNotFoundError(f"{run_folder / name} not found: expected a finished run folder, got {run_folder}")


def fill_repository(
    folder: Path,
    checkpoint: Path,
    results: Path,
    settings: CardSettings,
    others: Sequence[Path] = (),
    with_predictions: bool = False,
    link: bool = False,
) -> None:
    """Write the files of a model repository.

    Args:
        folder: made where there is none.
        results: the checkpoint's own, for `results.json` and the card.
        settings: for the card; `model_id` is where an adapter finds its base.
        others, with_predictions: see `publish_folder`.
        link: hard links instead of copies, where the file system has them; for folders that nobody edits.
    """
    shutil.copytree(
        checkpoint,
        folder,
        copy_function=link_or_copy if link else shutil.copy2,
        ignore=_not_of_a_checkpoint,
        dirs_exist_ok=True,
    )
    if is_adapter(folder):
        point_to_hub(folder, settings.model_id)
    add_results(folder, results, settings, others, with_predictions)


def _not_of_a_checkpoint(folder: str, names: list[str]) -> set[str]:
    """What a user keeps in a checkpoint is not published, nor is the card that peft writes, which ours replaces."""
    kept = (fnmatch.filter(names, pattern) for pattern in CHECKPOINT_FILES if pattern != "README.md")
    return set(names) - {name for found in kept for name in found}


def card_settings(run_folder: Path, model_id: str) -> CardSettings:
    """What the card of a run says beside its results: backbone, and how it was trained, without paths."""
    config = yaml.safe_load((run_folder / "config.yaml").read_text(encoding="utf-8"))
    facts = json.loads((run_folder / "environment.json").read_text(encoding="utf-8"))
    backbone = config["backbone"]
    training = {"started_from": "scratch" if backbone is None else hub_name(backbone) or Path(backbone).name}
    for name in ("training_data", "validation_data"):
        parts = (f"{data} {part['rows']} rows ({part['fingerprint']})" for data, part in facts[name].items())
        training[name] = ", ".join(parts)
    training |= {name: config[name] for name in _TRAINING_FIELDS if config.get(name) not in (None, {}, [])}
    return CardSettings(model_id, hub_name(backbone), training | {"processes": facts["processes"]})


def link_files(source: Path, target: Path) -> None:
    """Copy a folder by hard links, where the file system has them."""
    shutil.copytree(source, target, copy_function=link_or_copy, dirs_exist_ok=True)


def final_parts(run_folder: Path, repo: str, private: bool, with_predictions: bool) -> Iterator[Part]:
    """The best checkpoint with its test results; before it, of an adapter, the base.

    Raises:
        ValueError: the weights are not those that were scored.
    """
    check_scored_weights(run_folder / BEST, read_results(run_folder / RESULTS))
    if is_adapter(run_folder / BEST):
        yield base_part(run_folder, repo, private)
    upload = Upload(repo, "Best checkpoint with its test results", tag="final", private=private)
    yield (
        FINAL_NAME,
        upload,
        lambda out: fill_repository(
            out,
            run_folder / BEST,
            run_folder / RESULTS,
            card_settings(run_folder, repo),
            with_predictions=with_predictions,
            link=True,
        ),
    )


def base_part(run_folder: Path, repo: str, private: bool) -> Part:
    """The model that an adapter stands on, for the branch of that name."""
    return (
        BASE_NAME,
        Upload(repo, "The model that the adapter stands on", branch=BASE, private=private),
        lambda out: link_files(run_folder / BASE, out),
    )


def hub_name(backbone: str | None) -> str | None:
    """The backbone as `base_model` of a card: a Hub name, or `None` for a folder or a model from scratch."""
    return backbone if backbone and not Path(backbone).exists() and backbone.count("/") == 1 else None
