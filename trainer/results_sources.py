"""Where results files come from: files, folders that are searched, and model repositories on the Hub.

What a repository had at one revision lies in a folder of its own (`trainer/hub_folders.py`), which is never changed
again: `results.json`, `results/*.json`, and the predictions and states that they name. Repositories may be anybody's,
so kinds, number and sizes of their files are limited.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from dataset_scripts.hub_names import check_repo_name, error_line
from dataset_scripts.utils.files import file_digest
from dataset_scripts.utils.outputs import claimed, replaced_folder, settle, settle_below
from trainer.hub_folders import folder_name, hub_file, write_source
from trainer.results_file import read_results
from trainer.uploads import PENDING

_VALIDATION = "validation.json"  # of a run folder: what chose the checkpoint
_FIELDS = ("run", "seed", "protocol", "metrics")  # of every results file, of old schemas too
_BESIDE = ("predictions", "states")
# Bytes of one file: results take some 50 KiB, predictions of MOSEI's test set less than one MiB, its states some 30.
_LARGEST = {".json": 5 * 2**20, ".parquet": 200 * 2**20}
_LARGEST_TOGETHER = 500 * 2**20  # of one repository
_MOST_FILES = 200  # results files of one repository
_MOST_ROWS = 200_000  # scored by one results file; the whole of MOSEI has 22,856 utterances
_MOST_RESAMPLES = 10_000
_ANSWER_WITHIN = 20.0  # seconds
_LONGEST_DOWNLOAD = 600.0  # seconds that one thread waits for another that downloads the same
_AT_ONCE = 8  # repositories


def find_results(paths: Sequence[Path]) -> list[Path]:
    """The results files that are meant by files and folders, each once.

    A file is taken as it is. In a folder, at any depth: `results.json` and every other JSON file in the form of a
    results file, but not `validation.json`, nor what is hidden, partial or waits for its upload. Of copies the one that
    has its predictions and states beside it counts; copies of two owners on the Hub count for both.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder without results files.
    """
    found: dict[str, list[Path]] = {}
    for path in paths:
        settle(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: expected a results file or a folder with some; there is none")
        files = sorted(_search(path)) if path.is_dir() else [path]
        if not files:
            raise FileNotFoundError(
                f"{path}: expected results files in this folder, found none; a finished run has results.json, "
                "`unimse evaluate ... --out FILE.json` writes others"
            )
        for file in files:
            found.setdefault(file_digest(file), []).append(file)
    return [file for copies in found.values() for file in _without_copies(copies)]


def _without_copies(copies: Sequence[Path]) -> list[Path]:
    """For each owner the copy that has most beside it, the first of equals; copies on disk may be anybody's."""
    sources = {path: hub_file(path) for path in copies}
    owners = {path: source and source.owner for path, source in sources.items()}
    on_hub = [owner for owner in dict.fromkeys(owners.values()) if owner is not None]
    chosen = [
        max((path for path in owners if owners[path] in (owner, None)), key=_files_there) for owner in on_hub or [None]
    ]
    return list(dict.fromkeys(chosen))


def _files_there(path: Path) -> int:
    """How many of predictions and states lie beside a results file; a damaged one, refused later, has none."""
    try:
        content = json.loads(path.read_bytes())
        return sum(content[name] is not None and path.with_name(content[name]["file"]).is_file() for name in _BESIDE)
    except (ValueError, RecursionError, LookupError, TypeError):
        return 0


def _search(folder: Path) -> Iterator[Path]:
    settle_below(folder)
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and not name.endswith(".partial")]
        folders[:] = [name for name in folders if name != PENDING]
        yield from (path for name in names if _is_results(path := Path(place, name)))


def _is_results(path: Path) -> bool:
    """By name or form; `results.json` also where it is damaged, for then it is to be refused, not passed over."""
    if path.name == "results.json":
        return True
    if path.suffix != ".json" or path.name.startswith(".") or path.name == _VALIDATION:
        return False
    text = path.read_bytes()
    if not all(f'"{field}"'.encode() in text for field in _FIELDS):
        return False
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # cut short, say: to be refused as well
        return True
    return isinstance(content, dict) and set(_FIELDS) <= set(content)


# --- repositories -----------------------------------------------------------------------------------------------------


def fetch_results(repos: Sequence[str], folder: Path, with_token: bool = True) -> list[Path]:
    """Download the results of model repositories, as `unimse push` makes them.

    Args:
        repos: `owner/name`, or `owner/name@revision` with a branch, tag or commit.
        folder: where each gets a folder of its own (see above); what is there already is not downloaded again.
        with_token: whether an access token, where there is one, is used; without it public repositories only.

    Returns:
        Their results files, read and found right; predictions and states beside them where the repository has them.

    Raises:
        FileNotFoundError: no such repository or revision, or one without results.
        ConnectionError: the Hub cannot be reached or refuses.
        ValueError: a name that cannot be one, a results file that is wrong, or too many or too large files.
    """
    return [file for repo in dict.fromkeys(repos) for file in _fetch(repo, folder, with_token)]


def fetch_available(
    repos: Sequence[str], folder: Path, with_token: Collection[str] = ()
) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """As `fetch_results`, but a repository that fails leaves the others: repository -> files, and -> what is wrong.

    Args:
        with_token: those of `repos` for which an access token is used.
    """
    names = list(dict.fromkeys(repos))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda repo: _try_fetch(repo, folder, repo in with_token), names))
    fetched = dict(zip(names, found, strict=True))
    files = {repo: found for repo, found in fetched.items() if isinstance(found, list)}
    return files, {repo: found for repo, found in fetched.items() if isinstance(found, str)}


