"""Predictions for prepared datasets, and the content of the results file made from them.

Only gold fields are scored; a prediction that is no label is counted, never guessed.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import torch
from accelerate import Accelerator
from huggingface_hub import snapshot_download
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from dataset_scripts.publish import content_digest
from modeling_unimse import BENCHMARK_EMOTIONS, UniMSEProcessor
from trainer.adapters import parameter_count
from trainer.data import Collator, Indexed, UtteranceDataset
from trainer.decoders import DECODERS
from trainer.results_checks import SCHEMA_VERSION
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
        ValueError: states of a model without fusion in its encoder.
    """
    was_training = model.training
    sides = [name for name in modalities if name != "text"]
    collator = Collator(processor, sides, with_labels=False, with_text="text" in modalities)
    model.eval()
    rows = []
    for name, dataset in datasets.items():
        samples = Indexed({name: dataset})
        loader = accelerator.prepare_data_loader(DataLoader(samples, batch_size=batch_size, collate_fn=collator))
        decoder = DECODERS[decoding](processor, name, is_sharded(model))
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
        rows += [{key: row[key] for key in _GOLD} | answers[index] for index, row in enumerate(samples.rows)]
    model.train(was_training)
    return rows


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
