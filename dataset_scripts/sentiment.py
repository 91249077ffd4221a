"""What MOSI and MOSEI share in whatever form they come: ids, splits, labels, and the rows made of them.

The same segment has the same id in all forms where the forms tell which it is: `<benchmark>/<split>/<video>_<clip>`.
The polarity is the sign of the score; a row whose score is missing, or beyond 3 in size, is skipped and counted.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.folds import standard_folds
from dataset_scripts.pickle_cells import as_numbers, shown
from dataset_scripts.readers import LABEL_OUTSIDE, Item, Reading, Span, clean_text, natural_key
from dataset_scripts.schema import SPLITS, new_example
from modeling_unimse.universal_label_unimse import MAX_INTENSITY, polarity_of

NO_LABEL = "no label"
FOLDED = ("mosi", "mosei")
_LONGEST_NAME = 200  # letters
SPLIT_NAMES = {
    "train": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Benchmark:
    """The facts in which MOSI and MOSEI differ.

    Args:
        name: `mosi` or `mosei`.
        expected: published rows of each split.
        label_roots: root group of a csd file of labels -> its number of columns; the sentiment is the first.
        label_file: the usual name of that file.
        first_clip: number of the clip that the first row of a video's labels describes.
    """

    name: str
    expected: Mapping[str, int]
    label_roots: Mapping[str, int]
    label_file: str
    first_clip: int


@dataclass(frozen=True)
class Row:
    """One labelled segment as a raw file has it.

    Args:
        video, clip: together its name.
        split: of the prepared dataset.
        score: the label; `None` or NaN = it has none.
        text: `None` = unknown.
        start, end: seconds within the video, or `None`.
        audio, visual: where its media lie.
        order: sorts the segments of a video; by default the clip's number.
    """

    video: str
    clip: str
    split: str
    score: float | None
    text: str | None = None
    start: float | None = None
    end: float | None = None
    audio: Span | None = None
    visual: Span | None = None
    order: float | None = None


@dataclass
class Rows:
    """Collects the rows of one source into a `Reading`; `rows_read` is always kept plus skipped."""

    benchmark: Benchmark
    reading: Reading
    _splits: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    _positions: list[tuple] = field(default_factory=list)
    _examples: dict[str, dict[str, Any]] = field(default_factory=dict)

    def skip(self, reason: str, example: str, split: str = "any", count: int = 1) -> None:
        """Count rows that are left out."""
        self.reading.rows_read += count
        self.reading.skipped.add(reason, example, count, split)

    def add(self, row: Row, where: str) -> str | None:
        """Add a row.

        Returns:
            Its id, also if it repeats an earlier row in everything; `None` if it was skipped for its label.

        Raises:
            ValueError: no name, or the same segment with other content or in another split; says where.
        """
        if not row.video.strip() or not row.clip.strip():
            raise ValueError(f"{where}: expected the names of a video and a clip, got {row.video!r} and {row.clip!r}")
        name = f"{self.benchmark.name}/{row.split}/{row.video}_{row.clip}"
        if row.score is None or math.isnan(row.score):
            self.skip(NO_LABEL, f"{where}: {name}", row.split)
            return None
        if abs(row.score) > MAX_INTENSITY:
            self.skip(LABEL_OUTSIDE, f"{where}: {name}: {row.score:g} is not in [-3, 3]", row.split)
            return None
        split, first = self._splits.setdefault((row.video, row.clip), (row.split, where))
        if split != row.split:
            raise ValueError(
                f"{where}: clip {row.video}/{row.clip} is in {row.split}, and in {split} too (first: {first}); keep one"
            )
        self.reading.rows_read += 1
        item = Item(_example(name, row, self.benchmark.name), row.audio, row.visual)
        if self.reading.add(item, where):
            self._examples[name] = item.example
            order = (0, row.order) if row.order is not None else (1, natural_key(row.clip))
            self._positions.append(order)
        return name

    def find(self, row: Row) -> dict[str, Any] | None:
        """The example of a row's segment, if it was added in the same split."""
        return self._examples.get(f"{self.benchmark.name}/{row.split}/{row.video}_{row.clip}")

    def finish(self) -> Reading:
        """The reading with its rows in order.

        Raises:
            ValueError: the videos are those of the other benchmark.
        """
        other = other_benchmark(self.benchmark, (item.example["dialogue_id"] for item in self.reading.items))
        if other is not None:
            raise ValueError(not_its_videos(self.reading.layout.split(" ")[1].rstrip(","), self.benchmark, other))
        self.reading.place(self._positions)
        return self.reading


def _example(name: str, row: Row, dataset: str) -> dict[str, Any]:
    return new_example(
        id=name,
        dataset=dataset,
        split=row.split,
        dialogue_id=row.video,
        text=clean_text(row.text),
        start=row.start,
        end=row.end,
        sentiment=float(row.score),
        polarity=polarity_of(float(row.score)),
    )


