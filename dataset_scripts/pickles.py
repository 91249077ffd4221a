"""Pickles without trust: numpy arrays, scalars and builtin containers are read, anything else is refused by its name.

A pickle is a program for a small stack machine. Here the machine has only the instructions that build data, and the
names it may call lead to functions of ours that check their arguments; no numpy or builtin constructor is called
with sizes that the file merely claims. A byte of the file makes at most one object or one reference, so a file of
nothing but empty sets takes some 220 times its size, the most there is; real files take about their size or less. What
shares its members may be far larger once it is copied or written out: see `pickle_cells`.

The file is mapped, and arrays of 64 KiB and more are read-only views of the map: a pickle of 10 GB opens in the time of
its instructions, and only those arrays are read from disk that are used. This holds for protocols 3 to 5; protocol 2
and lower written by Python 3 hold arrays as text, which must be decoded as a whole.
"""

import mmap
import pickle
import struct
from pathlib import Path
from typing import Any

from dataset_scripts.pickle_machine import PickleMachine
from dataset_scripts.pickle_values import UnsafePickleError as UnsafePickleError

ENCODINGS = ("ASCII", "latin1", "bytes")
_NOT_PICKLES = (
    (b"version https://git-lfs", "a Git LFS pointer, fetch the file itself with `git lfs pull`"),
    (b"<", "a web page, download the file itself"),
    (b"\x1f\x8b", "gzip, unpack it first"),
    (b"PK\x03\x04", "a zip archive, unpack it first"),
    (b"BZh", "bzip2, unpack it first"),
    (b"\xfd7zXZ", "xz, unpack it first"),
    (b"\x89HDF", "HDF5"),
)
_BROKEN = (
    *(pickle.UnpicklingError, EOFError, struct.error, LookupError, ValueError, TypeError, AttributeError),
    *(OverflowError, MemoryError, RecursionError, AssertionError, BufferError),
)


def load_pickle(path: Path | str, encoding: str = "ASCII") -> Any:
    """What a pickle holds. Arrays may be read-only.

    Args:
        path: the file, unpacked.
        encoding: how 8-bit strings of Python 2 become text: `ASCII`, `latin1`, or `bytes` to keep them as they are.

    Returns:
        Dicts, lists, tuples, sets, strings, numbers, bytes and numpy arrays (plain or object). A `defaultdict` comes
        back as a `dict`, a `bytearray` as bytes; bytes of 64 KiB or more in no array as a read-only `memoryview`.

    Raises:
        UnsafePickleError: it names a class or function that is not data (the message gives the full name), or uses an
            instruction that data do not need.
        ValueError: not a pickle, cut off, or sizes that disagree; an unknown `encoding`.
        OSError: the file cannot be opened.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding: expected one of {', '.join(ENCODINGS)}, got {encoding!r}")
    machine = PickleMachine(_map(Path(path)), encoding)
    try:
        return machine.load()
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path}: refused, {error}") from None
    except _BROKEN as error:
        raise ValueError(f"{path}: {_what_is_wrong(error, machine)}") from None


def peek_pickle(path: Path | str, steps: int = 200_000) -> set[str]:
    """Short strings near the beginning of a pickle, such as the keys of its dicts; to tell what it holds.

    Args:
        path: any file.
        steps: instructions to follow; arrays are skipped, so this bounds the time (about 0.15 s).

    Returns:
        The strings; what is no pickle, or is broken or refused, has those before that place, often none.
    """
    machine = _skimmed(path, steps)
    return set() if machine is None else machine.strings()


def peek_root(path: Path | str, steps: int = 200_000) -> Any:
    """What a pickle holds, as far as its beginning tells: containers are there with their first members.

    Args:
        path: any file.
        steps: as in `peek_pickle`. Arrays come as empty ones, long texts as empty text.

    Returns:
        The outermost value, unfinished; `None` for what is no pickle or has none within `steps`.
    """
    machine = _skimmed(path, steps)
    return None if machine is None else machine.unfinished()


def problem_of(path: Path | str, steps: int = 200_000) -> str | None:
    """Why `load_pickle` will not read a file, as far as its beginning tells; `None` = nothing is wrong there.

    Args:
        path: any file.
        steps: as in `peek_pickle`.
    """
    try:
        machine = PickleMachine(_map(Path(path)), "latin1", skim=True)
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be opened ({error.strerror})"
    try:
        machine.load(steps)
    except UnsafePickleError as error:
        return f"{path}: refused, {error}"
    except _BROKEN as error:
        return f"{path}: {_what_is_wrong(error, machine)}"
    return None


def _skimmed(path: Path | str, steps: int) -> PickleMachine | None:
    try:
        machine = PickleMachine(_map(Path(path)), "latin1", skim=True)
    except (OSError, ValueError):
        return None
    try:
        machine.result = machine.load(steps)
    except _BROKEN:  # what was read before it still tells what the file is meant to be
        pass
    return machine


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        head = file.read(32)
        if not head:
            raise ValueError(f"{path}: the file is empty; download it again")
        for start, what in _NOT_PICKLES:
            if head.startswith(start):
                raise ValueError(f"{path}: expected a pickle, but this is {what}")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _what_is_wrong(error: Exception, machine: PickleMachine) -> str:
    size = len(machine.file)
    if isinstance(error, UnicodeDecodeError) and error.encoding == "ascii":
        return "holds 8-bit strings of Python 2; read it with encoding='latin1'"
    cut = (EOFError, struct.error, IndexError, UnicodeDecodeError)
    if machine.file.tell() >= size and isinstance(error, cut):
        claim = f" ({error})" if isinstance(error, EOFError) and error.args else ""
        return f"ends after {size} bytes in the middle of the pickle{claim}: it is cut off, download it again"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"not a readable pickle (at byte {machine.file.tell()} of {size}: {reason}); download it again"
