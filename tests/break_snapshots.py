"""What lies in a sandbox, as digests that are the same whenever the content is; for `tests.break_writes`."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from tests.break_commands import Variant

VOLATILE = {"created", "seconds", "digest", "resumed", "tokens/s"}  # fields that differ from run to run
SHOWN = 3  # paths in a message


def is_aside(path: str) -> bool:
    """Whether the project keeps this for itself while it works; nothing of it may stay."""
    return any(part.startswith(".") and ".unimse-" in part for part in path.split("/")) and not _is_lock(path)


def _is_lock(path: str) -> bool:
    return any(part.startswith(".") and "lock" in part for part in path.split("/"))


def _is_ours(path: str) -> bool:
    return is_aside(path) or _is_lock(path)


def all_names(box: Path) -> set[str]:
    """Every file and folder but locks."""
    return {name for path in box.rglob("*") if not _is_lock(name := path.relative_to(box).as_posix())}


def files_of(box: Path, variant: Variant) -> set[str]:
    """The files of the outputs, without foreign ones."""
    found = [path for pattern in variant.outputs for path in box.glob(pattern)]
    inside = [file for path in found for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    names = {file.relative_to(box).as_posix() for file in inside}
    return {name for name in names if name not in variant.foreign and not _is_ours(name)}


def snapshot(box: Path, variant: Variant) -> dict[str, str]:
    """File -> digest of the outputs, without what differs from run to run."""
    return {name: _digest(box / name) for name in files_of(box, variant)}


def surroundings(box: Path, variant: Variant) -> dict[str, str]:
    """File -> digest of everything that the command must not touch."""
    every = {path.relative_to(box).as_posix() for path in box.rglob("*") if path.is_file()}
    return {name: _bytes_digest(box / name) for name in every - files_of(box, variant) if not _is_ours(name)}


def _digest(path: Path) -> str:
    try:
        if path.suffix == ".json":
            content = _steady(json.loads(path.read_bytes()))
        elif path.suffix == ".jsonl":
            content = [_steady(json.loads(line)) for line in path.read_bytes().splitlines()]
        else:
            return _bytes_digest(path)
    except ValueError:  # cut off: not the digest of any whole file
        return _bytes_digest(path)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _bytes_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _steady(content):
    if isinstance(content, dict):
        return {name: _steady(value) for name, value in content.items() if name not in VOLATILE}
    return [_steady(value) for value in content] if isinstance(content, list) else content


def differing(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """The files that two snapshots do not share."""
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def shown(names: Iterable[str]) -> str:
    """Name a few files."""
    names = sorted(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
