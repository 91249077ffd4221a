"""Predictions by constrained generation, and the results file made from them.

Results JSON (schema_version 1): run, model, seed, commit, created, command, versions, protocol, data (fingerprint and
rows of each test set), metrics (`<dataset>/<metric>`, `emotion_accuracy`, `parse_failures`), per_class, confusion,
reasons (why a metric is null), seconds. Only gold fields are scored; a prediction that is no label is counted, never
guessed.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import evaluate
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from modeling_unimse import BENCHMARK_EMOTIONS, UniMSEProcessor, format_label
from trainer.adapters import is_adapter, load_model, parameter_count
from trainer.checkpointing import BEST, environment
from trainer.data import Collator, Indexed, UtteranceDataset, feature_specs, load_split
from trainer.results_file import SCHEMA_VERSION
from trainer.sharding import gathered_root, is_sharded, load_models_whole

_METRICS = Path(__file__).parent / "metrics"
_DETAILS = ("per_class", "confusion", "intervals", "reasons", "samples", "parse_failures", "out_of_set")


@torch.no_grad()
def predict(
    model,
    processor: UniMSEProcessor,
    datasets: dict[str, UtteranceDataset],
    accelerator: Accelerator,
    modalities: Sequence[str] = ("audio", "visual"),
    batch_size: int = 64,
    progress: bool = True,
) -> list[dict]:
    """One row a sample, each exactly once however many processes take part.

    Args:
        model: a `UniMSEForConditionalGeneration`, or an adapter around one, on the accelerator's device, not wrapped;
            sharded by FSDP2 or ZeRO-3 or whole.
        datasets: by dataset name; the emotions of a benchmark are the only ones its samples can get.
        modalities: what the model may see besides text.

    Returns:
        Rows `id`, `dataset`, `sentiment` and `emotion` (gold or `None`), `prediction` (label text, or `None` where the
        output is no label), `predicted_sentiment`, `predicted_emotion`; in the order of the datasets.
    """
    was_training = model.training
    collator = Collator(processor, modalities, with_labels=False)
    model.eval()
    rows = []
    for name, dataset in datasets.items():
        samples = Indexed({name: dataset})
        loader = DataLoader(samples, batch_size=batch_size, collate_fn=collator)
        loader = accelerator.prepare_data_loader(loader)
        generate = {
            "logits_processor": processor.logits_processor(name),
            "max_new_tokens": processor.label_trie().max_length,
            "do_sample": False,
            "synced_gpus": is_sharded(model),  # then every process must make as many forward passes as the others
        }
        labels = {}
        silent = not (progress and accelerator.is_main_process)
        for batch in tqdm(loader, desc=f"predict {name}", disable=silent, leave=False):
            inputs = {key: value for key, value in batch.items() if key != "sample_index"}
            with accelerator.autocast(), gathered_root(model):
                ids = model.generate(**inputs, **generate)
            width = processor.label_trie().max_length + 1 - ids.shape[1]
            ids = torch.nn.functional.pad(ids, (0, width), value=processor.tokenizer.pad_token_id)
            indices, ids = accelerator.gather_for_metrics((batch["sample_index"], ids))
            labels.update(zip(indices.tolist(), processor.batch_decode_labels(ids), strict=True))
        rows += [_prediction_row(row, labels[index]) for index, row in enumerate(samples.rows)]
    model.train(was_training)
    return rows


def _prediction_row(row: dict, label) -> dict:
    return {
        "id": row["id"],
        "dataset": row["dataset"],
        "sentiment": row["sentiment"],
        "emotion": row["emotion"],
        "prediction": None if label is None else format_label(label),
        "predicted_sentiment": None if label is None else label.intensity,
        "predicted_emotion": None if label is None else label.emotion,
    }


def score(rows: Sequence[dict]) -> dict:
    """Metrics of prediction rows.

    Returns:
        `metrics`: `<dataset>/<metric>` for each dataset and its gold fields (definitions in the cards of
        trainer/metrics), `emotion_accuracy` over all samples with a gold emotion, `parse_failures`; and `per_class`,
        `confusion`, `reasons`.
    """
    found = {"metrics": {}, "per_class": {}, "confusion": {}, "reasons": {}}
    for name in dict.fromkeys(row["dataset"] for row in rows):
        members = [row for row in rows if row["dataset"] == name]
        _score_sentiment(name, [row for row in members if row["sentiment"] is not None], found)
        _score_emotion(name, [row for row in members if row["emotion"] is not None], found)
    with_emotion = [row for row in rows if row["emotion"] is not None]
    if with_emotion:
        hits = sum(row["emotion"] == row["predicted_emotion"] for row in with_emotion)
        found["metrics"]["emotion_accuracy"] = hits / len(with_emotion)
    found["metrics"]["parse_failures"] = sum(row["prediction"] is None for row in rows)
    return found


def _score_sentiment(name: str, rows: Sequence[dict], found: dict):
    if rows:
        predictions = [row["predicted_sentiment"] for row in rows]
        scores = _metric("msa_regression").compute(
            predictions=predictions, references=[row["sentiment"] for row in rows]
        )
        _add(name, scores, found)


def _score_emotion(name: str, rows: Sequence[dict], found: dict):
    if rows:
        gold = [row["emotion"] for row in rows]
        scores = _metric("erc_classification").compute(
            predictions=[row["predicted_emotion"] for row in rows],
            references=gold,
            labels=list(BENCHMARK_EMOTIONS.get(name, sorted(set(gold)))),
        )
        found["per_class"][name] = scores["per_class"]
        found["confusion"][name] = scores["confusion"]
        _add(name, scores, found)


def _add(name: str, scores: dict, found: dict):
    found["metrics"].update({f"{name}/{key}": value for key, value in scores.items() if key not in _DETAILS})
    found["reasons"].update({f"{name}/{key}": reason for key, reason in scores["reasons"].items()})


@cache
def _metric(name: str):
    return evaluate.load(str(_METRICS / name))


def results_file(rows: Sequence[dict], *, run: str, seed: int, model, protocol: dict, data: dict, **facts) -> dict:
    """The results JSON of prediction rows.

    Args:
        protocol: context, modalities, decoding, split and labels, as a reader needs them to compare.
        data: fingerprint, rows and split of each dataset.
        facts: `environment()` (command, commit, versions) and `seconds`.
    """
    model_facts = {
        "name": model.config.model_type,
        "fusion_type": model.config.fusion_type,
        "sequence_summary": model.config.sequence_summary,
        "parameters": parameter_count(model),
    }
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
        **score(rows),
    }


def describe_data(datasets: dict[str, UtteranceDataset]) -> dict:
    """Fingerprint, rows and split of each dataset, as the results file holds them."""
    return {
        name: {"fingerprint": dataset.fingerprint, "rows": len(dataset), "split": dataset.rows[0]["split"]}
        for name, dataset in datasets.items()
    }


def write_predictions(path: Path, rows: Sequence[dict]):
    """Prediction rows as Parquet."""
    Dataset.from_list(list(rows)).to_parquet(path)


def evaluate_checkpoint(
    checkpoint: str | Path,
    folders: Sequence[str | Path],
    split: str = "test",
    modalities: Sequence[str] | None = None,
    batch_size: int = 64,
) -> tuple[list[dict], dict]:
    """Evaluates a saved model on prepared folders: prediction rows and the results JSON.

    Args:
        modalities: what the model may see besides text; `None` = what it was trained with.

    Raises:
        ValueError: features made by other extractors than the model was trained with, no such split, wrong modalities.
        OSError: no checkpoint there.
    """
    checkpoint = find_checkpoint(checkpoint)
    accelerator = Accelerator()
    load_models_whole()
    processor = UniMSEProcessor.from_pretrained(checkpoint)
    model = load_model(checkpoint).to(accelerator.device)
    training = training_of(model, checkpoint)
    sets = training["protocol"].get("feature_sets")
    processor.feature_extractor.check_specs(feature_specs(folders, sets), str(checkpoint))
    trained = training["protocol"]["modalities"][1:]
    modalities = trained if modalities is None else modalities
    for name in modalities:
        if name not in trained:
            raise ValueError(f"modalities: the model was trained with {', '.join(['text', *trained])}, got {name!r}")
    datasets = load_split(folders, split, False, processor.context_before, processor.context_after, sets)
    began = time.monotonic()
    rows = predict(model, processor, datasets, accelerator, modalities, batch_size)
    results = results_file(
        rows,
        run=training["run"],
        seed=training["seed"],
        model=model,
        protocol={**training["protocol"], "modalities": ["text", *modalities], "split": split},
        data=describe_data(datasets),
        **environment(),
        seconds={"evaluate": round(time.monotonic() - began, 1)},
    )
    return rows, results


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
