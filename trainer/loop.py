"""The loop of one training: steps, log, validation, states.

What is random comes from the seed alone (`trainer/batching.py`) or, in the layers, from torch's generator, which a
state holds: a run that is killed and resumed ends with the weights of one that was not, bit for bit on a CPU.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader

from dataset_scripts.utils.files import write_json
from dataset_scripts.utils.outputs import SETTLE_SECONDS, claimed
from modeling_unimse import UniMSEProcessor
from trainer.arguments import RunConfig
from trainer.batching import EpochBatches
from trainer.checkpointing import BEST, save_checkpoint
from trainer.data import Indexed, UtteranceDataset
from trainer.evaluation import emotion_sets, predict
from trainer.publishing import Publisher
from trainer.results_file import write_results
from trainer.scoring import score
from trainer.sharding import own_class, whole_weights
from trainer.state import Progress, save_state
from trainer.step import train_step
from trainer.watching import Watch


@dataclass
class Loop:
    """Trains until the last epoch, or until `patience` ends it.

    Args:
        config: of the run.
        folder: of the run and seed.
        accelerator: of all processes; model, optimizer are prepared by it, and the schedule is registered with it.
        model, optimizer, scheduler: what is trained, and how.
        loader: training batches, on the CPU.
        batches: which samples they hold.
        samples: the training data, to name samples.
        processor: saved with the best checkpoint.
        validation: datasets that choose the best checkpoint.
        progress: where the training is.
        describe: model, prediction rows and saved checkpoint -> the content of the results file of a validation.
        watch: progress bar, log and trackers.
        publisher: has checkpoints uploaded; `None` = none are.
    """

    config: RunConfig
    folder: Path
    accelerator: Accelerator
    model: torch.nn.Module
    optimizer: Any
    scheduler: Any
    loader: DataLoader
    batches: EpochBatches
    samples: Indexed
    processor: UniMSEProcessor
    validation: dict[str, UtteranceDataset]
    progress: Progress
    describe: Callable[[torch.nn.Module, list[dict], Path], dict]
    watch: Watch
    publisher: Publisher | None = None

    def run(self) -> None:
        """Go on from `progress` to the end."""
        self._unread: list[tuple[int, dict, list[int]]] = []  # losses of the last steps that were not looked at yet
        with self.watch.watching(self.progress.step, self.config.epochs * self.steps_an_epoch):
            while not self.progress.done:
                self._epoch()

    @property
    def steps_an_epoch(self) -> int:
        """Optimisation steps an epoch."""
        return -(-len(self.batches) // self.config.gradient_accumulation)

    def _epoch(self) -> None:
        self.model.train()
        self.batches.set_epoch(self.progress.epoch, self.progress.batch)
        self._clock, self._tokens = time.monotonic(), 0
        for group in _groups(self.loader, self.config.gradient_accumulation):
            self._step(group)
            is_last = self.progress.batch == len(self.batches)
            if self._due(self.config.save_every) and not is_last:
                self._save()
        self._read_losses()
        self._end_epoch()

    def _step(self, group: Sequence[dict]) -> None:
        ids = [index for batch in group for index in batch["sample_index"].tolist()]
        self._tokens += sum(int(batch["attention_mask"].sum()) for batch in group)
        batches = [send_to_device(batch, self.accelerator.device) for batch in group]
        losses, norm = train_step(
            self.accelerator, self.model, self.optimizer, self.scheduler, batches, self.config.max_grad_norm
        )
        self.progress.step += 1
        self.progress.batch += len(group)
        self._unread.append((self.progress.step, {**losses, "grad_norm": norm}, ids))
        if self._due(self.config.log_every):
            self._read_losses()
        self.watch.stepped()

    def _due(self, every: int | None) -> bool:
        return every is not None and self.progress.step % every == 0

    def _read_losses(self) -> None:
        """Look at the losses since the last time: stop at one that is no number, log their means.

        Reading waits for the device and for the other processes, so it is not done at every step.
        """
        if not self._unread:
            return
        names = list(self._unread[0][1])
        found = torch.stack([torch.stack([terms[name].float() for name in names]) for _, terms, _ in self._unread])
        found = self.accelerator.reduce(found, "mean").double().cpu()  # (steps, terms)
        for (step, _, ids), row in zip(self._unread, found.tolist(), strict=True):
            if not all(map(math.isfinite, row)):
                self._stop_at(step, dict(zip(names, row, strict=True)), ids)
        for name, total in zip(names, found.sum(0).tolist(), strict=True):
            self.progress.totals[name] = self.progress.totals.get(name, 0.0) + total
        self.progress.steps += len(self._unread)
        self._unread = []
        means = dict(zip(names, found.mean(0).tolist(), strict=True))
        # Shares of a batch are alike in length: this process stands for all.
        speed = self._tokens * self.accelerator.num_processes / max(time.monotonic() - self._clock, 1e-9)
        rates = {f"learning_rate/{group['name']}": group["lr"] for group in self.optimizer.param_groups}
        where = {"step": self.progress.step, "epoch": self.progress.epoch}
        self.watch.trained({**where, **means, **rates, "tokens/s": round(speed)})

    def _stop_at(self, step: int, losses: dict[str, float], ids: Sequence[int]) -> None:
        """Leave this process's samples of the step behind by name, then stop, as all processes do."""
        path = self.folder / f"bad-batch-{self.accelerator.process_index}.json"
        shown = {name: value if math.isfinite(value) else str(value) for name, value in losses.items()}
        write_json(path, {"step": step, "losses": shown, "ids": [self.samples.rows[index]["id"] for index in ids]})
        raise FloatingPointError(
            f"step {step}: a loss or the gradient is NaN or infinite ({shown}); its samples are named in {path}. Look "
            "at their features, or lower the learning rates"
        )

    def _end_epoch(self) -> None:
        progress, config = self.progress, self.config
        is_last = progress.epoch == config.epochs
        validated = is_last or progress.epoch % config.evaluate_every == 0
        if validated:
            self._validate()
        progress.done = is_last or (config.patience is not None and progress.since_best >= config.patience)
        progress.epoch, progress.batch = progress.epoch + 1, 0
        progress.totals, progress.steps = {}, 0
        if validated or self._due(config.save_every):
            self._save()

    def _validate(self) -> None:
        bare = self.accelerator.unwrap_model(self.model)
        config, progress = self.config, self.progress
        seen, size = ["text", *config.modalities], config.eval_batch_size
        rows = predict(bare, self.processor, self.validation, self.accelerator, seen, size, progress=False)
        metrics = score(rows, emotion_sets(self.validation, config.emotions))["metrics"]
        value = selection_value(metrics, config)
        is_best = progress.best is None or value > progress.best
        if is_best:
            progress.best, progress.best_step, progress.since_best = value, progress.step, 0
            self._save_weights(BEST, "validation.json", bare, rows)
        else:
            progress.since_best += 1
        if self.publisher is not None and self.publisher.is_due(progress):
            self._publish(bare, rows)
        losses = {name: total / progress.steps for name, total in progress.totals.items()}
        where = {"step": progress.step, "epoch": progress.epoch}
        self.watch.validated({**where, **losses, "best": is_best, "metrics": metrics}, rows)

    def _save_weights(self, name: str, results: str, bare: torch.nn.Module, rows: list[dict]) -> None:
        """Model and processor, and what they score on the validation sets, into the run folder."""
        weights = whole_weights(self.accelerator, self.model)
        if self.accelerator.is_main_process:
            with own_class(bare), claimed(self.folder / name, wait=SETTLE_SECONDS):  # a reader may be completing it
                save_checkpoint(self.folder / name, bare, self.processor, weights)
            write_results(self.folder / results, self.describe(bare, rows, self.folder / name))

    def _publish(self, bare: torch.nn.Module, rows: list[dict]) -> None:
        if self.publisher.settings.only_best or self.progress.since_best == 0:
            checkpoint, results, step = BEST, "validation.json", self.progress.best_step
        else:
            checkpoint, results, step = "checkpoint-latest", "validation-latest.json", self.progress.step
            self._save_weights(checkpoint, results, bare, rows)
        self.publisher.add(step, self.folder / checkpoint, self.folder / results, f"Step {step} of {self.config.run}")
        if checkpoint != BEST and self.accelerator.is_main_process:
            shutil.rmtree(self.folder / checkpoint)
            (self.folder / results).unlink()

    def _save(self) -> None:
        self._read_losses()
        save_state(self.folder, self.accelerator, self.progress, self.config.keep_last)


def selection_value(metrics: dict, config: RunConfig) -> float:
    """The validation metric, larger = better; one that has no value (a correlation of constants) loses to any other."""
    value = metrics[config.metric]
    if value is None:
        return -math.inf
    return value if config.greater_is_better else -value


def _groups(loader, size: int) -> Iterator[list[dict]]:
    batches = iter(loader)
    while group := list(islice(batches, size)):
        yield group
