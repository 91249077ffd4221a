"""A saved model, scored on prepared datasets under one protocol or with every set of modalities: results files."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from dataset_scripts.hub_names import error_line
from dataset_scripts.utils.files import file_digest
from dataset_scripts.utils.outputs import check_files, claimed, mark_stale, new_folder, replaced_files, settle
from modeling_unimse import UniMSEProcessor
from trainer.adapters import is_adapter, load_model
from trainer.checkpointing import BEST, environment
from trainer.data import UtteranceDataset, feature_specs, load_split
from trainer.decoders import DECODERS
from trainer.evaluation import (
    check_gold_emotions,
    describe_checkpoint,
    describe_data,
    describe_results,
    emotion_sets,
    predict,
)
from trainer.metric_names import MODALITIES
from trainer.predictions_file import write_predictions
from trainer.results_file import read_results, write_results
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
    checkpoint: str | Path,
    folders: Sequence[str | Path],
    out: Path,
    protocol: Protocol = Protocol(),
    overwrite: bool = False,
) -> list[Path]:
    """Evaluate a saved model on prepared folders; with several processes each sample is evaluated once.

    Args:
        checkpoint: folder, run folder, or Hub name; a whole model or an adapter.
        folders: prepared folders or Hub datasets.
        out: results file, `*.json`; predictions lie beside it as Parquet. With `missing_modalities` the smaller sets of
            modalities get files of their own, such as `<out>.text-audio.json`.
        overwrite: replace results that are there, all together once the last of the new ones is made.

    A call that was killed goes on when it is made again: sets of modalities that were done are not asked again.

    Returns:
        The results files, that of all modalities first.

    Raises:
        ValueError: features made by other extractors than the model was trained with, no such split, wrong modalities,
            gold emotions that are not scored, `out` of another name.
        FileExistsError: results are there, or files that are none, or another process writes them.
        OSError: no checkpoint there.
    """
    if out.suffix != ".json" or out.is_dir():
        raise ValueError(f"{out}: expected the name of a results file, such as {out.with_suffix('')}.json")
    accelerator = Accelerator()
    check_processes(accelerator)
    with claimed(out) if accelerator.is_main_process else nullcontext():
        _check_room([out], overwrite, protocol.states)
        checkpoint = find_checkpoint(checkpoint)
        load_models_whole()
        processor, model, described = _load_model(checkpoint)
        training = training_of(model, checkpoint)
        conditions = list(_conditions(training["protocol"]["modalities"], protocol))
        paths = [_beside(out, "" if asked == conditions[0] else f".{'-'.join(asked)}", ".json") for asked in conditions]
        _check_room(paths, overwrite, protocol.states)
        accelerator.wait_for_everyone()  # every process has looked
        datasets = _load(checkpoint, processor, folders, training["protocol"].get("feature_sets"), protocol)
        shared = {"run": training["run"], "seed": training["seed"], "data": describe_data(datasets), **environment()}
        shared["checkpoint"] = described
        protocols = (_describe(training["protocol"], processor, modalities, protocol) for modalities in conditions)
        facts = {path.name: {**shared, "protocol": one} for path, one in zip(paths, protocols, strict=True)}
        ask = partial(
            *(predict, model.to(accelerator.device), processor, datasets, accelerator),
            batch_size=protocol.batch_size,
            decoding=protocol.decoding,
        )
        _evaluate_each(out, facts, ask, accelerator, protocol.states)
    accelerator.wait_for_everyone()
    return paths


def _evaluate_each(out: Path, facts: dict[str, dict], ask: Callable, accelerator: Accelerator, states: bool) -> None:
    """Evaluate under each protocol and put all results in place at once; what a killed call finished is not done again.

    Args:
        facts: name of each results file -> what it says of the evaluation, `protocol` among it; that of `out` first.
        ask: modalities -> prediction rows.
        states: keep the text states of the first.
    """
    is_main = accelerator.is_main_process
    with replaced_files(out, keep=True) if is_main else nullcontext(new_folder(out)) as new:
        (done,) = broadcast_object_list([_keep_finished(new, facts, out.name if states else None) if is_main else None])
        if done and is_main:
            print(f"{len(done)} of {len(facts)} sets of modalities were evaluated before; going on")
        for name in (name for name in facts if name not in done):
            began = time.monotonic()
            rows = ask(modalities=facts[name]["protocol"]["modalities"], states=states and name == out.name)
            if is_main:
                seconds = {"evaluate": round(time.monotonic() - began, 1)}
                _write(new / name, rows, describe_results(rows, model=ask.args[0], seconds=seconds, **facts[name]))
        if is_main:
            written = {path.name for path in new.iterdir()}
            old = {beside for name in facts for beside in _beside_of(out.with_name(name))}
            mark_stale(new, old - written)
        accelerator.wait_for_everyone()


def _keep_finished(folder: Path, facts: dict[str, dict], with_states: str | None) -> list[str]:
    """Names of the results files in a folder that are whole and of this very evaluation; the other files go."""
    done, kept = [], set()
    for name, expected in facts.items():
        try:
            results = read_results(folder / name)
            files = [results.beside("predictions")] + [results.beside("states")] * (name == with_states)
            as_asked = (results.content["states"] is not None) == (name == with_states)
        except (OSError, ValueError):  # not there, or cut short
            continue
        same = all(results.content[key] == value for key, value in expected.items() if key != "command")
        if same and as_asked and None not in files:
            done.append(name)
            kept.update({folder / name, *files})
    for path in folder.iterdir():
        if path not in kept:
            path.unlink()
    return done


def _load_model(checkpoint: str | Path) -> tuple:
    """Processor and model, and what `describe_checkpoint` says of them."""
    try:
        described = describe_checkpoint(checkpoint)
        processor, model = UniMSEProcessor.from_pretrained(checkpoint), load_model(checkpoint)
        after = describe_checkpoint(checkpoint)
    except OSError as error:
        if Path(checkpoint).is_dir():
            raise
        raise OSError(
            f"{checkpoint}: no such folder, and no model that the Hub gives by this name ({error_line(error)})"
        ) from error
    if after != described:
        raise ValueError(f"{checkpoint}: was replaced while it was read, such as by a training; evaluate it again")
    return processor, model, described


def _beside(out: Path, condition: str, suffix: str) -> Path:
    """`out` with a condition in its name or with another suffix; names may have dots of their own."""
    return out.with_name(f"{out.name.removesuffix('.json')}{condition}{suffix}")


def _check_room(paths: Sequence[Path], overwrite: bool, states: bool) -> None:
    """Refuse to replace results without `overwrite`, and ever to replace files that are none.

    Raises:
        FileExistsError: names the first file.
    """
    for path in paths:
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path}: exists; name another file or pass --overwrite")
        own = _beside_of(path)
        check_files([path], lambda one: bool(_old_content(one)))
        beside = [_beside(path, "", ".parquet")] + [_beside(path, "", ".states.parquet")] * states
        check_files(beside, lambda one, own=own: one.name in own)


def _old_content(path: Path) -> dict:
    """Of a results file; empty where there is none, or another file."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and {"run", "seed", "protocol", "metrics"} <= set(content) else {}


