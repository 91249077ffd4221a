"""Training steps a second and peak memory on one GPU: UniMSE against the T5 it wraps, on the same text.

    python -m benchmarks.gpu_training --size base --batch-sizes 32 96
    python -m benchmarks.gpu_training --size tiny --device cpu --batch-sizes 4 --rounds 2        # tries the script

Both models have random weights and are trained as `trainer.train` does it: bf16 autocast by accelerate, AdamW (fused on
a GPU), `torch.compile(dynamic=True)`, clipping. Steps of the two alternate, and the ratio is of their medians in one
process; "step time" is UniMSE's over T5's. Peak memory is that of a step with the model's own weights and optimizer
state, without those of the other model.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from accelerate import Accelerator
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks.batches import SIZES, make_batch
from modeling_unimse import UniMSEConfig, UniMSEForConditionalGeneration
from trainer.arguments import RunConfig
from trainer.optimization import build_optimizer

WARM_UP = 3  # steps that are not counted; the first one compiles
TEXT_ONLY = ("input_ids", "attention_mask", "labels")
MODELS = ("T5", "UniMSE")


class Setting(NamedTuple):
    """A row of the table."""

    rows: int
    compiled: bool
    checkpointing: bool


class Trained:
    """A model with its optimizer, as the trainer prepares them."""

    def __init__(self, name: str, size: str, setting: Setting, batch: dict, accelerator: Accelerator):
        config = RunConfig(run="speed", data=["none"])
        text_config = T5Config(**SIZES[size], decoder_start_token_id=0)
        if name == "T5":
            model = T5ForConditionalGeneration(text_config)
            batch = {key: batch[key] for key in TEXT_ONLY}
        else:
            model = UniMSEForConditionalGeneration(UniMSEConfig(text_config=text_config))
        model.to(accelerator.device).train()
        if setting.checkpointing:
            model.activation_checkpointing_enable()
        optimizer, _ = build_optimizer(model, config, steps=1_000_000)
        if setting.compiled:
            model = torch.compile(model, dynamic=True)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.accelerator, self.batch, self.max_grad_norm = accelerator, batch, config.max_grad_norm

    def step(self) -> float:
        """Seconds of forward, backward, clipping and update."""
        began = time.perf_counter()
        self.accelerator.backward(self.model(**self.batch).loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began


@dataclass
class Speed:
    """What was measured of a model: seconds of each counted step, and peak memory in GiB (0 on a CPU)."""

    seconds: list[float]
    peak_gib: float

    @property
    def steps_a_second(self) -> float:
        return 1 / statistics.median(self.seconds)


def warmed_up(model: Trained, before: int) -> Speed:
    """Does the first steps; memory is what a step needs beyond the `before` bytes that other models hold."""
    for _ in range(WARM_UP):
        model.step()
    if model.accelerator.device.type != "cuda":
        return Speed([], 0.0)
    torch.cuda.reset_peak_memory_stats()
    model.step()
    return Speed([], (torch.cuda.max_memory_allocated() - before) / 2**30)


def measure(setting: Setting, options: argparse.Namespace, accelerator: Accelerator) -> dict[str, Speed]:
    """Both models in one setting."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    batch = make_batch(setting.rows, options.text, options.audio, options.visual, accelerator.device)
    models, found = {}, {}
    for name in MODELS:
        before = torch.cuda.memory_allocated() if accelerator.device.type == "cuda" else 0
        models[name] = Trained(name, options.size, setting, batch, accelerator)
        found[name] = warmed_up(models[name], before)
    for _ in range(options.rounds):
        for name, model in models.items():
            found[name].seconds.append(model.step())
    accelerator.free_memory()
    return found


def report(setting: Setting, found: dict[str, Speed]) -> None:
    """Prints a line of the table."""
    plain, ours = (found[name] for name in MODELS)
    ratio = plain.steps_a_second / ours.steps_a_second
    memory = (
        "{:8.2f} {:11.2f}".format(*(one.peak_gib for one in (plain, ours))) if ours.peak_gib else f"{'-':>8} {'-':>11}"
    )
    switches = "{:>8} {:>13}".format(
        *("on" if switch else "off" for switch in (setting.compiled, setting.checkpointing))
    )
    speeds = f"{plain.steps_a_second:10.2f} {ours.steps_a_second:14.2f} {ratio:9.3f}"
    print(f"{setting.rows:5} {switches} {speeds} {memory}", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 96])
    parser.add_argument("--text", type=int, default=128, help="tokens")
    parser.add_argument("--audio", type=int, default=400, help="Mel frames")
    parser.add_argument("--visual", type=int, default=32, help="video frames")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--compile", choices=["both", "off"], default="both")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "gpu_training: no CUDA device is here; --device cpu --size tiny tries the script without one\n")
    return options


def main():
    options = parse()
    accelerator = Accelerator(mixed_precision="bf16", cpu=options.device == "cpu")
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    shape = f"text {options.text}, audio {options.audio} x 64, visual {options.visual} x 64"
    print(f"T5-{options.size}, {shape}, bf16, {where}, torch {torch.__version__}, medians of {options.rounds} steps")
    titles = ("compile", "checkpointing", "T5 steps/s", "UniMSE steps/s", "step time", "T5 GiB", "UniMSE GiB")
    print("batch {:>8} {:>13} {:>10} {:>14} {:>9} {:>8} {:>11}".format(*titles))
    compiled = (False, True) if options.compile == "both" else (False,)
    for setting in map(Setting._make, product(options.batch_sizes, compiled, (False, True))):
        try:
            report(setting, measure(setting, options, accelerator))
        except torch.OutOfMemoryError:
            print(f"{setting.rows:5} {setting}: out of memory", flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
