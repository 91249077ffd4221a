"""What the training loop costs beside the step itself: `trainer.loop.Loop` against a bare loop on the same batches.

    python -m benchmarks.training_overhead --size small --batch-size 8 --steps 10 --rounds 7 --workers 0 1 2
    python -m benchmarks.training_overhead --config trainer/configs/sample_cpu.yaml --data data/mosi --threads 1

The bare loop has its batches in memory and does forward, backward, clipping, update and zeroing, nothing else. The real
one is made as `trainer.train` makes it: it reads, augments and pads the samples, counts tokens, keeps the schedule,
reads and logs the losses every `log_every` steps and draws the bar. Both start from the same weights and use the same
seeds; that their losses agree is checked. Validation and states are no part of a step and left out; what trackers cost,
`watching_overhead.py` measures.

Stretches of steps alternate, and each ratio is of two neighbours, so that a busy machine slows both. "cpu" is
the overhead in processor time of the training process, which other jobs hardly disturb; "wait" is the time that the
loop stands still for its next batch, as a share of its own time. The start of an epoch, workers included, is
in the stretch: with few steps a stretch the overhead is rather too large.
"""

import argparse
import copy
import dataclasses
import io
import json
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from benchmarks.batches import SIZES, write_prepared
from trainer.arguments import RunConfig, load_config
from trainer.build import build_model, build_processor
from trainer.data import Indexed
from trainer.loop import Loop
from trainer.optimization import build_optimizer
from trainer.train import load_data, make_loop

TARGET_OVERHEAD, TARGET_WAIT = 0.05, 0.02
WARM_UP = 1  # rounds that are not counted


def clocks() -> np.ndarray:
    """(2,) seconds: of the wall, and of this process on its processors."""
    return np.array([time.perf_counter(), time.process_time()])


class WaitTimer:
    """A loader that adds up the time until it gave its batches."""

    def __init__(self, loader):
        self._loader, self.seconds = loader, 0.0

    def __getattr__(self, name: str):
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[dict]:
        began = time.perf_counter()
        for batch in self._loader:
            self.seconds += time.perf_counter() - began
            yield batch
            began = time.perf_counter()
        self.seconds += time.perf_counter() - began


class Stretch(Loop):
    """The loop, but `run` does one epoch and leaves validation and state out."""

    def _end_epoch(self) -> None:
        self.mean_loss = self.progress.totals["loss"] / self.progress.steps
        self.progress.epoch, self.progress.batch, self.progress.done = self.progress.epoch + 1, 0, True
        self.progress.totals, self.progress.steps = {}, 0

    def timed(self) -> np.ndarray:
        """Both `clocks` over the next epoch."""
        self.loader.seconds, self.progress.done = 0.0, False
        torch.manual_seed(self.progress.epoch)
        with redirect_stderr(io.StringIO()):  # the bar
            began = clocks()
            self.run()
            return clocks() - began

    def batches_in_memory(self) -> list[list[dict]]:
        """The batches of the next epoch, as groups that make a step."""
        self.batches.set_epoch(self.progress.epoch)
        collate = self.loader.collate_fn
        batches = [collate([self.samples[draw] for draw in draws]) for draws in self.batches]
        size = self.config.gradient_accumulation
        return [batches[start : start + size] for start in range(0, len(batches), size)]


class BareLoop:
    """Steps of the same model and optimizer with nothing around them."""

    def __init__(self, model, config: RunConfig, steps: int):
        self.model, self.max_grad_norm = model.train(), config.max_grad_norm
        self.optimizer, _ = build_optimizer(model, config, steps)

    def timed(self, groups: list[list[dict]], seed: int) -> np.ndarray:
        """Both `clocks` over an epoch; its mean loss is kept."""
        for group in groups:
            for batch in group:
                batch.pop("sample_index", None)
        torch.manual_seed(seed)
        began = clocks()
        losses = [self._step(group) for group in groups]
        seconds = clocks() - began
        self.mean_loss = torch.stack(losses).double().mean().item()
        return seconds

    def _step(self, group: list[dict]) -> torch.Tensor:
        total = 0.0
        for batch in group:
            loss = self.model(**batch).loss / len(group)
            loss.backward()
            total = total + loss.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total


