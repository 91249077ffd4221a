"""Training of one run: `accelerate launch -m trainer.train CONFIG [--field value ...]`, the same as `unimse train`.

For each seed: train, validate by generation, keep the best checkpoint, and at the end, once, score the test sets with
it.
"""

import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from modeling_unimse import UniMSEForConditionalGeneration, UniMSEProcessor
from trainer.arguments import RunConfig, load_config
from trainer.augmentation import Augmentation
from trainer.build import build_model, build_processor
from trainer.checkpointing import (
    BEST,
    environment,
    run_folder,
    save_checkpoint,
    start_run_folder,
    write_json,
)
from trainer.data import Collator, Indexed, UtteranceDataset, feature_specs, label_source, load_split
from trainer.evaluation import describe_data, predict, results_file, score, write_predictions
from trainer.optimization import build_optimizer

_LOSSES = ("loss", "task_loss", "audio_contrastive_loss", "visual_contrastive_loss")


@dataclass
class RunData:
    """The splits of a run by dataset name, and the extractors of their features."""

    train: dict[str, UtteranceDataset]
    validation: dict[str, UtteranceDataset]
    test: dict[str, UtteranceDataset]
    specs: dict


def load_data(config: RunConfig) -> RunData:
    """All splits of `config.data`."""
    settings = {
        "universal_labels": config.universal_labels,
        "context_before": config.context_before,
        "context_after": config.context_after,
        "feature_sets": config.feature_sets,
    }
    splits = {split: load_split(config.data, split, **settings) for split in ("train", "validation", "test")}
    return RunData(**splits, specs=feature_specs(config.data, config.feature_sets))


def train(config: RunConfig, progress: bool = True) -> list[Path]:
    """Trains one model a seed and returns the results files."""
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
    )
    for seed in config.seeds:
        check_run_folder(run_folder(config, seed), config.overwrite)
    data = load_data(config)
    check_data(config, data)
    return [train_seed(config, seed, data, accelerator, progress) for seed in config.seeds]


def check_run_folder(folder: Path, overwrite: bool):
    """Refuses to train over a finished run."""
    if (folder / "results.json").is_file() and not overwrite:
        raise FileExistsError(
            f"{folder}: a finished run stands here; give another --run NAME, or pass --overwrite true"
        )


def check_data(config: RunConfig, data: RunData):
    """Refuses, before the first step, emotions outside the label grammar and a metric that the data cannot give."""
    for split in (data.train, data.validation, data.test):
        for name, dataset in split.items():
            unknown = sorted({row["emotion"] for row in dataset.rows} - {None, *config.emotions})
            if unknown:
                wanted = ", ".join([*config.emotions, *unknown])
                raise ValueError(f"{name}: emotions {', '.join(unknown)} are not in the grammar; --emotions [{wanted}]")
    neutral = {"prediction": "neutral,0.0,neutral", "predicted_sentiment": 0.0, "predicted_emotion": "neutral"}
    rows = [{**row, **neutral} for dataset in data.validation.values() for row in dataset.rows]
    metrics = score(rows)["metrics"]
    if config.metric not in metrics:
        raise ValueError(f"metric: the validation data give {', '.join(metrics)}; got {config.metric!r}")


