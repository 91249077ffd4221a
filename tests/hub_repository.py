"""What the local Hub of the tests stores: repositories with commits, branches, tags and pull requests.

No git underneath: a commit is a mapping of paths to blobs with a parent. Names of the API's fields are the Hub's own.
"""

import base64
import hashlib
import json
import re
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.hub_cards import EVALUATION_FILE, evaluation_errors

ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
FRONT_MATTER = re.compile(r"---\r?\n(.*?)\r?\n---", re.DOTALL)
NO_OBJECT = "0" * 40


class Refused(Exception):
    """A request that the Hub answers with an error: HTTP status, the Hub's error code, a message."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


@dataclass(frozen=True)
class Blob:
    """Contents of a file; `lfs`: whether the repository only holds a pointer to them."""

    data: bytes
    lfs: bool = False

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def oid(self) -> str:
        """The id git gives these bytes."""
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def entry(self, path: str) -> dict[str, Any]:
        """The file in a listing."""
        pointer = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 134}} if self.lfs else {}
        return {"type": "file", "oid": self.oid, "size": self.size, "path": path, **pointer}


Tree = dict[str, Blob]


@dataclass(frozen=True)
class Commit:
    """A state of all files. `parent`: id of the commit before."""

    tree: Tree
    title: str
    description: str = ""
    parent: str | None = None
    date: float = field(default_factory=time.time)

    @cached_property
    def sha(self) -> str:
        files = sorted((path, blob.oid) for path, blob in self.tree.items())
        facts = [files, self.title, self.description, self.parent, self.date, time.time_ns()]
        return hashlib.sha1(json.dumps(facts).encode()).hexdigest()


class Repository:
    """One repository.

    Args:
        kind: `model`, `dataset` or `space`.
        name: `owner/name`.
        private: whether only those with a token see it.
    """

    def __init__(self, kind: str, name: str, private: bool = False):
        self.kind, self.name, self.private = kind, name, private
        self.created = time.time()
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}  # branches by name, pull requests as refs/pr/<number>
        self.tags: dict[str, str] = {}
        self.pull_requests: list[str] = []
        self.add_commit("main", Commit({".gitattributes": Blob(ATTRIBUTES)}, "initial commit"))

    def add_commit(self, ref: str, commit: Commit) -> str:
        self.commits[commit.sha] = commit
        self.refs[ref] = commit.sha
        return commit.sha

    def resolve(self, revision: str) -> str:
        """The commit a branch, tag, pull request or commit id stands for; refuses an unknown one."""
        name = urllib.parse.unquote(revision).removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.refs.get(name) or self.tags.get(name) or (name if name in self.commits else None)
        if sha is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {name}")
        return sha

    def tree(self, revision: str) -> Tree:
        return self.commits[self.resolve(revision)].tree

    def branches(self) -> dict[str, str]:
        return {name: sha for name, sha in self.refs.items() if not name.startswith("refs/")}

    def history(self, revision: str) -> list[dict[str, Any]]:
        """The commits from `revision` back to the first."""
        found, sha = [], self.resolve(revision)
        while sha is not None:
            commit = self.commits[sha]
            facts = {"id": sha, "title": commit.title, "message": commit.description, "date": timestamp(commit.date)}
            found.append({**facts, "authors": [{"user": "tester", "avatar": ""}]})
            sha = commit.parent
        return found

    def references(self) -> dict[str, list[dict[str, str]]]:
        """Branches, tags and pull requests, as `list_repo_refs` reads them."""
        pulls = {name: sha for name, sha in self.refs.items() if name.startswith("refs/pr/")}
        return {
            "branches": [_reference(name, f"refs/heads/{name}", sha) for name, sha in self.branches().items()],
            "tags": [_reference(name, f"refs/tags/{name}", sha) for name, sha in self.tags.items()],
            "pullRequests": [_reference(name, name, sha) for name, sha in pulls.items()],
            "converts": [],
        }

    def describe(self, revision: str = "main", sizes: bool = False) -> dict[str, Any]:
        """What `model_info`, `dataset_info` and `space_info` read; `sizes`: with the facts of every file."""
        commit = self.commits[self.resolve(revision)]
        card = card_data(commit.tree)
        facts = {
            "_id": "0" * 24,
            "id": self.name,
            "sha": commit.sha,
            "private": self.private,
            "gated": False,
            "disabled": False,
            "author": self.name.split("/")[0],
            "createdAt": timestamp(self.created),
            "lastModified": timestamp(commit.date),
            "downloads": 0,
            "likes": 0,
            "tags": list(card.get("tags") or []),
            "cardData": card,
            "siblings": [_sibling(path, blob, sizes) for path, blob in sorted(commit.tree.items())],
            "usedStorage": sum(blob.size for blob in commit.tree.values()),
        }
        own = {"model": self._model_facts, "space": self._space_facts}.get(self.kind)
        return facts | own(commit.tree, card) if own else facts

    def _model_facts(self, tree: Tree, card: Mapping[str, Any]) -> dict[str, Any]:
        config = json.loads(tree["config.json"].data) if "config.json" in tree else None
        facts = {name: card.get(name) for name in ("pipeline_tag", "library_name")}
        return {"modelId": self.name, "config": config, "evalResults": evaluation_results(tree), **facts}

    def _space_facts(self, tree: Tree, card: Mapping[str, Any]) -> dict[str, Any]:
        return {"sdk": card.get("sdk"), "runtime": None}


def _reference(name: str, ref: str, sha: str) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": sha}


def _sibling(path: str, blob: Blob, sizes: bool) -> dict[str, Any]:
    pointer = {"lfs": {"sha256": blob.sha256, "size": blob.size, "pointerSize": 134}} if blob.lfs else {}
    return {"rfilename": path, **({"size": blob.size, "blobId": blob.oid, **pointer} if sizes else {})}


def timestamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def card_data(tree: Tree) -> dict[str, Any]:
    """The YAML at the head of README.md; empty where there is none."""
    card = tree.get("README.md", Blob(b"")).data.decode("utf-8", "replace")
    return parse_card(card)


def evaluation_results(tree: Tree) -> list[dict[str, Any]]:
    """The entries of all evaluation files; of one that is not valid, what is wrong with it."""
    import yaml

    found: list[dict[str, Any]] = []
    for path in sorted(path for path in tree if EVALUATION_FILE.fullmatch(path)):
        entries = yaml.safe_load(tree[path].data)
        errors = evaluation_errors(entries)
        named = {"filename": path}
        found += [{**named, "error": "; ".join(errors)}] if errors else [{**named, "data": entry} for entry in entries]
    return found


def parse_card(card: str) -> dict[str, Any]:
    """The YAML at the head of a card; refuses what is not a YAML mapping."""
    import yaml

    found = FRONT_MATTER.match(card)
    if not found:
        return {}
    try:
        content = yaml.safe_load(found[1]) or {}
    except yaml.YAMLError as error:
        raise Refused(400, "", f"Invalid metadata in README.md: {error}") from error
    if not isinstance(content, dict):
        raise Refused(400, "", f"Invalid metadata in README.md: expected a mapping, got {type(content).__name__}")
    return content


def changed_tree(tree: Tree, operations: Iterable[Mapping[str, Any]], lfs: Mapping[str, bytes]) -> Tree:
    """The files after the operations of a commit; `lfs` holds what was uploaded before by SHA-256."""
    tree = dict(tree)
    for operation in operations:
        kind, value = operation["key"], operation["value"]
        if kind == "file":
            tree[value["path"]] = Blob(base64.b64decode(value["content"]))
        elif kind == "lfsFile":
            if value["oid"] not in lfs:
                raise Refused(400, "", f"LFS pointer pointed to a file that does not exist: {value['oid']}")
            tree[value["path"]] = Blob(lfs[value["oid"]], lfs=True)
        elif kind == "deletedFile":
            tree.pop(value["path"], None)
        elif kind == "deletedFolder":
            folder = value["path"].strip("/") + "/"
            tree = {path: blob for path, blob in tree.items() if not path.startswith(folder)}
        else:
            raise Refused(400, "", f"unknown operation {kind!r}")
    return tree


def list_tree(tree: Tree, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders under `folder` ("" = the root), only its own ones unless `recursive`."""
    start = f"{folder}/" if folder else ""
    inside = [path for path in sorted(tree) if path.startswith(start)]
    if folder and not inside:
        raise Refused(404, "EntryNotFound", f"{folder} does not exist")
    found: dict[str, dict[str, Any]] = {}
    for path in inside:
        parts = path[len(start) :].split("/")
        for depth in range(1, len(parts) if recursive else min(2, len(parts))):
            parent = start + "/".join(parts[:depth])
            found.setdefault(parent, _folder_entry(parent))
        if recursive or len(parts) == 1:
            found[path] = tree[path].entry(path)
    return list(found.values())


def list_paths(tree: Tree, paths: Iterable[str]) -> list[dict[str, Any]]:
    """Facts of the named files and folders; those that are not there are left out."""
    found = []
    for path in (path.strip("/") for path in paths):
        if path in tree:
            found.append(tree[path].entry(path))
        elif any(name.startswith(f"{path}/") for name in tree):
            found.append(_folder_entry(path))
    return found


def _folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": NO_OBJECT, "size": 0, "path": path}
