"""Transcripts of the original distribution of MOSI and MOSEI: which words a clip has, and in MOSEI when.

MOSI     Raw/Transcript/Segmented/<video>.annotprocessed            <clip>_DELIM_<text>
MOSEI    Raw/Transcript/Segmented/Combined/<video>.txt              <video>___<clip>___<start>___<end>___<text>
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_scripts.formats import candidate_files
from dataset_scripts.readers import Reading
from dataset_scripts.tables import read_text, split_lines

_FOLDERS = ("Raw/Transcript/Segmented", "Transcript/Segmented", "*/Transcript/Segmented")
_NEAR = 0.1  # seconds; labels and transcripts were rounded differently
BAD_LINE = "line of a transcript that does not parse"


@dataclass(frozen=True)
class Line:
    """A clip's text; `start` and `end` in seconds where the transcript has them."""

    clip: str
    text: str
    start: float | None = None
    end: float | None = None


def find_transcripts(source: Path, benchmark: str) -> dict[str, Path]:
    """Video id -> transcript of a benchmark in a folder; none for a single file."""
    if source.is_file():
        return {}
    if benchmark == "mosi":
        patterns = [f"{folder}/*.annotprocessed" for folder in _FOLDERS] + ["*.annotprocessed"]
    else:
        patterns = [f"{folder}/{deeper}*.txt" for folder in _FOLDERS for deeper in ("Combined/", "")]
    found: dict[str, Path] = {}
    for path in candidate_files(source, *patterns):
        found.setdefault(path.stem, path)
    return found


def read_transcript(path: Path, reading: Reading) -> list[Line]:
    """The lines of a transcript; those that do not parse are counted.

    Raises:
        ValueError: the file is no text.
    """
    timed = path.suffix == ".txt"
    lines = []
    for number, line in enumerate(split_lines(read_text(path)), start=1):
        if not line.strip():
            continue
        found = _timed_line(path.stem, line) if timed else _plain_line(line)
        if found is None:
            reading.notes.add(BAD_LINE, f"{path.name}, line {number}: {line[:60]!r}")
        else:
            lines.append(found)
    return lines


def match_lines(lines: list[Line], intervals: np.ndarray) -> dict[int, Line]:
    """Row of the labels -> the line of a timed transcript that has the same interval; each line for one row.

    Args:
        lines: of one video.
        intervals: `(n, 2)` seconds, a row a segment.
    """
    free, found = list(lines), {}
    for row, (start, end) in enumerate(intervals.tolist()):
        distances = [max(abs(line.start - start), abs(line.end - end)) for line in free]
        if distances and min(distances) <= _NEAR:
            found[row] = free.pop(distances.index(min(distances)))
    return found


def _plain_line(line: str) -> Line | None:
    clip, mark, text = line.partition("_DELIM_")
    return Line(_plain_number(clip), text) if mark and clip.strip().isdecimal() else None


def _timed_line(video: str, line: str) -> Line | None:
    if not line.startswith(f"{video}___"):
        return None
    parts = line[len(video) + 3 :].split("___", 3)
    if len(parts) != 4 or not parts[0].strip().isdecimal():
        return None
    start, end = _seconds(parts[1]), _seconds(parts[2])
    if start is None or end is None or end < start:
        return None
    return Line(_plain_number(parts[0]), parts[3], start, end)


def _plain_number(digits: str) -> str:
    return digits.strip().lstrip("0") or "0"


def _seconds(text: str) -> float | None:
    if not re.fullmatch(r"\s*[-+]?\d+(\.\d*)?([eE][-+]?\d+)?\s*", text):
        return None
    return float(text) if math.isfinite(float(text)) else None
