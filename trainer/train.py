"""Training of runs: `accelerate launch -m trainer.train CONFIG ... [--field value ...]`, the same as `unimse train`.

For each seed: train, validate by generation, keep the best checkpoint, and at the end, once, score the test sets with
it. A seed that is finished is not trained again; one that was killed goes on from its newest state (`trainer/loop.py`).
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch.utils.data import DataLoader

from dataset_scripts.ranks import is_helper
from dataset_scripts.utils.files import check_space, folder_size
from dataset_scripts.utils.outputs import claimed, replaced_files
from modeling_unimse import UniMSEProcessor
from trainer.adapters import BASE, load_model
from trainer.arguments import RunConfig
from trainer.augmentation import Augmentation
from trainer.batching import EpochBatches, Mixing
from trainer.build import add_adapter_to, build_model, build_processor
from trainer.checkpointing import (
    BEST,
    environment,
    is_finished,
    only_here,
    open_run_folder,
    run_folder,
    save_checkpoint,
    settings_digest,
)
from trainer.data import Collator, Indexed, UtteranceDataset, feature_specs, label_source, load_split
from trainer.decoders import GREEDY
from trainer.evaluation import (
    check_gold_emotions,
    describe_checkpoint,
    describe_data,
    describe_results,
    emotion_sets,
    predict,
)
from trainer.fields import nearest
from trainer.loop import Loop
from trainer.metric_names import MODALITIES
from trainer.optimization import build_optimizer
from trainer.predictions_file import write_predictions
from trainer.publishing import Publisher, finish_uploads, repository
from trainer.results_file import write_results
from trainer.scoring import score
from trainer.sharding import check_processes, check_sharding, load_models_whole, prepare
from trainer.state import Progress, load_state
from trainer.uploads import PushSettings, check_access
from trainer.watching import Watch, check_trackers


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
    """Trains one model a seed and returns the results files. Seeds that are finished are not trained again."""
    check_trackers(config)
    for seed in config.seeds:
        is_finished(run_folder(config, seed), config)  # refuses what must not be touched, before the first training
    if config.push_to_hub is not None and not is_helper():
        repos = [repository(config, seed) for seed in config.seeds]
        check_access(repos, PushSettings.from_settings(config.push_to_hub).private)
    publishers: list[Publisher] = []
    try:
        return _train_seeds(config, progress, publishers)
    finally:
        finish_uploads(publishers)


def _train_seeds(config: RunConfig, progress: bool, publishers: list[Publisher]) -> list[Path]:
    """Each seed that is not finished; `publishers` gets one for each seed where the run pushes."""
    data, paths = None, []
    for seed in config.seeds:
        folder = run_folder(config, seed)
        with only_here(folder):
            if is_finished(folder, config):
                print(f"{folder}: finished before; nothing to do (again from the start: --overwrite true)")
                paths.append(folder / "results.json")
            else:
                if data is None:
                    data = load_data(config)
                    check_data(config, data)
                paths.append(train_seed(config, seed, data, publishers, progress))
        if config.push_to_hub is not None:
            _push_final(config, seed, folder, publishers)
    return paths


def _push_final(config: RunConfig, seed: int, folder: Path, publishers: list[Publisher]) -> None:
    """Also of a seed that was finished before: it may have been killed before its last upload."""
    if not publishers or publishers[-1].folder != folder:
        publishers.append(Publisher(config, seed, folder, not is_helper()))
    publishers[-1].add_final()


def check_data(config: RunConfig, data: RunData):
    """Refuses, before the first step, emotions that cannot be written or scored and a metric that no data give."""
    for split in (data.train, data.validation, data.test):
        for name, dataset in split.items():
            unknown = sorted({row["emotion"] for row in dataset.rows} - {None, *config.emotions})
            if unknown:
                wanted = ", ".join([*config.emotions, *unknown])
                raise ValueError(f"{name}: emotions {', '.join(unknown)} are not in the grammar; --emotions [{wanted}]")
        check_gold_emotions(split, emotion_sets(split, config.emotions))
    neutral = {"prediction": "neutral,0.0,neutral", "predicted_sentiment": 0.0, "predicted_emotion": "neutral"}
    rows = [{**row, **neutral} for dataset in data.validation.values() for row in dataset.rows]
    metrics = score(rows, emotion_sets(data.validation, config.emotions))["metrics"]
    if config.metric not in metrics:
        near = nearest(config.metric, metrics)
        raise ValueError(f"metric: the validation data give {', '.join(metrics)}; got {config.metric!r}{near}")


def train_seed(config: RunConfig, seed: int, data: RunData, publishers: list[Publisher], progress: bool = True) -> Path:
    """One training: returns `results.json` of its run folder; where the run pushes, `publishers` gets its own."""
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    check_processes(accelerator)
    check_sharding(accelerator, config)
    load_models_whole()
    set_seed(seed)
    folder = run_folder(config, seed)
    samples = Indexed(data.train)
    processor = build_processor(config, samples, data.specs)
    model = build_model(config, processor)
    used = {"training_data": describe_data(data.train), "validation_data": describe_data(data.validation)}
    if accelerator.is_main_process:
        check_space(folder, max(0, _bytes_needed(config, model) - folder_size(folder)))
    digest = settings_digest(config, used)
    model.config.training = {"run": config.run, "seed": seed, "protocol": protocol(config), "settings": digest}
    facts = {"seed": seed, "processes": accelerator.num_processes, **used}
    state = open_run_folder(folder, config, {**environment(), **facts}, accelerator)
    if config.peft is not None and accelerator.is_main_process and not (folder / BASE).exists():
        save_checkpoint(folder / BASE, model, processor)
    model = add_adapter_to(model, config, folder / BASE)
    began = time.monotonic()
    loop = make_loop(config, seed, folder, accelerator, model, processor, samples, data, progress)
    if config.push_to_hub is not None:
        loop.publisher = Publisher(config, seed, folder, accelerator.is_main_process)
        publishers.append(loop.publisher)
    if state is not None:
        loop.progress = load_state(state, accelerator)
    loop.run()
    seconds = round(time.monotonic() - began, 1)
    accelerator.wait_for_everyone()
    del loop, model
    accelerator.free_memory()  # it keeps what it prepared, which would add up over seeds
    best = load_model(folder / BEST).to(accelerator.device)
    return _test(config, seed, folder, accelerator, best, processor, data, seconds, progress)


def _bytes_needed(config: RunConfig, model: torch.nn.Module) -> int:
    """What a run folder holds at most: weights in float32 twice, and states with two moments of what is trained."""
    count = sum(value.numel() for value in model.parameters())
    moments = 2 * sum(value.numel() for value in model.parameters() if value.requires_grad)
    return 4 * (2 * count + (config.keep_last + 1) * (count + moments))


def make_loop(config, seed, folder, accelerator, model, processor, samples, data, progress) -> Loop:
    """Loader, optimizer and schedule for a model, and the loop around them."""
    lengths = samples.lengths() if config.length_bucketing else None
    batches = EpochBatches(
        samples.sizes,
        lengths,
        config.batch_size,
        seed,
        Mixing.from_settings(config.mixing),
        accelerator.num_processes,
        accelerator.process_index,
    )
    collator = Collator(
        processor, config.modalities, Augmentation.from_settings(config.augmentation), config.modality_dropout
    )
    loader = DataLoader(
        samples,
        batch_sampler=batches,
        collate_fn=collator,
        num_workers=config.data_workers,
        persistent_workers=config.data_workers > 0,
        generator=torch.Generator(),  # its own: the loader must not move the generator of the layers
        pin_memory=accelerator.device.type == "cuda",
    )
    steps = -(-len(batches) // config.gradient_accumulation) * config.epochs
    model.to(accelerator.device)
    if config.activation_checkpointing:
        model.activation_checkpointing_enable()
    optimizer, scheduler = build_optimizer(model, config, steps)
    if config.compile:
        model = torch.compile(model, dynamic=True)
    model, optimizer = prepare(accelerator, config, model, optimizer)
    accelerator.register_for_checkpointing(scheduler)
    return Loop(
        config,
        folder,
        accelerator,
        model,
        optimizer,
        scheduler,
        loader,
        batches,
        samples,
        processor,
        data.validation,
        Progress(),
        partial(_validation_results, config, seed, data),
        Watch(config, folder, data.validation, accelerator.is_main_process, progress),
    )


def _validation_results(config: RunConfig, seed: int, data: RunData, model, rows: list[dict], checkpoint: Path) -> dict:
    return describe_results(
        rows,
        run=config.run,
        seed=seed,
        model=model,
        protocol={**protocol(config), "split": "validation"},
        data=describe_data(data.validation),
        intervals=False,
        checkpoint=describe_checkpoint(checkpoint),
        **environment(),
        seconds={},
    )


def _test(config, seed, folder, accelerator, model, processor: UniMSEProcessor, data, seconds, progress) -> Path:
    """Scores the test sets, once, and writes predictions and results."""
    began = time.monotonic()
    described = protocol(config)
    rows = predict(model, processor, data.test, accelerator, described["modalities"], config.eval_batch_size, progress)
    path = folder / "results.json"
    if accelerator.is_main_process:
        results = describe_results(
            rows,
            run=config.run,
            seed=seed,
            model=model,
            protocol=described,
            data=describe_data(data.test),
            checkpoint=describe_checkpoint(folder / BEST),
            **environment(),
            seconds={"train": seconds, "evaluate": round(time.monotonic() - began, 1)},
        )
        with claimed(folder, "results"), replaced_files(folder, "results") as new:
            write_predictions(new / "predictions.parquet", rows)
            write_results(new / path.name, results, new / "predictions.parquet")
    accelerator.wait_for_everyone()
    return path


def protocol(config: RunConfig) -> dict:
    """What a reader must know to compare the numbers."""
    return {
        "context_before": config.context_before,
        "context_after": config.context_after,
        "modalities": [name for name in MODALITIES if name == "text" or name in config.modalities],
        "feature_sets": config.feature_sets,
        "decoding": GREEDY,
        "emotions": "per benchmark",
        "split": "test",
        "universal_labels": config.universal_labels,
        "labels": label_source(config.data) if config.universal_labels else "native",
        "selection": f"best {config.metric} on validation",
    }


if __name__ == "__main__":
    from trainer.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
