"""Folders of results that were downloaded from the Hub, and which repository and revision each is of.

    <folder>/owner--name--0123456789ab/         what the repository had at this revision
    <folder>/owner--name--0123456789ab.source   the repository and the revision, beside it: out of a repository's reach

Nothing is downloaded under a name that ends in `.source`, so a repository cannot pass its files off as another's.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.utils.files import write_json

_NAME = re.compile(r"[^/]+--[^/]+--[0-9a-f]{12}")
_REVISION_DIGITS = 12


@dataclass(frozen=True)
class HubFile:
    """A file of a repository: `owner/name`, the commit in full, and the file's name in it."""

    repo: str
    revision: str
    file: str

    @property
    def owner(self) -> str:
        return self.repo.split("/")[0]

    @property
    def name(self) -> str:
        """As tables show it: `owner/name@0123456789ab/results.json`."""
        return f"{self.repo}@{self.revision[:_REVISION_DIGITS]}/{self.file}"


def folder_name(repo: str, revision: str) -> str:
    """Name of the folder of a repository at a commit."""
    return f"{repo.replace('/', '--')}--{revision[:_REVISION_DIGITS]}"


def write_source(folder: Path, repo: str, revision: str) -> None:
    """Note beside a folder, which has its `folder_name`, what it is of."""
    write_json(_source_path(folder), {"repo": repo, "revision": revision})


def hub_file(path: Path) -> HubFile | None:
    """What a downloaded file is of; `None` for any other file."""
    path = path.resolve()
    for folder in path.parents:
        source = _read_source(folder) if _NAME.fullmatch(folder.name) else None
        if source is not None:
            return HubFile(*source, path.relative_to(folder).as_posix())
    return None


def _read_source(folder: Path) -> tuple[str, str] | None:
    """Repository and revision, if the note beside the folder is one of ours and of this folder."""
    path = _source_path(folder)
    try:
        source = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        repo, revision = source["repo"], source["revision"]
        return (repo, revision) if folder_name(repo, revision) == folder.name else None
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):  # somebody else's file
        return None


def _source_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.source")
