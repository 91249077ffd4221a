"""A saved model, scored on prepared datasets under one protocol or with every set of modalities: results files."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from accelerate import Accelerator

from modeling_unimse import UniMSEProcessor
from trainer.adapters import is_adapter, load_model
from trainer.checkpointing import BEST, environment
from trainer.data import UtteranceDataset, feature_specs, load_split
from trainer.decoders import DECODERS
from trainer.evaluation import describe_checkpoint, describe_data, describe_results, predict
from trainer.metric_names import MODALITIES
from trainer.predictions_file import write_predictions
from trainer.results_file import write_results
from trainer.sharding import check_processes, load_models_whole
from trainer.states_file import write_states


@dataclass(frozen=True)
class Protocol:
    """How a model is asked.

    Args:
        split: of the datasets.
        modalities: what the model may see, `text` among it or not; `None` = what it was trained with.
        missing_modalities: besides that, every smaller set of modalities that is not empty: six for three modalities.
        context: utterances before and after that it may read; `None` = as it was trained.
        decoding: `greedy` or `posterior`.
        states: keep the text states before and after fusion, for pictures; not those of the smaller sets.
        batch_size: samples a process and forward pass.
    """

    split: str = "test"
    modalities: Sequence[str] | None = None
    missing_modalities: bool = False
    context: tuple[int, int] | None = None
    decoding: str = "greedy"
    states: bool = False
    batch_size: int = 64


def evaluate_checkpoint(
    checkpoint: str | Path, folders: Sequence[str | Path], out: Path, protocol: Protocol = Protocol()
) -> list[Path]:
    """Evaluate a saved model on prepared folders; with several processes each sample is evaluated once.

    Args:
        checkpoint: folder, run folder, or Hub name; a whole model or an adapter.
        folders: prepared folders or Hub datasets.
        out: results file; predictions lie beside it as Parquet. With `missing_modalities` the smaller sets of
            modalities get files of their own, such as `out.text-audio.json`.

    Returns:
        The results files, that of all modalities first.

    Raises:
        ValueError: features made by other extractors than the model was trained with, no such split, wrong modalities.
        OSError: no checkpoint there.
    """
    checkpoint = find_checkpoint(checkpoint)
    accelerator = Accelerator()
    check_processes(accelerator)
    load_models_whole()
    processor = UniMSEProcessor.from_pretrained(checkpoint)
    model = load_model(checkpoint).to(accelerator.device)
    training = training_of(model, checkpoint)
    conditions = list(_conditions(training["protocol"]["modalities"], protocol))
    datasets = _load(checkpoint, processor, folders, training["protocol"].get("feature_sets"), protocol)
    facts = {**environment(), "checkpoint": describe_checkpoint(checkpoint), "data": describe_data(datasets)}
    written = []
    for modalities in conditions:
        path = out if modalities == conditions[0] else out.with_suffix(f".{'-'.join(modalities)}.json")
        began = time.monotonic()
        asked = {"batch_size": protocol.batch_size, "decoding": protocol.decoding}
        states = protocol.states and modalities == conditions[0]
        rows = predict(model, processor, datasets, accelerator, modalities, states=states, **asked)
        if accelerator.is_main_process:
            described = _describe(training["protocol"], processor, modalities, protocol)
            seconds = {"evaluate": round(time.monotonic() - began, 1)}
            shared = {"run": training["run"], "seed": training["seed"], "model": model, "seconds": seconds}
            _write(path, rows, describe_results(rows, protocol=described, **shared, **facts))
        written.append(path)
    accelerator.wait_for_everyone()
    return written


def _conditions(trained: Sequence[str], protocol: Protocol) -> Iterator[list[str]]:
    """The sets of modalities to evaluate: the whole one, then the smaller ones by size."""
    asked = list(trained if protocol.modalities is None else protocol.modalities)
    for name in asked:
        if name not in trained:
            raise ValueError(f"modalities: the model was trained with {', '.join(trained)}, got {name!r}")
    if not asked or len(set(asked)) < len(asked):
        raise ValueError(f"modalities: expected each once, got {', '.join(asked) or 'none'}")
    whole = [name for name in MODALITIES if name in asked]
    yield whole
    if protocol.missing_modalities:
        for size in range(len(whole) - 1, 0, -1):
            yield from map(list, combinations(whole, size))


def _load(checkpoint, processor: UniMSEProcessor, folders, sets, protocol: Protocol) -> dict[str, UtteranceDataset]:
    """The datasets, after the checks that their features are what the model was trained with."""
    processor.feature_extractor.check_specs(feature_specs(folders, sets), str(checkpoint))
    if protocol.context is not None:
        processor.context_before, processor.context_after = protocol.context
    return load_split(folders, protocol.split, False, processor.context_before, processor.context_after, sets)


def _describe(trained: dict, processor: UniMSEProcessor, modalities: list[str], protocol: Protocol) -> dict:
    """The protocol of an evaluation: that of the training, with what was asked otherwise."""
    return {
        **trained,
        "context_before": processor.context_before,
        "context_after": processor.context_after,
        "modalities": modalities,
        "decoding": DECODERS[protocol.decoding].protocol,
        "split": protocol.split,
    }


def _write(path: Path, rows: list[dict], content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    predictions, states = path.with_suffix(".parquet"), None
    write_predictions(predictions, rows)
    if "text_states" in rows[0]:
        states = path.with_suffix(".states.parquet")
        before, after = zip(*(row["text_states"] for row in rows), strict=True)
        write_states(states, [row["id"] for row in rows], before, after)
    write_results(path, content, predictions, states)


def find_checkpoint(path: str | Path) -> str | Path:
    """The checkpoint that a user means: a checkpoint folder, the best one of a run folder, or a Hub name as it is."""
    folder = Path(path)
    if (folder / BEST).is_dir():
        return folder / BEST
    if folder.is_dir() and not ((folder / "config.json").is_file() or is_adapter(folder)):
        raise FileNotFoundError(f"{folder}: expected a checkpoint or a run folder with {BEST}, found neither")
    if not folder.is_dir() and str(path).count("/") > 1:
        raise FileNotFoundError(f"{folder}: no such folder")
    return path


def training_of(model, checkpoint: str | Path) -> dict:
    """`run`, `seed` and `protocol` that training wrote into the configuration of a checkpoint."""
    training = getattr(model.config, "training", None)
    if training is None:
        raise ValueError(f"{checkpoint}: expected a checkpoint of `unimse train`, whose config tells its training")
    return training
