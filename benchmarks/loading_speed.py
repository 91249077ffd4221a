"""Rows a second of a prepared data set with features, against a pickle of the same rows.

    python -m benchmarks.loading_speed --rows 4000

Random float32 features, (157, 64) audio and (32, 128) visual in every row, as a clip of five seconds has them. Each way
of reading is a fresh process that imports its libraries first (not timed), opens the data, and reads every row once in
batches; each value is added up, so that lazily mapped pages count. The files were just written: the page cache is warm.

- pickle: a list of dicts of arrays, loaded whole, then walked through.
- parquet, first use: `load_prepared`, which writes the Arrow cache of `datasets`. The lines after it map this cache.
- numpy batches: batches of `with_format("numpy")`; then the same with rows in random order, as training reads.
- cells: batches of `with_format("arrow")` with `feature_cells`, in random order.
- trainer: `UtteranceDataset`, row by row in random order: what its data loader calls.
- streaming: `load_dataset(..., streaming=True)`, straight from Parquet without a cache.

Memory is the peak of the process over what it held after its imports; mapped pages that were touched are in it.
"""

import argparse
import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

AUDIO, VISUAL = (157, 64), (32, 128)
COLUMNS = ("audio_features", "visual_features")


# --- the data ---------------------------------------------------------------------------------------------------------


def make_rows(count: int):
    """Rows of the schema, one at a time."""
    from dataset_scripts.schema import new_example

    generator = np.random.default_rng(0)
    for number in range(count):
        yield new_example(
            id=f"meld/train/dia{number // 10}_utt{number % 10}",
            dataset="meld",
            split="train",
            dialogue_id=f"dia{number // 10}",
            utterance_index=number % 10,
            text="What a day it was, really.",
            audio_features=generator.standard_normal(AUDIO, dtype=np.float32),
            visual_features=generator.standard_normal(VISUAL, dtype=np.float32),
            emotion="joy",
            polarity="positive",
        )


def write_data(folder: Path, count: int) -> None:
    """A prepared folder and `rows.pkl` beside it."""
    from dataset_scripts.publish import write_split
    from dataset_scripts.schema import features

    write_split(folder / "prepared", "train", make_rows(count), features({"audio": AUDIO[1], "visual": VISUAL[1]}))
    spec = {"default": {"text": None, "audio": {}, "visual": {}}}
    (folder / "prepared" / "features.json").write_text(json.dumps(spec), encoding="utf-8")
    with (folder / "rows.pkl").open("wb") as file:
        pickle.dump(list(make_rows(count)), file, protocol=pickle.HIGHEST_PROTOCOL)


# --- ways to read: each returns (rows, sum of all values) -------------------------------------------------------------


def added(cells) -> float:
    return float(sum(np.asarray(cell).sum(dtype=np.float64) for cell in cells))


def read_pickle(folder: Path, batch_size: int):
    with (folder / "rows.pkl").open("rb") as file:
        rows = pickle.load(file)
    total = 0.0
    for start in range(0, len(rows), batch_size):
        total += added(row[name] for row in rows[start : start + batch_size] for name in COLUMNS)
    return len(rows), total


def load_table(folder: Path):
    from dataset_scripts.prepared import load_prepared

    return load_prepared(folder / "prepared")["train"]


def make_cache(folder: Path, batch_size: int):
    table = load_table(folder)
    return len(table), None


def read_numpy(folder: Path, batch_size: int, order=None):
    table = load_table(folder).select_columns(list(COLUMNS)).with_format("numpy")
    total = 0.0
    for start in range(0, len(table), batch_size):
        stop = min(len(table), start + batch_size)
        batch = table[start:stop] if order is None else table[order[start:stop]]
        total += added(cell for name in COLUMNS for cell in batch[name])
    return len(table), total


def random_order(count: int) -> list[int]:
    return np.random.default_rng(1).permutation(count).tolist()


def read_numpy_shuffled(folder: Path, batch_size: int):
    return read_numpy(folder, batch_size, random_order(len(load_table(folder))))


