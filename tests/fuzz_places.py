"""Mutations of a file as a whole: missing, replaced by something else, misnamed, moved, among litter."""

import os
import shutil
from pathlib import Path
from random import Random


def remove(random: Random, path: Path) -> None:
    path.unlink()


def make_empty(random: Random, path: Path) -> None:
    path.write_bytes(b"")


def make_folder(random: Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_link_loop(random: Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def make_dangling_link(random: Random, path: Path) -> None:
    path.unlink()
    path.symlink_to("not there")


def link_folder_to_itself(random: Random, path: Path) -> None:
    """A folder that contains itself, for readers that walk trees."""
    (path.parent / "again").symlink_to(".", target_is_directory=True)


def make_pipe(random: Random, path: Path) -> None:
    """Opening it waits for ever."""
    path.unlink()
    os.mkfifo(path)


def forbid(random: Random, path: Path) -> None:
    path.chmod(0)


def rename_badly(random: Random, path: Path) -> None:
    """A name of bytes that are no text, of odd letters, or with other case."""
    stem, suffix = os.fsencode(path.stem), os.fsencode(path.suffix)
    names = (
        b"\xff\xfe" + suffix,
        stem + b"\xff" + suffix,
        b"a\nb" + suffix,
        stem.upper() + suffix.upper(),
        b"-" + stem,
    )
    os.rename(os.fsencode(path), os.path.join(os.fsencode(path.parent), random.choice(names)))


def leave_unfinished(random: Random, path: Path) -> None:
    path.rename(path.with_name(path.name + random.choice((".part", ".crdownload", ".zip"))))


def add_litter(random: Random, path: Path) -> None:
    """What file managers and archives leave behind."""
    kind = random.randrange(5)
    if kind == 0:
        (path.parent / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    elif kind == 1:
        (path.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    elif kind == 2:
        shutil.copy(path, path.with_name(f"{path.stem} (1){path.suffix}"))
    elif kind == 3:
        shutil.copytree(path.parent, path.parent / "__MACOSX", symlinks=True)
    else:
        (path.parent / os.fsdecode(b"\xff\xfe" + os.fsencode(path.suffix))).write_bytes(b"")


def move_down(random: Random, path: Path) -> None:
    inner = path.parent / "inner"
    inner.mkdir()
    path.rename(inner / path.name)


PLACES = (remove, make_empty, make_folder, make_link_loop, make_dangling_link, link_folder_to_itself, make_pipe, forbid)
PLACES += (rename_badly, leave_unfinished, add_litter, move_down)
