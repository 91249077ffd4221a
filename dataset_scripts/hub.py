"""The Hub: raw folders and prepared datasets taken from it, prepared datasets pushed to it."""

import re
from pathlib import Path

from dataset_scripts.hub_names import check_repo_name, error_line
from dataset_scripts.publish import PREPARED, content_stamps, parquet_files, refuse_half_labelled, stamp_card
from dataset_scripts.utils.files import write_text
from dataset_scripts.utils.outputs import claimed, settle

_REPO = re.compile(r"(?:hf://datasets/)?([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")
_NOT_PUSHED = ["*.partial", ".*"]
_VERSION = re.compile(r"^version: (\d+)\.(\d+)\.(\d+)$", re.MULTILINE)


def resolve_folder(source: Path | str) -> Path:
    """`source` itself where there is such a path, else the Hub dataset of that name, downloaded.

    Args:
        source: a path, or `owner/name`, `owner/name@revision` or `hf://datasets/owner/name` of a Hub dataset.

    Returns:
        The path; for a Hub dataset that of its snapshot in the cache. A path that is neither comes back as it is.

    Raises:
        FileNotFoundError: neither a path nor a dataset that can be read on the Hub.
    """
    settle(Path(source))
    if Path(source).exists():
        return Path(source)
    match = _REPO.fullmatch(str(source))
    if match is None or Path(source).is_absolute():
        return Path(source)
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(match[1], repo_type="dataset", revision=match[2]))
    except (OSError, ValueError, HTTPError) as error:
        raise FileNotFoundError(
            f"{source}: no such folder here, and no dataset of that name could be read from the Hub "
            f"({error_line(error)})"
        ) from error


def push_prepared(folder: Path | str, repo: str, private: bool = True) -> dict[str, str]:
    """Push a prepared folder to a Hub dataset, in one commit that replaces the files of an earlier push.

    `version` in the card, also a tag `v<version>`, rises whenever the content is another than that on the Hub; the card
    in `folder` is given the new version too.

    Args:
        folder: what `prepare_dataset` wrote.
        repo: `owner/name`; made where there is none.
        private: whether a repository that is made is private: most of the benchmarks may not be passed on.

    Returns:
        `repo`, `version`, `commit` (its URL).

    Raises:
        FileNotFoundError: `folder` is not a prepared dataset.
        ValueError: the Hub cannot be reached or refuses; says why.
    """
    from huggingface_hub import HfApi

    folder, api = Path(folder), HfApi()
    check_repo_name(repo)
    settle(folder)
    parquet_files(folder)
    refuse_half_labelled(folder)
    with claimed(folder):
        stamp_card(folder)  # whatever was changed since: the version must follow the content
        return _upload(api, folder, repo, private)


def _upload(api, folder: Path, repo: str, private: bool) -> dict[str, str]:
    from httpx2 import HTTPError

    try:
        api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        version = _next_version(_card(folder), _remote_card(api, repo))
        _write_version(folder / "README.md", version)
        commit = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            commit_message=f"Version {version}",
            ignore_patterns=_NOT_PUSHED,
            delete_patterns=list(PREPARED.files),
        )
        api.create_tag(repo, tag=f"v{version}", repo_type="dataset", exist_ok=True)
    except (OSError, ValueError, HTTPError) as error:
        raise ValueError(
            f"{repo}: could not be pushed to; {folder} is whole and can be pushed again ({error_line(error)})"
        ) from error
    return {"repo": repo, "version": version, "commit": str(commit.commit_url)}


def files_to_push(folder: Path | str) -> list[tuple[str, int]]:
    """Name and bytes of each file that `push_prepared` would send.

    Raises:
        FileNotFoundError: `folder` is not a prepared dataset.
    """
    from huggingface_hub.utils import filter_repo_objects

    folder = Path(folder)
    settle(folder)
    parquet_files(folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [(name, (folder / name).stat().st_size) for name in filter_repo_objects(names, ignore_patterns=_NOT_PUSHED)]


def _remote_card(api, repo: str) -> str | None:
    """The card on the Hub, or `None` where there is none yet."""
    if not api.file_exists(repo, "README.md", repo_type="dataset"):
        return None
    return Path(api.hf_hub_download(repo, "README.md", repo_type="dataset")).read_text(encoding="utf-8")


def _card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def _next_version(local: str, remote: str | None) -> str:
    """The version on the Hub where the content is the same, one more where it is another; at least the local one."""
    version = _version(local)
    if remote is not None and _version(remote):
        major, minor, patch = _version(remote)
        changed = content_stamps(remote) != content_stamps(local)
        version = max(version, (major, minor, patch + changed))
    return ".".join(map(str, version))


def _version(card: str) -> tuple[int, ...]:
    match = _VERSION.search(card)
    return tuple(map(int, match.groups())) if match else ()


def _write_version(card: Path, version: str) -> None:
    text = card.read_text(encoding="utf-8")
    write_text(card, _VERSION.sub(f"version: {version}", text, count=1))