def train_seed(config: RunConfig, seed: int, data: RunData, accelerator: Accelerator, progress: bool = True) -> Path:
    """One training: returns `results.json` of its run folder."""
    set_seed(seed)
    folder = run_folder(config, seed)
    samples = Indexed(list(data.train.values()))
    processor = build_processor(config, samples, data.specs)
    model = build_model(config, processor)
    model.config.training = {"run": config.run, "seed": seed, "protocol": protocol(config)}
    if accelerator.is_main_process:
        facts = {"processes": accelerator.num_processes, "training_data": describe_data(data.train)}
        start_run_folder(folder, config, {**environment(), **facts})
    collator = Collator(
        processor, config.modalities, Augmentation.from_settings(config.augmentation), config.modality_dropout
    )
    loader = DataLoader(samples, config.batch_size, shuffle=True, collate_fn=collator)
    steps = -(-len(loader) // accelerator.num_processes) * config.epochs
    optimizer, scheduler = build_optimizer(model, config, steps, accelerator.num_processes)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    began = time.monotonic()
    _fit(config, folder, accelerator, model, processor, optimizer, scheduler, loader, data, progress)
    seconds = round(time.monotonic() - began, 1)
    accelerator.wait_for_everyone()
    accelerator.free_memory()  # it keeps what it prepared, which would add up over seeds
    del model, optimizer, scheduler, loader
    best = UniMSEForConditionalGeneration.from_pretrained(folder / BEST).to(accelerator.device)
    return _test(config, seed, folder, accelerator, best, processor, data, seconds, progress)


def _fit(config, folder, accelerator, model, processor, optimizer, scheduler, loader, data, progress):
    """The epochs: train, validate, keep the best, stop when nothing gets better for `patience` validations."""
    bar = tqdm(
        total=len(loader) * config.epochs,
        desc=folder.parent.name,
        disable=not (progress and accelerator.is_main_process),
    )
    best, since_best = None, 0
    for epoch in range(1, config.epochs + 1):
        losses = train_epoch(accelerator, model, optimizer, scheduler, loader, config.max_grad_norm, bar)
        if epoch % config.evaluate_every and epoch != config.epochs:
            continue
        bare = accelerator.unwrap_model(model)
        rows = predict(bare, processor, data.validation, accelerator, config.modalities, config.eval_batch_size, False)
        metrics = score(rows)["metrics"]
        value = _selection_value(metrics, config)
        is_best = best is None or value > best
        best, since_best = (value, 0) if is_best else (best, since_best + 1)
        if accelerator.is_main_process:
            if is_best:
                save_checkpoint(folder / BEST, bare, processor)
            line = {"epoch": epoch, **losses, "best": is_best, "metrics": metrics}
            with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        bar.set_postfix({config.metric: f"{abs(value):.3f}", "loss": f"{losses['loss']:.3f}"})
        if config.patience is not None and since_best >= config.patience:
            break
    bar.close()


def _selection_value(metrics: dict, config: RunConfig) -> float:
    """The validation metric, larger = better; one that has no value (a correlation of constants) loses to any other."""
    value = metrics[config.metric]
    if value is None:
        return -float("inf")
    return value if config.greater_is_better else -value


def train_epoch(accelerator, model, optimizer, scheduler, loader, max_grad_norm: float, bar=None) -> dict[str, float]:
    """One pass over the training data; returns the mean of each loss term over its steps on this process."""
    model.train()
    totals, counts = defaultdict(float), defaultdict(int)
    for batch in loader:
        outputs = train_step(accelerator, model, optimizer, scheduler, batch, max_grad_norm)
        for name in _LOSSES:
            if (value := getattr(outputs, name)) is not None:
                totals[name] += value.detach()
                counts[name] += 1
        if bar is not None:
            bar.update()
    means = {name: float(total) / counts[name] for name, total in totals.items()}
    if not all(torch.isfinite(torch.tensor(value)) for value in means.values()):
        raise FloatingPointError(f"a loss became NaN or infinite: {means}; lower the learning rates")
    return means


def train_step(accelerator, model, optimizer, scheduler, batch: dict, max_grad_norm: float):
    """Forward, backward, clip, update. `sample_index` of the batch is not the model's."""
    outputs = model(**{name: value for name, value in batch.items() if name != "sample_index"})
    accelerator.backward(outputs.loss)
    accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    return outputs


def _test(config, seed, folder, accelerator, model, processor: UniMSEProcessor, data, seconds, progress) -> Path:
    """Scores the test sets, once, and writes predictions and results."""
    began = time.monotonic()
    rows = predict(model, processor, data.test, accelerator, config.modalities, config.eval_batch_size, progress)
    path = folder / "results.json"
    if accelerator.is_main_process:
        write_predictions(folder / "predictions.parquet", rows)
        results = results_file(
            rows,
            run=config.run,
            seed=seed,
            model=model,
            protocol=protocol(config),
            data=describe_data(data.test),
            **environment(),
            seconds={"train": seconds, "evaluate": round(time.monotonic() - began, 1)},
        )
        write_json(path, results)
    accelerator.wait_for_everyone()
    return path


def protocol(config: RunConfig) -> dict:
    """What a reader must know to compare the numbers."""
    return {
        "context_before": config.context_before,
        "context_after": config.context_after,
        "modalities": ["text", *config.modalities],
        "feature_sets": config.feature_sets,
        "decoding": "constrained greedy",
        "emotions": "per benchmark",
        "split": "test",
        "universal_labels": config.universal_labels,
        "labels": label_source(config.data) if config.universal_labels else "native",
        "selection": f"best {config.metric} on validation",
    }


def main(arguments: list[str] | None = None):
    """Command line of `accelerate launch -m trainer.train`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{__doc__}\n{RunConfig.__doc__}")
        return
    for path in train(load_config(arguments[0], arguments[1:])):
        print(path)


if __name__ == "__main__":
    main()
