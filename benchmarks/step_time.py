"""Training step of UniMSE against the T5 it wraps, on the same text, in one process.

    python -m benchmarks.step_time --size small --batch-size 8 --rounds 7

Steps alternate (T5, UniMSE, T5, ...), so that a busy machine slows both; the ratio of the medians is what counts.
"""

import argparse
import statistics
import time

import torch
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks.batches import SIZES, make_batch
from modeling_unimse import UniMSEConfig, UniMSEForConditionalGeneration


def timed_step(model, optimizer, batch: dict) -> float:
    """Seconds of forward, backward and update."""
    began = time.perf_counter()
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if batch["input_ids"].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--text", type=int, default=96, help="tokens: five utterances")
    parser.add_argument("--audio", type=int, default=157, help="Mel frames: 5 s")
    parser.add_argument("--visual", type=int, default=32, help="video frames")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    text_config = T5Config(**SIZES[options.size], decoder_start_token_id=0)
    models = {
        "T5": T5ForConditionalGeneration(text_config),
        "UniMSE": UniMSEForConditionalGeneration(UniMSEConfig(text_config=text_config)),
    }
    batch = make_batch(options.batch_size, options.text, options.audio, options.visual, options.device)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    steps = {}
    for name, model in models.items():
        model.to(options.device).train()
        steps[name] = (model, torch.optim.AdamW(model.parameters()), plain if name == "T5" else batch)
    seconds = {name: [] for name in steps}
    for turn in range(options.rounds + 2):
        for name, step in steps.items():
            taken = timed_step(*step)
            if turn >= 2:  # the first two warm up
                seconds[name].append(taken)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, model in models.items():
        parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        print(
            f"{name:7} {parameters:6.1f} M parameters  {medians[name] * 1000:8.1f} ms/step (median of {options.rounds})"
        )
    shape = f"batch {options.batch_size}, text {options.text}, audio {options.audio}, visual {options.visual}"
    ratio = medians["UniMSE"] / medians["T5"]
    print(f"ratio {ratio:.3f}  (T5-{options.size}, {shape}, {torch.get_num_threads()} threads)")


if __name__ == "__main__":
    main()
