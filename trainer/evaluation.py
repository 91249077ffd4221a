"""Predictions by constrained generation, and the content of the results file made from them.

Only gold fields are scored; a prediction that is no label is counted, never guessed.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from accelerate import Accelerator
from huggingface_hub import snapshot_download
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from dataset_scripts.publish import content_digest
from modeling_unimse import BENCHMARK_EMOTIONS, UniMSEProcessor, format_label
from trainer.adapters import is_adapter, load_model, parameter_count
from trainer.checkpointing import BEST, environment
from trainer.data import Collator, Indexed, UtteranceDataset, feature_specs, load_split
from trainer.results_checks import SCHEMA_VERSION
from trainer.scoring import BOOTSTRAP, score
from trainer.sharding import gathered_root, is_sharded, load_models_whole


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
        "label_probability": None,
        "emotion_probabilities": None,
        "polarity_probabilities": None,
    }


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
        **score(rows, BENCHMARK_EMOTIONS, BOOTSTRAP if intervals else None),
    }


def describe_checkpoint(checkpoint: str | Path) -> dict:
    """`weights`, 12 digits of the SHA-256 over the weight files, and the Hub `repo` and `revision` they came from."""
    folder, repo, revision = Path(checkpoint), None, None
    if not folder.is_dir():
        folder = Path(snapshot_download(str(checkpoint), allow_patterns=["*.safetensors"]))
        repo, revision = str(checkpoint), folder.name
    return {"weights": content_digest(sorted(folder.glob("*.safetensors"))), "repo": repo, "revision": revision}


def describe_data(datasets: dict[str, UtteranceDataset]) -> dict:
    """Fingerprint, rows and split of each dataset, as the results file holds them."""
    return {
        name: {"fingerprint": dataset.fingerprint, "rows": len(dataset), "split": dataset.rows[0]["split"]}
        for name, dataset in datasets.items()
    }


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
    results = describe_results(
        rows,
        run=training["run"],
        seed=training["seed"],
        model=model,
        protocol={**training["protocol"], "modalities": ["text", *modalities], "split": split},
        data=describe_data(datasets),
        **environment(),
        checkpoint=describe_checkpoint(checkpoint),
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
