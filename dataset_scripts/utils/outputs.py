"""Write outputs so that a kill, a full disk or a second command at the same time costs nothing.

An output is written aside and put in place at the end, as a whole. While that happens these names lie beside it:

    .OUT.unimse-lock     held, by the system, for the one process that writes OUT: a kill frees it
    .OUT.unimse-new      the new content, until it is whole
    .OUT.unimse-old      the folder that is replaced, between two renames
    .OUT.unimse-gone     the same once the new one stands: only ever removed
    .OUT.unimse-ready    new files, whole, on their way into a folder that holds other things too

A kill between two renames leaves OUT missing, or some of several files new. Whichever command comes next completes it:
one that writes OUT by `claimed`, one that reads it by `settle`.

Only what the package wrote is ever removed: `FolderKind` tells its folders from others and its files from a user's.
"""

import fnmatch
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from dataset_scripts.utils.files import errors_named, link_or_copy, write_json

SETTLE_SECONDS = 10.0  # a swap that is under way takes two renames
_STALE = ".unimse-stale"  # in a `ready` folder: names of files to remove


# --- what may be replaced ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that the package writes.

    Args:
        name: as messages call it, such as `prepared dataset`.
        signs: files that tell such a folder; all of them lie in it.
        files: patterns of all that the package writes into it, relative; `*` spans folders.
    """

    name: str
    signs: tuple[str, ...]
    files: tuple[str, ...]

    def is_in(self, folder: Path) -> bool:
        """Whether a folder is of this kind."""
        return all((folder / name).is_file() for name in self.signs)


def check_folder(
    target: Path, kind: FolderKind | None = None, overwrite: bool = False, sources: Sequence[Path] = ()
) -> None:
    """Refuse an output folder that would cost the user something.

    Args:
        kind: of the folders that `overwrite` replaces; `None` = the command replaces none.
        sources: files and folders that are read; they must not lie in `target`.

    Raises:
        FileExistsError: it is a file, is not empty and `overwrite` is not given, or holds something of another kind.
        ValueError: a source lies in it, or is it.
    """
    target = target.resolve()
    for source in sources:
        if target in (source.resolve(), *source.resolve().parents):
            raise ValueError(f"{target} holds what is read ({source}), which would be replaced; name another folder")
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target} is a file; name a folder")
    _check_movable(target)
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not overwrite:
        remedy = "name another folder or pass --overwrite" if kind else "name another folder"
        raise FileExistsError(f"{target} exists and is not empty; {remedy}")
    if not kind.is_in(target):
        raise FileExistsError(f"{target} is not empty and no {kind.name}, so it is not replaced; name another folder")


def _check_movable(folder: Path) -> None:
    """Raise a `ValueError` for a folder that cannot be replaced by another one under its name."""
    if os.path.ismount(folder):
        raise ValueError(f"{folder}: is a mount point, which cannot be replaced; name a folder in it")
    if Path.cwd().is_relative_to(folder):
        raise ValueError(f"{folder}: is, or holds, the working directory; give the command from another folder")


def check_files(paths: Iterable[Path], is_ours: Callable[[Path], bool]) -> None:
    """Refuse to replace files that the command did not write.

    Raises:
        FileExistsError: names the first one.
    """
    for path in paths:
        if os.path.lexists(path) and not (path.is_file() and is_ours(path)):
            raise FileExistsError(
                f"{path} exists and was not written by this command, so it is not replaced; move it, or name another "
                "place for the output"
            )


# --- claiming and completing ------------------------------------------------------------------------------------------


@contextmanager
def claimed(target: Path, part: str = "", wait: float = 0.0) -> Iterator[None]:
    """Hold an output for this process, and first complete what a killed one left of it.

    Args:
        target: the file or folder that will be written.
        part: name of what is written into a folder that holds other things too, such as `card`; it need not be a
            file's.
        wait: seconds to wait for another process that holds it.

    Raises:
        FileExistsError: another process holds it.
        OSError: nothing can be written there; names `target`.
    """
    path = _aside(target, "lock", part)
    lock = FileLock(path)
    made = [place for place in path.parents if not place.exists()]
    with errors_named(target):
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path, target, wait)
    try:
        with errors_named(target):
            _complete(target, part)
        yield
    finally:
        with suppress(OSError):  # Windows removes it itself; whoever waits for it looks again
            path.unlink()
        lock.release()
        with suppress(OSError):  # something lies in them now
            for place in made:
                place.rmdir()


def _acquire(lock: FileLock, path: Path, target: Path, wait: float) -> None:
    for _ in range(2):  # the file may have gone with its holder a moment ago
        try:
            lock.acquire(timeout=wait)
            return
        except Timeout:
            if path.exists():
                raise FileExistsError(f"{target}: another process is writing it; wait for it, or end it") from None
    raise PermissionError(f"{target}: cannot be written; name a place that you may write to")


def settle(path: Path) -> None:
    """Complete what a killed command left of an output that is to be read: a folder, or files in a folder.

    Args:
        path: a folder, or a file in one; nothing need be there.

    Raises:
        FileExistsError: another process is at it and does not end.
        OSError: it cannot be completed, since the disk is full or may not be written.
    """
    for place in (path, *path.parents):
        if place.exists():
            break
        if _aside(place, "old").exists():
            _complete_unless_done(place, "", place.exists)
    folder, wanted = (path, None) if path.is_dir() else (path.parent, path.name)
    for ready in sorted(folder.glob(".*.unimse-ready")):
        try:
            part = ready.name[1:].removesuffix(".unimse-ready")
            _complete_unless_done(folder, part, lambda ready=ready: not ready.exists())
        except PermissionError:  # for somebody who may only read, what other files wait for is no hindrance
            if wanted is None or os.path.lexists(ready / wanted) or wanted in _stale_names(ready):
                raise


def settle_below(folder: Path) -> None:
    """Settle all that lies in a folder, at any depth."""
    for aside in [*folder.rglob(".*.unimse-ready"), *folder.rglob(".*.unimse-old")]:
        settle(aside.with_name(aside.name[1:].rpartition(".unimse-")[0]))
        settle(aside.parent)


def _complete_unless_done(target: Path, part: str, is_done: Callable[[], bool]) -> None:
    """Wait for the claim, which completes it; a writer that lives and keeps the claim may have done it meanwhile."""
    try:
        with claimed(target, part, wait=SETTLE_SECONDS):
            pass
    except FileExistsError:
        if not is_done():
            raise


def clear_unfinished(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed commands left half written, or half removed, in a folder that this process holds.

    Args:
        names: patterns of the outputs.
    """
    for name in names:
        for path in (*folder.glob(f".{name}.unimse-new"), *folder.glob(f".{name}.unimse-gone")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _complete(target: Path, part: str) -> None:
    """Finish, under its lock, a swap that was cut short."""
    ready = _aside(target, "ready", part)
    if ready.is_dir() and not ready.is_symlink():
        _move_in(ready)
    new, old, gone = (_aside(target, what, part) for what in ("new", "old", "gone"))
    if old.exists():
        if target.is_dir() and not any(target.iterdir()):  # made anew, meanwhile, by whoever missed it
            target.rmdir()
        if not target.exists():  # killed between two renames: the new folder is whole
            os.replace(new if new.exists() else old, target)
        elif new.exists():
            raise FileExistsError(
                f"{target}: was made by another program after its replacement was cut short; move it away, and the "
                f"next command puts {new} in its place"
            )
    _discard(old, gone)


def _discard(old: Path, gone: Path) -> None:
    """Remove a folder that was replaced; under another name first, so that a half of it is never put back."""
    shutil.rmtree(gone, ignore_errors=True)
    if old.exists():
        os.replace(old, gone)
        shutil.rmtree(gone, ignore_errors=True)


# --- swapping ---------------------------------------------------------------------------------------------------------


@contextmanager
def replaced_folder(target: Path, drop: Sequence[str] = ()) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `target` at the end; an error leaves `target` as it was.

    To be used under `claimed`.

    Args:
        drop: patterns of the files in an older `target` that go with it; every other one is carried over.

    Raises:
        ValueError: `target` is a mount point, or the working directory.
        FileExistsError: a folder that was replaced before could not be removed.
    """
    target = target.resolve()
    new, old, gone = (_aside(target, what) for what in ("new", "old", "gone"))
    _check_movable(target)
    _discard(old, gone)
    if gone.exists():
        raise FileExistsError(f"{gone}: is left of an earlier {target.name} and cannot be removed; remove it")
    with errors_named(target):
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            yield new
            if target.exists():
                settle_below(target)
                shutil.copymode(target, new)
                _carry_over(target, new, drop)
                os.replace(target, old)
            os.replace(new, target)
        finally:
            if old.exists() and not target.exists():  # failed or interrupted between the two renames
                os.replace(old, target)
            shutil.rmtree(new, ignore_errors=True)
            _discard(old, gone)


def _carry_over(source: Path, target: Path, drop: Sequence[str]) -> None:
    """What no pattern names in `source`, into `target` where it has nothing of that name; by links, so both stay."""
    for path in source.rglob("*"):
        name = path.relative_to(source).as_posix()
        there = target / name
        if os.path.lexists(there) or any(fnmatch.fnmatchcase(name, one) for one in drop):
            continue
        if not path.is_dir() or path.is_symlink():
            there.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, there)
        elif not any(path.iterdir()):
            there.mkdir(parents=True)


@contextmanager
def scratch_folder(target: Path, part: str) -> Iterator[Path]:
    """Give an empty folder in the folder `target` that is removed afterwards; to be used under `claimed`."""
    folder = _aside(target, "new", part)
    with errors_named(target):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replaced_files(target: Path, part: str = "", keep: bool = False) -> Iterator[Path]:
    """Give a folder to fill with files that are moved at the end, all or none, to where other files lie, which stay.

    To be used under `claimed`.

    Args:
        target, part: as for `claimed`; the files go to the folder `target` or, without `part`, to that of the file.
        keep: go on with what a killed or failed call left in the folder that is given, and leave it there after an
            error.
    """
    new, ready = _aside(target, "new", part), _aside(target, "ready", part)
    with errors_named(target):
        if not keep:
            shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, exist_ok=keep)
        try:
            yield new
            os.replace(new, ready)
        finally:
            if not keep:
                shutil.rmtree(new, ignore_errors=True)
            elif new.exists() and not any(new.iterdir()):
                new.rmdir()
    try:
        _move_in(ready)
    except OSError as error:
        raise OSError(
            f"{target}: only a part of the new files could be put in place ({error.strerror}); they are whole, and the "
            "next command that reads or writes them goes on with it"
        ) from error


def mark_stale(new: Path, names: Iterable[str]) -> None:
    """Note, in the folder that `replaced_files` gives, files that shall go when the new ones are moved in."""
    write_json(new / _STALE, sorted(names))


def _stale_names(ready: Path) -> list[str]:
    stale = ready / _STALE
    return json.loads(stale.read_text(encoding="utf-8")) if stale.is_file() else []


def _move_in(ready: Path) -> None:
    """Move files to the folder around `ready`; done again after a kill, it goes on.

    The folder may have come from anybody: nothing outside of it is touched, through links neither.
    """
    folder = ready.parent.resolve()
    for name in _stale_names(ready):
        if (folder / name).parent.resolve().is_relative_to(folder):
            (folder / name).unlink(missing_ok=True)
    for path in sorted(ready.rglob("*")):
        there = folder / path.relative_to(ready)
        if path.is_file() and path != ready / _STALE and there.parent.resolve().is_relative_to(folder):
            there.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, there)
    shutil.rmtree(ready)


def new_folder(target: Path) -> Path:
    """Where `replaced_folder` or `replaced_files` has the new content: other processes may write into it too."""
    return _aside(target, "new")


def _aside(target: Path, what: str, part: str = "") -> Path:
    """The name of passage of a target, beside it, or of a part of a folder, in that folder. Links are followed, but for
    a link to a file: it is replaced itself.
    """
    if part:
        return target.resolve() / f".{part}.unimse-{what}"
    place = target.parent.resolve() / target.name if target.is_file() else target.resolve()
    return place.with_name(f".{place.name}.unimse-{what}")
