"""What bar, log and trackers cost a training, against steps of a given time.

    python benchmarks/watching_overhead.py --trackers trackio tensorboard --step-ms 50 --log-every 10

Blocks of steps alternate, bare and watched. What is measured is the processor time of the process with all its threads,
so other work on the machine does not count; the ratio of the medians is the slowdown where training and trackers share
one core. Nothing outside a temporary folder is written.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

STEPS = 40


def line(step: int) -> dict:
    """A log line as the loop writes it, with all loss terms and all groups of rates."""
    losses = ("loss", "task_loss", "audio_contrastive_loss", "visual_contrastive_loss", "grad_norm")
    rates = ("backbone", "backbone_no_decay", "fusion", "fusion_no_decay", "encoder", "contrastive")
    values = {name: 1.0 / (step + 1) for name in losses} | {f"learning_rate/{name}": 3e-4 for name in rates}
    return {"step": step, "epoch": 1, **values, "tokens/s": 1000}


def block(matrix: torch.Tensor, rounds: int, watch=None, first: int = 0, log_every: int = 10) -> float:
    """Processor seconds of `STEPS` steps of a fixed number of operations."""
    began = time.process_time()
    for step in range(first, first + STEPS):
        for _ in range(rounds):
            matrix @ matrix
        if watch is not None:
            watch.stepped()
            if step % log_every == 0:
                watch.trained(line(step))
    return time.process_time() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trackers", nargs="*", default=["trackio", "tensorboard"])
    parser.add_argument("--step-ms", type=float, default=50)
    parser.add_argument("--log-every", type=int, default=10)
    parser.add_argument("--blocks", type=int, default=7)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TRACKIO_DIR"] = f"{scratch}/trackio"
        from accelerate import PartialState

        from trainer.arguments import RunConfig
        from trainer.watching import Watch

        PartialState()  # accelerate's trackers ask it which process this is
        matrix = torch.randn(64, 64)
        began = time.process_time()
        for _ in range(2000):
            matrix @ matrix
        rounds = max(1, round(options.step_ms / 1000 * 2000 / (time.process_time() - began)))
        watch = Watch(RunConfig("bench", ["-"], trackers=options.trackers), Path(scratch), {})
        bare, watched = [], []
        with watch.watching(0, options.blocks * STEPS):
            for index in range(options.blocks):
                bare.append(block(matrix, rounds) / STEPS)
                watched.append(block(matrix, rounds, watch, index * STEPS, options.log_every) / STEPS)
    bare, watched = statistics.median(bare), statistics.median(watched)
    print(f"{' '.join(options.trackers) or 'no trackers'}, a log line every {options.log_every} steps: a step takes")
    print(f"{watched * 1000:.2f} ms watched, {bare * 1000:.2f} ms bare; ratio {watched / bare:.4f}")


if __name__ == "__main__":
    main()
