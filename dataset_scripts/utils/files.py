"""Single files, written so that they are whole; digests; the room on a disk; errors that name what they are about."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = ("no space left on device", "os error 28", "errno 28", "inline_container.cc")  # the last: torch.save
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_text(path: Path, text: str) -> None:
    """Write a text file aside and rename it, so that `path` is the old or the new one, never half of it.

    To be used by one process at a time: where others may write it too, under `outputs.claimed`.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    aside = path.with_name(f".{path.name}.unimse-new")
    with errors_named(path):
        try:
            aside.write_text(text, encoding="utf-8")
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def write_json(path: Path, content: Any, indent: int = 2) -> None:
    """Write JSON as `write_text`; numbers that are not finite are refused with a `ValueError`."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(paths: Iterable[Path]) -> str:
    """12 hexadecimal digits of the SHA-256 over files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest()[:12]


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name by a hard link; copy it where the file system has none."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def check_space(target: Path, needed: int) -> None:
    """Raise an `OSError` unless the disk of `target` has room for `needed` bytes."""
    place = next(parent for parent in target.absolute().parents if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OSError(
            f"{target}: needs about {_size(needed)}, and {_size(free)} are free on its disk; free some, or name "
            "another place"
        )


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def errors_named(target: Path) -> Iterator[None]:
    """Say of a full disk, and of one that may not be written, what it was about; other errors go through."""
    try:
        yield
    except Exception as error:
        named = getattr(error, "filename", None)
        if _is_full(error):
            place = next(parent for parent in target.absolute().parents if parent.exists())
            raise OSError(
                f"{target}: the disk is full, {_size(shutil.disk_usage(place).free)} are free; what was there before "
                "is kept. Free some space and give the same command again"
            ) from error
        if not isinstance(error, OSError) or named is None or not _belongs(Path(named), target):
            raise
        if error.errno in _DENIED:
            raise PermissionError(
                f"{target}: cannot be written ({error.strerror}); name a place that you may write to"
            ) from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise NotADirectoryError(f"{target}: a part of its path is a file; name a place in a folder") from error
        raise


def _belongs(path: Path, target: Path) -> bool:
    """Whether a path is that of an output, of what lies in or aside from it, or a part of the way to it."""
    path, target = path.absolute(), target.absolute()
    beside = path.is_relative_to(target.parent) and path.relative_to(target.parent).parts[:1] or ("",)
    return target.is_relative_to(path) or beside[0] == target.name or beside[0].startswith(f".{target.name}.unimse-")


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error, whatever library met it."""
    while error is not None:
        words = str(error).lower()
        if getattr(error, "errno", None) in _FULL or any(part in words for part in _FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