def _try_fetch(repo: str, folder: Path, with_token: bool) -> list[Path] | str:
    try:
        return fetch_results([repo], folder, with_token)
    except (OSError, ValueError) as error:
        return error_line(error)


def _fetch(source: str, folder: Path, with_token: bool) -> list[Path]:
    from httpx2 import HTTPError
    from huggingface_hub.errors import (
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, _, revision = source.partition("@")
    check_repo_name(repo)
    try:
        target = _download(repo, revision or None, folder, None if with_token else False)
    except RepositoryNotFoundError as error:
        remedy = " (then log in by `hf auth login` or HF_TOKEN)" if with_token else ""
        raise FileNotFoundError(
            f"{source}: expected a model repository on the Hub that you may read; there is none, or it is private or "
            f"gated{remedy}"
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"{source}: expected a branch, tag or commit of {repo}, got {revision!r}") from error
    except (HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ConnectionError(f"{source}: the Hub cannot be reached, or refuses ({error_line(error)})") from error
    return sorted(_search(target))


def _download(repo: str, revision: str | None, folder: Path, token: bool | None) -> Path:
    """The folder of what a repository has at the commit that the revision stands for now."""
    info = _describe(repo, revision, token)
    target = folder / folder_name(repo, info.sha)
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)  # shared by threads: no claim may take it away
    with claimed(target, wait=_LONGEST_DOWNLOAD):
        if not target.is_dir():  # another thread was faster; what it has is the same
            with replaced_folder(target) as new:
                _fill(new, repo, info, token)
                write_source(target, repo, info.sha)
    return target


def _describe(repo: str, revision: str | None, token: bool | None):
    """What the Hub says of a repository: `sha` and, as `siblings`, its files with their sizes."""
    from huggingface_hub import HfApi

    try:
        return HfApi(token=token).model_info(repo, revision=revision, timeout=_ANSWER_WITHIN, files_metadata=True)
    except (TypeError, KeyError, AttributeError) as error:  # the client, on what stands in a card
        raise ValueError(f"{repo}: its card or description cannot be read ({error_line(error)})") from error


def _fill(folder: Path, repo: str, info, token: bool | None) -> None:
    sizes = {file.rfilename: file.size for file in info.siblings}
    names = [name for name in sorted(sizes) if _may_hold_results(PurePosixPath(name))]
    if len(names) > _MOST_FILES:
        raise ValueError(f"{repo}: expected at most {_MOST_FILES} files in results/, got {len(names)}")
    _check_sizes(repo, names, sizes)
    _get(repo, info.sha, names, folder, token)
    files = sorted(_search(folder))
    if not files:
        raise FileNotFoundError(
            f"{repo}: expected results.json in this repository, found none; `unimse push` sends it with the model"
        )
    beside = [name for file in files for name in _files_beside(file, repo, folder) if name in sizes]
    _check_sizes(repo, [*names, *beside], sizes)
    _get(repo, info.sha, list(dict.fromkeys(beside)), folder, token)


def _may_hold_results(name: PurePosixPath) -> bool:
    if any(part.startswith(".") for part in name.parts):
        return False
    in_results = name.parts[0] == "results" and name.suffix == ".json" and name.name != _VALIDATION
    return str(name) == "results.json" or in_results


def _files_beside(file: Path, repo: str, folder: Path) -> list[str]:
    """Names in the repository of the predictions and states of a results file, which is checked."""
    try:
        results = read_results(file)
    except ValueError as error:
        raise ValueError(f"{repo}: {str(error).replace(f'{folder}{os.sep}', '')}") from error
    name = file.relative_to(folder).as_posix()
    resamples = (results.content["bootstrap"] or {}).get("resamples", 0)
    for field, got, most in (
        ("data.rows", results.rows, _MOST_ROWS),
        ("bootstrap.resamples", resamples, _MOST_RESAMPLES),
    ):
        if got > most:  # the numbers are made again from the predictions, which takes time for each
            raise ValueError(f"{repo}: {name}: {field}: expected at most {most:,}, got {got:,}")
    names = [results.content[kind]["file"] for kind in _BESIDE if results.content[kind] is not None]
    for other in names:
        if not other.endswith(".parquet") or other.startswith("."):
            raise ValueError(f"{repo}: {name}: expected *.parquet as predictions and states, got {other}")
    return [str(PurePosixPath(name).with_name(other)) for other in names]


def _check_sizes(repo: str, names: Sequence[str], sizes: dict[str, int | None]) -> None:
    """Raise a `ValueError` where one of the files is too large, all together are, or a size is not known."""
    for name in names:
        size, largest = sizes[name], _LARGEST[PurePosixPath(name).suffix]
        if size is None or size > largest:
            got = "a file of unknown size" if size is None else f"{size:,}"
            raise ValueError(f"{repo}: {name}: expected at most {largest:,} bytes, got {got}")
    together = sum(sizes[name] for name in set(names))
    if together > _LARGEST_TOGETHER:
        raise ValueError(f"{repo}: expected at most {_LARGEST_TOGETHER:,} bytes of results, got {together:,}")


def _get(repo: str, revision: str, names: Sequence[str], folder: Path, token: bool | None) -> None:
    """Download files to their names below a folder; nothing else of them is kept."""
    from huggingface_hub import hf_hub_download

    for name in names:
        hf_hub_download(repo, name, revision=revision, local_dir=folder, token=token)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