def read_cells_shuffled(folder: Path, batch_size: int):
    from dataset_scripts.feature_cells import feature_cells

    table = load_table(folder).select_columns(list(COLUMNS)).with_format("arrow")
    order, total = random_order(len(table)), 0.0
    for start in range(0, len(table), batch_size):
        batch = table[order[start : start + batch_size]]
        total += added(cell for name in COLUMNS for cell in feature_cells(batch.column(name)))
    return len(table), total


def read_by_trainer(folder: Path, batch_size: int):
    from trainer.data import UtteranceDataset

    dataset = UtteranceDataset(load_table(folder))
    samples = (dataset[index] for index in random_order(len(dataset)))
    return len(dataset), sum(added(sample[name] for name in COLUMNS) for sample in samples)


def read_stream(folder: Path, batch_size: int):
    from datasets import load_dataset

    files = str(folder / "prepared" / "data" / "default" / "train-*.parquet")
    stream = load_dataset("parquet", data_files={"train": files}, split="train", streaming=True)
    count, total = 0, 0.0
    for batch in stream.select_columns(list(COLUMNS)).with_format("numpy").iter(batch_size=batch_size):
        count += len(batch[COLUMNS[0]])
        total += added(cell for name in COLUMNS for cell in batch[name])
    return count, total


READERS = {
    "pickle": read_pickle,
    "parquet, first use": make_cache,
    "numpy batches": read_numpy,
    "numpy batches, shuffled": read_numpy_shuffled,
    "cells, shuffled": read_cells_shuffled,
    "trainer, shuffled": read_by_trainer,
    "streaming": read_stream,
}


def measure(name: str, folder: Path, batch_size: int) -> None:
    """Run one reader in this process; prints rows, sum, seconds and peak memory over that after the imports."""
    import datasets

    import dataset_scripts.prepared  # noqa: F401
    import trainer.data  # noqa: F401

    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    datasets.disable_progress_bars()
    before = peak_mib()
    began = time.perf_counter()
    rows, total = READERS[name](folder, batch_size)
    seconds = time.perf_counter() - began
    print(json.dumps({"rows": rows, "sum": total, "seconds": seconds, "peak_mib": peak_mib() - before}))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_fresh_process(*arguments: str) -> str:
    """The last line that this module prints with these arguments. A child inherits its parent's peak memory (Linux),
    which is why this process itself never holds the data."""
    command = [sys.executable, "-m", "benchmarks.loading_speed", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip().rpartition("\n")[2]


def report(folder: Path, batch_size: int) -> None:
    """Run all readers and print the table. Raises a `ValueError` when one reads other values than the pickle holds."""
    parquet = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    print(f"pickle {(folder / 'rows.pkl').stat().st_size / 2**20:.0f} MiB, Parquet {parquet / 2**20:.0f} MiB")
    print(f"{'':24} {'seconds':>8} {'rows/s':>9} {'of pickle':>10} {'peak MiB':>9}")
    first = None
    for reader in READERS:
        arguments = ("--reader", reader, "--folder", str(folder), "--batch-size", str(batch_size))
        result = json.loads(in_fresh_process(*arguments))
        first = first or result
        speed, ratio = result["rows"] / result["seconds"], first["seconds"] / result["seconds"]
        print(f"{reader:24} {result['seconds']:8.2f} {speed:9,.0f} {ratio:9.2f}x {result['peak_mib']:9,.0f}")
        if result["sum"] is not None and not np.isclose(result["sum"], first["sum"], rtol=1e-9, atol=1e-3):
            raise ValueError(f"{reader}: expected the sum {first['sum']}, got {result['sum']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--reader", choices=[*READERS, "write"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader == "write":
        write_data(options.folder, options.rows)
    elif options.reader:
        measure(options.reader, options.folder, options.batch_size)
    else:
        print(f"{options.rows} rows of {AUDIO} + {VISUAL} float32, batches of {options.batch_size}")
        with tempfile.TemporaryDirectory() as name:
            in_fresh_process("--reader", "write", "--folder", name, "--rows", str(options.rows))
            report(Path(name), options.batch_size)


if __name__ == "__main__":
    main()
