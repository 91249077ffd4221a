"""Where results files come from: files, folders that are searched, and model repositories on the Hub.

What a repository had at one revision lies in a folder of its own, which is never changed again:

    <folder>/owner--name--0123456789ab/
        source.json                     the repository and the revision
        results.json results/*.json     and the predictions and states that they name
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from dataset_scripts.hub_names import check_repo_name, error_line
from trainer.results_file import file_digest, read_results
from trainer.uploads import PENDING

SOURCE = "source.json"
_VALIDATION = "validation.json"  # of a run folder: what chose the checkpoint
_BESIDE = ("predictions", "states")
_LARGEST = 200 * 2**20  # bytes of one file; predictions of MOSEI's test set take less than one MiB
_ANSWER_WITHIN = 20.0  # seconds
_AT_ONCE = 8  # repositories
_REVISION_DIGITS = 12


def find_results(paths: Sequence[Path]) -> list[Path]:
    """The results files that are meant by files and folders, each once, copies of one not counted again.

    A file is taken as it is. In a folder, at any depth: `results.json` and every other JSON file in the form of a
    results file, but not `validation.json`, nor what is hidden, partial or waits for its upload.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder without results files.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: expected a results file or a folder with some; there is none")
        files = sorted(_search(path)) if path.is_dir() else [path]
        if not files:
            raise FileNotFoundError(
                f"{path}: expected results files in this folder, found none; a finished run has results.json, "
                "`unimse evaluate ... --out FILE.json` writes others"
            )
        for file in files:
            found.setdefault(file_digest(file), file)
    return list(found.values())


def _search(folder: Path) -> Iterator[Path]:
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
    if not all(field in text for field in (b'"schema_version"', b'"run"', b'"metrics"')):
        return False
    try:
        content = json.loads(text)
    except ValueError:
        return False
    return isinstance(content, dict) and {"schema_version", "run", "metrics"} <= set(content)


# --- repositories -----------------------------------------------------------------------------------------------------


def fetch_results(repos: Sequence[str], folder: Path) -> list[Path]:
    """Download the results of model repositories, as `unimse push` makes them.

    Args:
        repos: `owner/name`, or `owner/name@revision` with a branch, tag or commit.
        folder: where each gets a folder of its own (see above); what is there already is not downloaded again.

    Returns:
        Their results files, read and found right; predictions and states beside them where the repository has them.

    Raises:
        FileNotFoundError: no such repository or revision, or one without results.
        ConnectionError: the Hub cannot be reached or refuses.
        ValueError: a name that cannot be one, or a results file that is wrong.
    """
    return [file for repo in dict.fromkeys(repos) for file in _fetch(repo, folder)]


def fetch_available(repos: Sequence[str], folder: Path) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """As `fetch_results`, but a repository that fails leaves the others: repository -> files, and -> what is wrong."""
    names = list(dict.fromkeys(repos))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        fetched = dict(zip(names, pool.map(lambda repo: _try_fetch(repo, folder), names), strict=True))
    files = {repo: found for repo, found in fetched.items() if isinstance(found, list)}
    return files, {repo: found for repo, found in fetched.items() if isinstance(found, str)}


def _try_fetch(repo: str, folder: Path) -> list[Path] | str:
    try:
        return fetch_results([repo], folder)
    except (OSError, ValueError) as error:
        return error_line(error)


def hub_file(path: Path) -> tuple[str, str, str] | None:
    """Repository, revision and name in it of a file that `fetch_results` downloaded; `None` for any other file."""
    for folder in path.parents:
        if (folder / SOURCE).is_file():
            source = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
            return source["repo"], source["revision"], path.relative_to(folder).as_posix()
    return None


def hub_name(path: Path) -> str | None:
    """Such a file as `owner/name@0123456789ab/results.json`."""
    found = hub_file(path)
    return found and f"{found[0]}@{found[1][:_REVISION_DIGITS]}/{found[2]}"


def _fetch(source: str, folder: Path) -> list[Path]:
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
        target = _download(repo, revision or None, folder)
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{source}: expected a model repository on the Hub that you may read; there is none, or it is private or "
            "gated (then log in by `hf auth login` or HF_TOKEN)"
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"{source}: expected a branch, tag or commit of {repo}, got {revision!r}") from error
    except (HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ConnectionError(f"{source}: the Hub cannot be reached, or refuses ({error_line(error)})") from error
    return sorted(_search(target))


def _download(repo: str, revision: str | None, folder: Path) -> Path:
    """The folder of what a repository has at the commit that the revision stands for now."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(repo, revision=revision, timeout=_ANSWER_WITHIN, files_metadata=True)
    target = folder / f"{repo.replace('/', '--')}--{info.sha[:_REVISION_DIGITS]}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".partial") as place:
        partial = Path(place, "whole")
        partial.mkdir()
        _fill(partial, repo, info)
        try:
            partial.rename(target)
        except OSError:  # another thread was faster; what it has is the same
            if not target.is_dir():
                raise
    return target


def _fill(folder: Path, repo: str, info) -> None:
    sizes = {file.rfilename: file.size or 0 for file in info.siblings}
    names = [name for name in sorted(sizes) if _may_hold_results(PurePosixPath(name))]
    for name in names:
        _get(repo, info.sha, name, sizes[name], folder)
    files = sorted(_search(folder))
    if not files:
        raise FileNotFoundError(
            f"{repo}: expected results.json in this repository, found none; `unimse push` sends it with the model"
        )
    for file in files:
        for name in _files_beside(file, repo, folder):
            if name in sizes:
                _get(repo, info.sha, name, sizes[name], folder)
    (folder / SOURCE).write_text(json.dumps({"repo": repo, "revision": info.sha}) + "\n", encoding="utf-8")


def _may_hold_results(name: PurePosixPath) -> bool:
    in_results = name.parts[0] == "results" and name.suffix == ".json" and name.name != _VALIDATION
    return str(name) == "results.json" or in_results


def _files_beside(file: Path, repo: str, folder: Path) -> list[str]:
    """Names in the repository of the predictions and states of a results file, which is checked."""
    try:
        content = read_results(file).content
    except ValueError as error:
        raise ValueError(f"{repo}: {str(error).replace(f'{folder}{os.sep}', '')}") from error
    files = [content[name]["file"] for name in _BESIDE if content[name] is not None]
    return [(file.parent / name).relative_to(folder).as_posix() for name in files]


def _get(repo: str, revision: str, name: str, size: int, folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    if size > _LARGEST:
        raise ValueError(f"{repo}: {name}: expected at most {_LARGEST:,} bytes, got {size:,}")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(hf_hub_download(repo, name, revision=revision), folder / name)
