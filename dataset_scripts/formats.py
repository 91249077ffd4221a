"""The forms in which people have a benchmark on disk, and which one a folder is.

A benchmark's module lists its `RawFormat`s in `FORMATS`, the most specific first; the first one that recognises the
contents of the folder (or the single file) reads it. `--format` overrides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.pickles import problem_of
from dataset_scripts.readers import Reading

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_PICKLES = tuple(f"{deeper}*{ending}" for deeper in ("", "*/") for ending in (".pkl", ".pickle", ".p"))
UNFINISHED = (".part", ".crdownload", ".download", ".aria2")


@dataclass(frozen=True)
class RawFormat:
    """One form of a benchmark.

    Args:
        name: what `--format` takes.
        looked_for: the files that make it, in one line, for messages.
        detect: whether a folder or file is of this form; looks at names, or at the first bytes, and never raises for
            what it finds.
        read: the reader; gets the folder or file and the benchmark's own options.
    """

    name: str
    looked_for: str
    detect: Callable[[Path], bool]
    read: Callable[..., Reading]


def choose_format(benchmark: str, source: Path, formats: Sequence[RawFormat], wanted: str | None = None) -> RawFormat:
    """The format of that name, or the first that recognises `source`.

    Raises:
        ValueError: no format of that name.
        FileNotFoundError: `source` is not there or empty, or no format recognises it; says what was looked for, and
            where an archive lies there unpacked, that it must be unpacked first.
    """
    if wanted is not None:
        found = next((one for one in formats if one.name == wanted), None)
        if found is None:
            names = ", ".join(one.name for one in formats)
            raise ValueError(f"{benchmark}: expected a format of {names}, got {wanted!r}")
        return found
    if not source.exists():
        raise FileNotFoundError(f"{benchmark}: {source} does not exist; expected {_looked_for(formats)}")
    found = next((one for one in formats if one.detect(source)), None)
    if found is None:
        raise FileNotFoundError(f"{benchmark}: {_what_is_there(source)}; expected {_looked_for(formats)}")
    return found


def candidate_files(source: Path, *patterns: str) -> list[Path]:
    """`source` itself if it is a file that matches a pattern, else the files under it that do, sorted; no `._*` files.

    Args:
        source: folder or file.
        *patterns: as `Path.glob` takes them, such as `*.pkl` or `Processed/*.pkl`.
    """
    if source.is_file():
        return [source] if any(source.match(pattern.rsplit("/", 1)[-1]) for pattern in patterns) else []
    found = {path for pattern in patterns for path in source.glob(pattern)}
    return sorted(path for path in found if path.is_file() and not path.name.startswith("._"))


def _looked_for(formats: Sequence[RawFormat]) -> str:
    return "; or ".join(f"{one.looked_for} ({one.name})" for one in formats)


def _what_is_there(source: Path) -> str:
    if source.is_file():
        return f"the file {source.name} is of none of the known forms{_broken_pickle(source)}"
    if not source.is_dir():
        return f"{source} is neither a folder nor a plain file"
    names = sorted(path.name for path in source.iterdir() if not path.name.startswith("."))
    if not names:
        return f"{source} is empty"
    unfinished = [name for name in names if name.lower().endswith(UNFINISHED)]
    if unfinished:
        return f"{source} holds an unfinished download, {unfinished[0]}: finish it and unpack it"
    archives = [name for name in names if name.lower().endswith(ARCHIVES)]
    if archives:
        return f"{source} holds an archive, {archives[0]}, and nothing known unpacked: unpack it there"
    shown = ", ".join(_described(source / name) for name in names[:5]) + (" ..." if len(names) > 5 else "")
    return f"{source} is of none of the known forms (found: {shown}){_broken_pickle(source)}"


def _broken_pickle(source: Path) -> str:
    """What is wrong with the first pickle that cannot be read: it may be the file that a form was to be known by."""
    for path in candidate_files(source, *_PICKLES):
        if problem := problem_of(path):
            return f"; {problem.replace(str(path), path.name)}"
    return ""


def _described(path: Path) -> str:
    """A name that says what else than a file with something in it lies there."""
    if path.is_dir():
        return f"{path.name}/"
    if path.is_file():
        return path.name if path.stat().st_size else f"{path.name}, which is empty"
    return f"{path.name}, {'a broken link' if path.is_symlink() else 'no plain file'}"
