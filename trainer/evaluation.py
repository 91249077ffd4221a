"""Predictions for prepared datasets, and the content of the results file made from them.

Only gold fields are scored; a prediction that is no label is counted, never guessed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import torch
from accelerate import Accelerator
from huggingface_hub import snapshot_download
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from dataset_scripts.utils.files import content_digest
from modeling_unimse import BENCHMARK_EMOTIONS, UniMSEProcessor
from trainer.adapters import base_of, is_adapter, parameter_count
from trainer.data import Collator, Indexed, UtteranceDataset
from trainer.decoders import DECODERS
from trainer.results_checks import SCHEMA_VERSION
from trainer.results_file import Results
from trainer.scoring import BOOTSTRAP, score
from trainer.sharding import gathered_root, is_sharded
from trainer.text_states import TextStates

_GOLD = ("id", "dataset", "sentiment", "emotion")


@torch.no_grad()
def predict(
    model,
    processor: UniMSEProcessor,
    datasets: dict[str, UtteranceDataset],
    accelerator: Accelerator,
    modalities: Sequence[str] = ("text", "audio", "visual"),
    batch_size: int = 64,
    progress: bool = True,
    decoding: str = "greedy",
    states: bool = False,
) -> list[dict]:
    """One row a sample, each exactly once however many processes take part.

    Args:
        model: a `UniMSEForConditionalGeneration`, or an adapter around one, on the accelerator's device, not wrapped;
            sharded by FSDP2 or ZeRO-3 or whole.
        datasets: by dataset name; the emotions of a benchmark are the only ones its samples can get.
        modalities: what the model may see; without `text` it reads no words, neither the sample's nor its context's.
        decoding: name of a decoder in `trainer.decoders.DECODERS`.
        states: also keep the text states around fusion.

    Returns:
        Rows as `trainer.predictions_file.write_predictions` takes them, in the order of the datasets; with `states`
        also `text_states` `(2, d_model)`, before and after fusion (`trainer.text_states.TextStates`).

    Raises:
        ValueError: states of a model without fusion in its encoder, or a posterior of a sharded model.
        FloatingPointError: the model gives numbers that are none; names the first sample.
    """
    was_training = model.training
    sides = [name for name in modalities if name != "text"]
    collator = Collator(processor, sides, with_labels=False, with_text="text" in modalities)
    model.eval()
    try:
        rows = []
        for name, dataset in datasets.items():
            decoder = DECODERS[decoding](processor, name, is_sharded(model))
            found = _ask(model, decoder, Indexed({name: dataset}), collator, accelerator, batch_size, states, progress)
            _check_finite(found)
            rows += found
    finally:
        model.train(was_training)
    return rows


def _ask(model, decoder, samples: Indexed, collator, accelerator, batch_size, states, progress) -> list[dict]:
    """The prediction rows of one dataset."""
    loader = accelerator.prepare_data_loader(DataLoader(samples, batch_size=batch_size, collate_fn=collator))
    (name,) = samples.sizes
    answers = {}
    silent = not (progress and accelerator.is_main_process)
    for batch in tqdm(loader, desc=f"predict {name}", disable=silent, leave=False):
        index = batch.pop("sample_index")
        with accelerator.autocast(), gathered_root(model), TextStates(model) if states else nullcontext() as kept:
            found = decoder(model, batch)
        if states:
            found["text_states"] = _pair(kept)
        index, found = accelerator.gather_for_metrics((index, found))
        answers.update(zip(index.tolist(), _answers(decoder, found), strict=True))
    return [{key: row[key] for key in _GOLD} | answers[index] for index, row in enumerate(samples.rows)]


def _check_finite(rows: Sequence[dict]) -> None:
    """A broken model still writes labels, since decoding cannot leave the grammar."""
    for row in rows:
        for name in ("label_probability", "predicted_sentiment"):
            if row[name] is not None and not math.isfinite(row[name]):
                raise FloatingPointError(
                    f"{row['id']}: {name} is {row[name]}; weights or features hold NaN or infinity"
                )


def _pair(states: TextStates) -> torch.Tensor:
    """`(B, 2, d_model)`: before and after fusion."""
    if states.before is None:
        raise ValueError("states: expected a model with fusion in its encoder, got one without; leave --states out")
    return torch.stack([states.before, states.after], dim=1)


def _answers(decoder, found: dict[str, torch.Tensor]) -> list[dict]:
    states = found.pop("text_states", None)
    answers = decoder.answers(found)
    if states is not None:
        for answer, pair in zip(answers, states.float().cpu().numpy(), strict=True):
            answer["text_states"] = pair
    return answers


def describe_results(
    rows: Sequence[dict], *, run: str, seed: int, model, protocol: dict, data: dict, intervals: bool = True, **facts
) -> dict:
    """The content of the results file of prediction rows, as `trainer.results_file.write_results` takes it.

    Args:
        protocol: context, modalities, decoding, split and labels, as a reader needs them to compare.
        data: fingerprint, rows and split of each dataset.
        intervals: with bootstrap intervals, which take a second or two.
        facts: `environment()` (command, commit, versions), `describe_checkpoint(...)` as `checkpoint`, and `seconds`.
    """
    model_facts = {
        "name": model.config.model_type,
        "fusion_type": model.config.fusion_type,
        "sequence_summary": model.config.sequence_summary,
        "parameters": parameter_count(model),
    }
    if "settings" in (getattr(model.config, "training", None) or {}):
        model_facts["settings"] = model.config.training["settings"]
    if hasattr(model, "peft_config"):
        model_facts["peft"] = str(model.peft_config["default"].peft_type.value).lower()
    return {
        "schema_version": SCHEMA_VERSION,
        "run": run,
        "model": model_facts,
        "seed": seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
        "protocol": protocol,
        "data": data,
        **score(rows, emotion_sets(data, model.config.emotions), BOOTSTRAP if intervals else None),
    }


def describe_checkpoint(checkpoint: str | Path) -> dict:
    """`weights`, 12 digits of the SHA-256 over the weight files, and the Hub `repo` and `revision` they came from.

    Of an adapter the weights are those of its base and its own.
    """
    folder, repo, revision = Path(checkpoint), None, None
    if not folder.is_dir():
        folder = Path(snapshot_download(str(checkpoint), allow_patterns=["*.safetensors"]))
        repo, revision = str(checkpoint), folder.name
    parts = [folder] if not is_adapter(checkpoint) else [_base_folder(checkpoint), folder]
    files = [path for part in parts for path in sorted(part.glob("*.safetensors"))]
    if len({path.parent for path in files}) < len(parts):
        raise FileNotFoundError(f"{checkpoint}: expected weights as *.safetensors, found none")
    return {"weights": content_digest(files), "repo": repo, "revision": revision}


def check_scored_weights(checkpoint: str | Path, results: Results, named: Path | None = None) -> None:
    """Raise a `ValueError` unless a checkpoint's weights are those that its results are of.

    Args:
        named: what the message names instead, for a copy that will not stay.
    """
    weights, scored = describe_checkpoint(checkpoint)["weights"], results.content["checkpoint"].get("weights")
    if weights != scored:
        raise ValueError(
            f"{named or checkpoint}: weights: expected {scored}, which were scored in {results.path}, got {weights}: "
            "the file was changed or damaged; evaluate or train the model again"
        )


def _base_folder(adapter: str | Path) -> Path:
    base, revision = base_of(adapter)
    folder = Path(base)
    return (
        folder
        if folder.is_dir()
        else Path(snapshot_download(base, revision=revision, allow_patterns=["*.safetensors"]))
    )


def emotion_sets(names: Iterable[str], emotions: Sequence[str]) -> dict[str, list[str]]:
    """Dataset name -> the emotions it is scored over: those of the benchmark, else those of the model's grammar."""
    return {name: list(BENCHMARK_EMOTIONS.get(name, emotions)) for name in names}


def check_gold_emotions(datasets: Mapping[str, UtteranceDataset], sets: Mapping[str, Sequence[str]]) -> None:
    """Raise a `ValueError` that names the first sample whose gold emotion its dataset is not scored over."""
    for name, dataset in datasets.items():
        for row in dataset.rows:
            if row["emotion"] is not None and row["emotion"] not in sets[name]:
                raise ValueError(
                    f"{row['id']}: emotion: expected one of {', '.join(sets[name])}, as {name} is scored over, got "
                    f"{row['emotion']!r}; map it when preparing (--emotion-map), or name it in emotions of the run"
                )


def describe_data(datasets: dict[str, UtteranceDataset]) -> dict:
    """Fingerprint, rows and split of each dataset, as the results file holds them."""
    return {
        name: {"fingerprint": dataset.fingerprint, "rows": len(dataset), "split": dataset.rows[0]["split"]}
        for name, dataset in datasets.items()
    }