def other_benchmark(benchmark: Benchmark, videos: Iterable[str]) -> str | None:
    """The benchmark in whose standard folds most of the videos lie that are in any; `None` if that is this one.

    Nothing in a file says which benchmark it is; no video is in both. Ids in neither (made-up ones) do not count.
    """
    found = Counter(name for video in set(videos) for name in FOLDED if video in standard_folds(name))
    other = max(FOLDED, key=lambda name: found[name])
    return other if found[other] > found[benchmark.name] else None


def not_its_videos(what: Path | str, benchmark: Benchmark, other: str) -> str:
    """The message for data of the other benchmark."""
    return (
        f"{what}: these are {other.upper()}'s videos, expected {benchmark.name.upper()}'s; "
        f"`prepare {other}` reads them, or give the folder of {benchmark.name.upper()}"
    )


def segment_row(key: str) -> tuple[str, int] | None:
    """Video and row of `video[row]`; `None` for a name of another form."""
    video, _, row = key[:-1].rpartition("[")
    if not key.endswith("]") or not video.strip() or not (row.isascii() and row.isdecimal()) or len(row) > 9:
        return None
    return video, int(row)


def name_parts(name: Any, where: str, first_clip: int) -> tuple[str, str]:
    """Video and clip of `vid$_$clip`, `vid_clip` or `vid[row]`, as text or bytes.

    Args:
        name: as a pickle has it.
        where: for the message.
        first_clip: the clip that row 0 of a video's labels describes.

    Raises:
        ValueError: another kind of value, or no clip in it; says where.
    """
    text = as_text(name)
    if text is None or len(text) > _LONGEST_NAME:
        raise ValueError(f"{where}: id: expected text such as 'video_3', got {shown(name)}")
    segment = segment_row(text)
    if segment is not None:
        return segment[0], str(segment[1] + first_clip)
    if "$_$" in text:
        video, _, clip = text.rpartition("$_$")
    else:
        video, _, clip = text.rpartition("_")
    if not video.strip() or not clip.strip():
        raise ValueError(
            f"{where}: id: expected a video and a clip, such as 'video$_$3' or 'video_3', got {shown(text)}"
        )
    return video, clip


def as_text(value: Any) -> str | None:
    """Text of a pickle as `str` that can be written as UTF-8; `None` for what is no text. A lone cell counts as one."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, (bytes, np.bytes_)):
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, str):
        return None
    return str(value).encode("utf-8", errors="replace").decode("utf-8").replace("\0", "")


def video_folds(folder: Path, benchmark: Benchmark, reading: Reading) -> dict[str, str]:
    """Video id -> split: of `folds.json` in the folder, else the standard folds; the layout says which."""
    path = folder / "folds.json"
    if path.is_file():
        reading.layout += ", splits by folds.json"
        return read_folds(path)
    reading.layout += ", standard folds"
    return standard_folds(benchmark.name)


def read_folds(path: Path) -> dict[str, str]:
    """Video id -> split from a json file `{"train": [...], "validation": [...], "test": [...]}`.

    Raises:
        ValueError: no such json, or a video in two splits; names the file.
    """
    expected = 'a json object {"train": [...], "validation": [...], "test": [...]} of video ids'
    try:
        folds = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected {expected}, got no valid json ({error})") from None
    if not isinstance(folds, dict) or set(folds) - set(SPLITS) or not all(map(_is_name_list, folds.values())):
        received = list(folds)[:5] if isinstance(folds, dict) else f"a {type(folds).__name__}"
        raise ValueError(f"{path}: expected {expected}, got {received}")
    split_of: dict[str, str] = {}
    for split, videos in folds.items():
        for video in map(str, videos):
            if video in split_of:
                raise ValueError(f"{path}: video {video} is named twice, in {split_of[video]} and {split}; keep one")
            split_of[video] = split
    return split_of


def _is_name_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, (str, int)) for name in value)


def folder_of(source: Path) -> Path:
    """The folder that a source is or lies in."""
    return source if source.is_dir() else source.parent


def relative_name(path: Path, source: Path) -> str:
    """A file's name within the raw folder, for layouts and reports."""
    folder = folder_of(source)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def new_reading(benchmark: Benchmark, layout: str) -> Reading:
    """An empty reading of a benchmark."""
    return Reading(benchmark.name, layout, expected=dict(benchmark.expected))


def scores_of(values: Any, count: int, where: str) -> Sequence[float]:
    """Labels of a pickle: numbers, in whatever nesting of one column.

    Raises:
        ValueError: not numbers, or another number of them than rows; says where.
    """
    try:
        scores = as_numbers(values, 4, text=True)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if scores is None:
        raise ValueError(f"{where}: expected {count} numbers, got {shown(values)} with other contents")
    if scores.ndim == 0 or len(scores) != count or (count and not scores.size):
        raise ValueError(f"{where}: expected {count} numbers, one a row, got {shown(scores)}")
    if count == 0:
        return []
    return scores.reshape(count, -1)[:, 0].astype(np.float64).tolist()