def _beside_of(path: Path) -> set[str]:
    """Names of the files that were written with an earlier results file, under the names that it gives them."""
    content, found = _old_content(path), set()
    for name, suffix in (("predictions", ".parquet"), ("states", ".states.parquet")):
        entry, there = content.get(name), _beside(path, "", suffix)
        named = isinstance(entry, dict) and entry.get("file") == there.name and there.is_file()
        if named and file_digest(there) == entry.get("sha256"):
            found.add(there.name)
    return found


def _conditions(trained: Sequence[str], protocol: Protocol) -> Iterator[list[str]]:
    """The sets of modalities to evaluate: the whole one, then the smaller ones by size."""
    asked = list(trained if protocol.modalities is None else protocol.modalities)
    for name in asked:
        if name not in trained:
            raise ValueError(f"modalities: the model was trained with {', '.join(trained)}, got {name!r}")
    if not asked or len(set(asked)) < len(asked):
        raise ValueError(f"modalities: expected each once, got {', '.join(asked) or 'none'}")
    whole = [name for name in MODALITIES if name in asked]
    if protocol.missing_modalities and len(whole) == 1:
        raise ValueError(f"missing_modalities: expected several modalities, got {whole[0]} alone")
    yield whole
    if protocol.missing_modalities:
        for size in range(len(whole) - 1, 0, -1):
            yield from map(list, combinations(whole, size))


def _load(checkpoint, processor: UniMSEProcessor, folders, sets, protocol: Protocol) -> dict[str, UtteranceDataset]:
    """The datasets, after the checks that their features are what the model was trained with."""
    processor.feature_extractor.check_specs(feature_specs(folders, sets), str(checkpoint))
    if protocol.context is not None:
        processor.context_before, processor.context_after = protocol.context
    datasets = load_split(folders, protocol.split, False, processor.context_before, processor.context_after, sets)
    check_gold_emotions(datasets, emotion_sets(datasets, processor.emotions))
    return datasets


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
    predictions, states = _beside(path, "", ".parquet"), None
    write_predictions(predictions, rows)
    if "text_states" in rows[0]:
        states = _beside(path, "", ".states.parquet")
        before, after = zip(*(row["text_states"] for row in rows), strict=True)
        write_states(states, [row["id"] for row in rows], before, after)
    write_results(path, content, predictions, states)


def find_checkpoint(path: str | Path) -> str | Path:
    """The checkpoint that a user means: a checkpoint folder, the best one of a run folder, or a Hub name as it is."""
    folder = Path(path)
    settle(folder)
    settle(folder / BEST)
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
