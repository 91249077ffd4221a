"""The folder that a preparation makes: what it may replace, and how it appears whole.

OUT            the prepared dataset
OUT.partial    it, while it is written; moved when whole, cleared by the next run
OUT.old        the one it replaces, for a moment; put back by the next run when OUT is gone
OUT.resume     finished clips of a run that was killed (`clip_store`)
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OURS = ("features.json", "prepare-report.json")


def check_output(out: Path, source: Path, overwrite: bool) -> None:
    """Refuse an output folder that would cost the user something.

    Raises:
        FileExistsError: it is a file, not empty without `overwrite`, or holds something else than a prepared dataset.
        ValueError: the raw data lie in it, or are it.
    """
    _restore(out)
    inside = source.resolve()
    if inside == out or out in inside.parents:
        raise ValueError(f"{out} holds the raw data ({source}), which would be replaced; name another folder")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; name a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{out} exists and is not empty; name another folder or pass --overwrite")
    if not all((out / name).is_file() for name in OURS):
        raise FileExistsError(f"{out} is not empty and no prepared dataset, so it is not replaced; name another folder")


@contextmanager
def written_aside(out: Path) -> Iterator[Path]:
    """A folder to write in, which becomes `out` at the end; after an error it is removed."""
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        _move(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move(partial: Path, out: Path) -> None:
    """Put the finished folder in place; an older one goes only when the new one stands."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        old = _old(out)
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
        partial.rename(out)
        shutil.rmtree(old)
    else:
        partial.rename(out)


def _restore(out: Path) -> None:
    """A kill between two renames leaves an older output under its passing name."""
    old = _old(out)
    if not out.exists() and all((old / name).is_file() for name in OURS):
        old.rename(out)


def _old(out: Path) -> Path:
    return out.with_name(f"{out.name}.old")