def make_loops(config: RunConfig, folder: Path) -> tuple[Stretch, BareLoop]:
    """Both loops around the same initial weights."""
    accelerator = Accelerator(cpu=True, mixed_precision=config.mixed_precision)
    set_seed(1)
    data = load_data(config)
    samples = Indexed(data.train)
    processor = build_processor(config, samples, data.specs)
    model = build_model(config, processor)
    copied = copy.deepcopy(model)
    folder.mkdir()
    loop = make_loop(config, 1, folder, accelerator, model, processor, samples, data, True)
    loop = Stretch(**{item.name: getattr(loop, item.name) for item in dataclasses.fields(loop)})
    loop.loader = WaitTimer(loop.loader)
    return loop, BareLoop(copied, config, config.epochs * loop.steps_an_epoch)


@dataclasses.dataclass
class Round:
    """Seconds a step, (2,) as `clocks`, of two neighbouring stretches; and the loop's waiting."""

    bare: np.ndarray
    loop: np.ndarray
    wait: float


def measure(config: RunConfig, folder: Path, rounds: int) -> list[Round]:
    """The rounds that count.

    Raises:
        ValueError: the loops did not do the same.
    """
    loop, bare = make_loops(config, folder)
    found = []
    for turn in range(rounds + WARM_UP):
        groups, seed = loop.batches_in_memory(), loop.progress.epoch
        stretches = {"loop": loop.timed, "bare": partial(bare.timed, groups, seed)}
        order = sorted(stretches, reverse=bool(turn % 2))
        seconds = {name: stretches[name]() / len(groups) for name in order}
        if not math.isclose(loop.mean_loss, bare.mean_loss, rel_tol=1e-3):
            raise ValueError(f"round {turn}: the loop's mean loss is {loop.mean_loss}, the bare one {bare.mean_loss}")
        found.append(Round(**seconds, wait=loop.loader.seconds / len(groups)))
    loop.accelerator.free_memory()
    return found[WARM_UP:]


def report(workers: int, rounds: list[Round]) -> bool:
    """Prints a line of the table; whether both targets are met."""
    bare, loop = (np.median([getattr(one, name)[0] for one in rounds]) * 1000 for name in ("bare", "loop"))
    overheads = np.array([one.loop / one.bare - 1 for one in rounds])  # (rounds, 2)
    overhead, cpu = np.median(overheads, axis=0)
    low, high = np.quantile(overheads[:, 0], (0.25, 0.75))
    wait = np.median([one.wait / one.loop[0] for one in rounds])
    quartiles = f"{low:+.1%} .. {high:+.1%}"
    print(f"{workers:7} {bare:12.1f} {loop:12.1f} {overhead:+9.1%} {quartiles:>19} {cpu:+7.1%} {wait:7.2%}", flush=True)
    return overhead <= TARGET_OVERHEAD and wait <= TARGET_WAIT


def make_config(options: argparse.Namespace, folder: Path) -> RunConfig:
    """The run: of a config file or of a size, on the data given or on generated ones."""
    data = list(map(str, options.data))
    if not data:
        sizes = {"train": options.steps * options.batch_size, "validation": 4, "test": 4}
        data = [str(write_prepared(folder / "generated", sizes))]
    # Rates that are constant: the bare loop has no schedule.
    fixed = {"data": data, "batch_size": options.batch_size, "epochs": 1000, "scheduler": "constant", "warmup_ratio": 0}
    fixed.update(log_every=options.log_every, trackers=[])
    if options.config:
        return load_config(options.config, [text for name, value in fixed.items() for text in _override(name, value)])
    return RunConfig(run="overhead", model={"text_config": SIZES[options.size]}, **fixed)


def _override(name: str, value) -> tuple[str, str]:
    return f"--{name}", json.dumps(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="of a T5 from scratch; default: %(default)s")
    parser.add_argument("--config", type=Path, help="YAML of a run, instead of a size")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="prepared folders; default: generated")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10, help="a stretch, on generated data; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="values of data_workers")
    parser.add_argument("--log-every", type=int, default=RunConfig.log_every)
    parser.add_argument("--threads", type=int, help="of a step; with fewer than cores the workers have one to run on")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = make_config(options, folder)
        print(
            f"{options.config or 'T5-' + options.size}, batch {options.batch_size}, {torch.get_num_threads()} threads"
        )
        titles = ("bare ms/step", "loop ms/step", "overhead", "quartiles", "cpu", "wait")
        print("workers {:>12} {:>12} {:>9} {:>19} {:>7} {:>7}".format(*titles))
        met = []
        for workers in options.workers:
            own = dataclasses.replace(config, data_workers=workers)
            met.append(report(workers, measure(own, folder / f"workers-{workers}", options.rounds)))
        print(
            f"target: overhead <= {TARGET_OVERHEAD:.0%}, wait <= {TARGET_WAIT:.0%}: {'met' if all(met) else 'missed'}"
        )


if __name__ == "__main__":
    main()
