"""The labels of MOSI and MOSEI in a csd file, found by their root group, and the segments they describe."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_scripts.csd import CsdFile, csd_root
from dataset_scripts.formats import candidate_files
from dataset_scripts.readers import NO_SPLIT
from dataset_scripts.sentiment import Benchmark, Rows, as_text, segment_row, video_folds

NO_INTERVAL = "segment without an interval"
PATTERNS = ("*.csd", "*/*.csd", "*/*/*.csd")


@dataclass(frozen=True)
class LabelledVideo:
    """The labels of one video: scores `(n,)` and intervals `(n, 2)` in seconds of its segments, whose rows are `rows`.

    `rows` are 0 to n - 1 where the file has the video as a whole, and what it names in files by segment, `video[row]`.
    """

    name: str
    split: str
    rows: list[int]
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
        videos = _keys_by_video(file, split_of)
        for video, split in split_of.items():
            if video not in videos:
                reading.notes.add("video of the folds without labels", video, split=split)
        for video, keys in videos.items():
            parts = [_checked(path, key, row, file, benchmark.label_roots[file.root]) for key, row in keys]
            scores, intervals = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            name = as_text(video)
            if video not in split_of:
                rows.skip(NO_SPLIT, f"{name}: in no fold", count=len(scores))
                continue
            numbers = [
                number for (_, row), (part, _) in zip(keys, parts, strict=True) for number in _numbers(row, part)
            ]
            yield LabelledVideo(name, split_of[video], numbers, scores, intervals)


def _keys_by_video(file: CsdFile, split_of: Mapping[str, str]) -> dict[str, list[tuple[str, int | None]]]:
    """Video -> its keys in the file, each with its row, `None` = all rows; a name in the folds is a video as it is."""
    videos: dict[str, list[tuple[str, int | None]]] = {}
    for key in file.keys():
        video, row = (None if key in split_of else segment_row(key)) or (key, None)
        videos.setdefault(video, []).append((key, row))
    return {video: sorted(keys, key=lambda one: -1 if one[1] is None else one[1]) for video, keys in videos.items()}


def _numbers(row: int | None, scores: np.ndarray) -> Iterable[int]:
    return range(len(scores)) if row is None else [row]


def _root(path: Path, benchmark: Benchmark) -> str:
    root = csd_root(path)
    return root if root in benchmark.label_roots else next(iter(benchmark.label_roots))


def _checked(path: Path, key: str, row: int | None, file: CsdFile, columns: int) -> tuple[np.ndarray, np.ndarray]:
    values, intervals = file.entry(key)
    if row is not None and len(values) != 1:
        raise ValueError(f"{path}, {key}: expected 1 row of labels for a segment, got {len(values)}")
    if values.shape[1] != columns:
        expected = "7 columns (sentiment first)" if columns == 7 else "1 column"
        raise ValueError(f"{path}, {key}: expected {expected}, got {values.shape[1]}")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path}, {key}: expected numbers as labels, got {values.dtype}")
    return values[:, 0].astype(np.float64), intervals


def usable_interval(interval: np.ndarray) -> tuple[float, float] | None:
    """Start and end in seconds, not before the video's beginning; `None` for what is no stretch of time."""
    start, end = (float(value) for value in interval)
    if not (np.isfinite(start) and np.isfinite(end)) or end < start or end < 0:
        return None
    return max(0.0, start), end
