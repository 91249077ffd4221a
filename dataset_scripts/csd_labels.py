"""The labels of MOSI and MOSEI in a csd file, found by their root group, and the segments they describe."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_scripts.csd import CsdFile, csd_root
from dataset_scripts.formats import candidate_files
from dataset_scripts.readers import NO_SPLIT, Reading
from dataset_scripts.sentiment import Benchmark, Rows, as_text, video_folds

NO_INTERVAL = "segment without an interval"
PATTERNS = ("*.csd", "*/*.csd", "*/*/*.csd")


@dataclass(frozen=True)
class LabelledVideo:
    """The labels of one video: scores `(n,)` and intervals `(n, 2)` in seconds, a row a segment."""

    name: str
    split: str
    scores: np.ndarray
    intervals: np.ndarray


def find_labels(source: Path, benchmark: Benchmark) -> Path | None:
    """The csd file with the benchmark's labels: by its root group, else by its usual name."""
    named = None
    for path in candidate_files(source, *PATTERNS):
        if csd_root(path) in benchmark.label_roots:
            return path
        if path.name == benchmark.label_file:
            named = path
    return named


def read_labels(path: Path, folder: Path, rows: Rows) -> Iterator[LabelledVideo]:
    """The labelled videos that are in a fold; segments of others, and those without an interval, are counted.

    Raises:
        ValueError: another root, another number of columns, or labels that are no numbers; names file and key.
    """
    benchmark, reading = rows.benchmark, rows.reading
    split_of = video_folds(folder, benchmark, reading)
    with CsdFile(path, _root(path, benchmark)) as file:
        _note_unlabelled(reading, split_of, file)
        for key in file.keys():
            scores, intervals = _checked(path, key, file, benchmark.label_roots[file.root])
            name = as_text(key)
            if key not in split_of:
                rows.skip(NO_SPLIT, f"{name}: in no fold", count=len(scores))
                continue
            yield LabelledVideo(name, split_of[key], scores, intervals)


def _root(path: Path, benchmark: Benchmark) -> str:
    root = csd_root(path)
    return root if root in benchmark.label_roots else next(iter(benchmark.label_roots))


def _checked(path: Path, key: str, file: CsdFile, columns: int) -> tuple[np.ndarray, np.ndarray]:
    values, intervals = file.entry(key)
    if values.shape[1] != columns:
        expected = "7 columns (sentiment first)" if columns == 7 else "1 column"
        raise ValueError(f"{path}, {key}: expected {expected}, got {values.shape[1]}")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path}, {key}: expected numbers as labels, got {values.dtype}")
    return values[:, 0].astype(np.float64), intervals


def _note_unlabelled(reading: Reading, split_of: Mapping[str, str], file: CsdFile) -> None:
    for video, split in split_of.items():
        if video not in file:
            reading.notes.add("video of the folds without labels", video, split=split)


def usable_interval(interval: np.ndarray) -> tuple[float, float] | None:
    """Start and end in seconds, not before the video's beginning; `None` for what is no stretch of time."""
    start, end = (float(value) for value in interval)
    if not (np.isfinite(start) and np.isfinite(end)) or end < start or end < 0:
        return None
    return max(0.0, start), end
