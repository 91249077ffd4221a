"""Features of finished clips on disk, so that work that was killed goes on where it stopped.

    FOLDER/clips/3f/3f9a...     one finished clip, by its key
    FOLDER/in-flight/3f9a...    a clip begun without a process of its own; left behind only when it ended the run
    FOLDER/rank-1.*             how other processes of a distributed run are doing, see `ranks`

A clip is written to a name of its own and renamed when whole, so a kill leaves nothing half. Each file carries a digest
of itself: one that a full disk or a lost power supply spoilt is taken as not there.
"""

import hashlib
import json
import os
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_scripts.readers import Item, Span
from dataset_scripts.utils.files import errors_named

_OURS = re.compile(r"clips/[0-9a-f]{2}/(\.?[0-9a-f]{40}.*)|in-flight/[0-9a-f]{40}|rank-\d+\.(began|failed)")
VERSION = 1  # of these files and of what decoding gives; rises when either changes


@dataclass(frozen=True)
class ClipFeatures:
    """What one clip gave.

    Args:
        audio: `(T_a, 64)` float32 or `None`.
        visual: `(T_v, d_v)` float32 or `None`.
        problems: (modality, reason, detail) for each that is `None` though a clip was named.
        frames: how many pictures were sampled.
        frames_with_face: how many of them show a face; `None` = no face was looked for.
    """

    audio: np.ndarray | None = None
    visual: np.ndarray | None = None
    problems: tuple[tuple[str, str, str], ...] = ()
    frames: int = 0
    frames_with_face: int | None = None


def resume_folder(out: Path | str) -> Path:
    """Where the finished clips of a preparation wait: `OUT.resume`, beside OUT."""
    out = Path(out)
    return out.with_name(f"{out.name}.resume")


def clip_key(item: Item, signature: str) -> str:
    """Names the features of one row: changes with the row, its files' sizes and times, and the extractors.

    Args:
        item: the row and its spans.
        signature: of the extractors and their settings.
    """
    facts = [VERSION, signature, item.example["id"], item.example["text"], item.longest]
    facts += [None if span is None else _span_facts(span) for span in (item.audio, item.visual)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]


def _span_facts(span: Span) -> list:
    try:
        status = os.stat(span.path)
    except (OSError, ValueError):  # a missing file, or a name that no file can have
        found = None
    else:
        found = [status.st_size, status.st_mtime_ns]
    return [str(span.path), span.start, span.end, span.half, found]


class ClipStore:
    """A folder of finished clips. Several processes, also on several machines, may share one."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)

    def __contains__(self, key: str) -> bool:
        return self._place(key).is_file()

    def read(self, key: str) -> ClipFeatures | None:
        """The features under a key; `None` if they are not there or the file is spoilt."""
        try:
            raw = self._place(key).read_bytes()
        except FileNotFoundError:
            return None
        return _unpack(raw)

    def write(self, key: str, clip: ClipFeatures) -> None:
        """Keep the features of a finished clip. The file is there whole or not at all."""
        place = self._place(key)
        aside = place.with_name(f".{key}.{socket.gethostname()}.{os.getpid()}")
        with errors_named(self.folder):
            place.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(_pack(clip))
            os.replace(aside, place)
        self._flag(key).unlink(missing_ok=True)

    def begin(self, key: str) -> None:
        """Note that a clip is decoded in this process, so that it is known if it ends the process."""
        with errors_named(self.folder):
            self._flag(key).parent.mkdir(parents=True, exist_ok=True)
            self._flag(key).touch()

    def was_begun(self, keys: Sequence[str]) -> bool:
        """Whether any of these clips was begun and not finished by a process that decoded it itself."""
        folder = self.folder / "in-flight"
        begun = set(os.listdir(folder)) if folder.is_dir() else set()
        return not begun.isdisjoint(keys)

    def remove(self) -> None:
        """Drop all clips and notes; the folder too, if nothing else lies in it."""
        for path in sorted(self.folder.rglob("*"), reverse=True):  # what lies in a folder before the folder
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):  # a user keeps something in it
                    path.rmdir()
            elif _OURS.fullmatch(path.relative_to(self.folder).as_posix()):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _place(self, key: str) -> Path:
        return self.folder / "clips" / key[:2] / key

    def _flag(self, key: str) -> Path:
        return self.folder / "in-flight" / key


def _pack(clip: ClipFeatures) -> bytes:
    """A line with the digest of the rest, a line of JSON, the arrays."""
    arrays = {name: getattr(clip, name) for name in ("audio", "visual")}
    head = {
        "shapes": {name: None if array is None else list(array.shape) for name, array in arrays.items()},
        "problems": clip.problems,
        "frames": clip.frames,
        "frames_with_face": clip.frames_with_face,
    }
    values = [np.ascontiguousarray(array, dtype="<f4").tobytes() for array in arrays.values() if array is not None]
    rest = b"".join([json.dumps(head).encode(), b"\n", *values])
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def _unpack(raw: bytes) -> ClipFeatures | None:
    digest, _, rest = raw.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        return None
    line, _, values = rest.partition(b"\n")
    head, start, arrays = json.loads(line), 0, {}
    for name, shape in head["shapes"].items():
        if shape is not None:
            count = shape[0] * shape[1]
            arrays[name] = np.frombuffer(values, "<f4", count, start).reshape(shape).copy()
            start += 4 * count
    problems = tuple((modality, reason, detail) for modality, reason, detail in head["problems"])
    return ClipFeatures(**arrays, problems=problems, frames=head["frames"], frames_with_face=head["frames_with_face"])
