"""The requests that the local Hub of the tests answers: one function a route, each from a `Request` to an `Answer`.

Fields and codes are those that huggingface_hub and datasets read.
"""

import hashlib
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.hub_cards import model_card_errors
from tests.hub_repository import Commit, Refused, Repository, changed_tree, list_paths, list_tree, parse_card

if TYPE_CHECKING:
    from tests.hub_server import HubServer

LFS_SUFFIXES = re.compile(r"\.(safetensors|bin|parquet|arrow|pt|ckpt|wav|mp4|mp3|flac|zip|tar|gz|npz|npy)$")
LFS_THRESHOLD = 10 * 2**20  # bytes beyond which any file goes to LFS
REPOSITORY = r"(?P<name>[^/]+/[^/]+)"
API = rf"/api/(?P<kind>model|dataset|space)s/{REPOSITORY}"
FILES = rf"/(?:(?P<kind>dataset|space)s/)?{REPOSITORY}"


@dataclass(frozen=True)
class Answer:
    """A response: `content` is sent as JSON, `raw` as it is."""

    content: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None


@dataclass(frozen=True)
class Request:
    """What a route gets: the parts of the HTTP request and the parts of the path that its pattern names."""

    hub: "HubServer"
    method: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    parts: Mapping[str, str | None]

    @property
    def user(self) -> str | None:
        """Who asks; `None` without a known token."""
        return self.hub.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    @property
    def kind(self) -> str:
        return self.parts.get("kind") or "model"

    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    def part(self, name: str) -> str:
        return urllib.parse.unquote(self.parts.get(name) or "")

    def require_user(self) -> str:
        if self.user is None:
            raise Refused(401, "", "Invalid username or password.")
        return self.user

    def repository(self) -> Repository:
        """The repository of the path. A private one does not exist for those without a token."""
        found = self.hub.repositories.get((self.kind, self.part("name")))
        if found is None or (found.private and self.user is None):
            raise Refused(404 if self.user else 401, "RepoNotFound", "Repository not found")
        return found

    def writable(self) -> Repository:
        self.require_user()
        return self.repository()


Route = Callable[[Request], Answer]
ROUTES: list[tuple[str, re.Pattern, Route]] = []


def route(methods: str, pattern: str) -> Callable[[Route], Route]:
    """Answer requests of these methods (blank between) whose whole path fits the pattern."""

    def register(function: Route) -> Route:
        ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return register


# ---- accounts and the list of repositories


@route("GET", "/api/whoami-v2")
def who_am_i(request: Request) -> Answer:
    user = request.require_user()
    access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
    return Answer({"type": "user", "name": user, "fullname": user, "orgs": [], "isPro": False, "auth": access})


@route("POST", "/api/validate-yaml")
def validate_card(request: Request) -> Answer:
    sent = request.json()
    try:
        card = parse_card(sent.get("content", ""))
        found = model_card_errors(card) if sent.get("repoType") == "model" else []
    except Refused as refused:
        found = [refused.message]
    errors = [{"message": message} for message in found]
    return Answer({"errors": errors, "warnings": []}, status=400 if errors else 200)


@route("POST", "/api/repos/create")
def create_repository(request: Request) -> Answer:
    key, wanted = _named_repository(request)
    address = request.hub.web(*key)
    if key in request.hub.repositories:
        message = "You already created this repo"
        return Answer({"error": message, "url": address}, 409, {"X-Error-Message": message})
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    request.hub.repositories[key] = Repository(*key, private=private)
    return Answer({"url": address, "name": key[1], "id": key[1]})


@route("DELETE", "/api/repos/delete")
def delete_repository(request: Request) -> Answer:
    key, _ = _named_repository(request)
    if request.hub.repositories.pop(key, None) is None:
        raise Refused(404, "RepoNotFound", "Repository not found")
    return Answer({})


def _named_repository(request: Request) -> tuple[tuple[str, str], dict[str, Any]]:
    user, wanted = request.require_user(), request.json()
    return (wanted.get("type") or "model", f"{wanted.get('organization') or user}/{wanted['name']}"), wanted


@route("GET", "/api/(?P<kind>model|dataset|space)s")
def list_repositories(request: Request) -> Answer:
    searched, author = request.query.get("search", ""), request.query.get("author")
    found = [one for (kind, _), one in request.hub.repositories.items() if kind == request.kind]
    seen = [one for one in found if request.user or not one.private]
    fits = [one for one in seen if searched in one.name and author in (None, one.name.split("/")[0])]
    return Answer([one.describe() for one in fits])


# ---- one repository


@route("GET", rf"{API}(?:/revision/(?P<revision>.+))?")
def repository_info(request: Request) -> Answer:
    repository = request.repository()
    sizes = request.query.get("blobs", "").lower() in ("true", "1")
    return Answer(repository.describe(request.part("revision") or "main", sizes))


@route("GET", rf"{API}/refs")
def repository_refs(request: Request) -> Answer:
    return Answer(request.repository().references())


@route("GET", rf"{API}/commits/(?P<revision>.+)")
def repository_commits(request: Request) -> Answer:
    return Answer(request.repository().history(request.part("revision")))


@route("PUT", rf"{API}/settings")
def change_settings(request: Request) -> Answer:
    repository, wanted = request.writable(), request.json()
    repository.private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    return Answer({})


@route("POST", rf"{API}/branch/(?P<branch>.+)")
def create_branch(request: Request) -> Answer:
    repository, branch = request.writable(), request.part("branch")
    if branch in repository.refs:
        raise Refused(409, "", "Reference already exists")
    repository.refs[branch] = repository.resolve(request.json().get("startingPoint") or "main")
    return Answer({})


@route("POST", rf"{API}/tag/(?P<revision>.+)")
def create_tag(request: Request) -> Answer:
    repository, tag = request.writable(), request.json()["tag"]
    if tag in repository.tags:
        raise Refused(409, "", "Tag reference exists already")
    repository.tags[tag] = repository.resolve(request.part("revision"))
    return Answer({})


@route("DELETE", rf"{API}/(?P<what>branch|tag)/(?P<revision>.+)")
def delete_reference(request: Request) -> Answer:
    repository = request.writable()
    references = repository.refs if request.part("what") == "branch" else repository.tags
    if references.pop(request.part("revision"), None) is None:
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {request.part('revision')}")
    return Answer({})


# ---- its files


@route("GET", rf"{API}/tree/(?P<revision>refs/[^/]+/[^/]+|[^/]+)(?:/(?P<folder>.*))?")
def repository_tree(request: Request) -> Answer:
    tree = request.repository().tree(request.part("revision"))
    recursive = request.query.get("recursive", "").lower() in ("true", "1")
    return Answer(list_tree(tree, request.part("folder").strip("/"), recursive))


@route("POST", rf"{API}/paths-info/(?P<revision>.+)")
def paths_info(request: Request) -> Answer:
    tree = request.repository().tree(request.part("revision"))
    is_json = "json" in request.headers.get("Content-Type", "")
    wanted = request.json() if is_json else urllib.parse.parse_qs(request.body.decode())
    return Answer(list_paths(tree, wanted.get("paths", [])))


@route("GET HEAD", rf"{FILES}/resolve/(?P<revision>refs%2F[^/]+|[^/]+)/(?P<path>.+)")
def file_contents(request: Request) -> Answer:
    """A file, or a stretch of it: Parquet is read in pieces when it is streamed."""
    repository, path = request.repository(), request.part("path")
    sha = repository.resolve(request.part("revision"))
    headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
    blob = repository.commits[sha].tree.get(path)
    if blob is None:
        raise Refused(404, "EntryNotFound", "Entry not found", headers)
    headers["ETag"] = f'"{blob.etag}"'
    if blob.lfs:
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(blob.size)}
    wanted = request.headers.get("Range")
    if not wanted or request.method == "HEAD":
        return Answer(raw=blob.data, headers=headers)
    first, last = _byte_range(wanted, blob.size)
    headers["Content-Range"] = f"bytes {first}-{last}/{blob.size}"
    return Answer(raw=blob.data[first : last + 1], status=206, headers=headers)


def _byte_range(wanted: str, size: int) -> tuple[int, int]:
    """First and last byte of `bytes=first-last`, `bytes=first-` or `bytes=-count`."""
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, end = (int(first), int(last or size - 1)) if first else (max(size - int(last), 0), size - 1)
    if start >= size:
        raise Refused(416, "", f"range {wanted} is outside of {size} bytes", {"Content-Range": f"bytes */{size}"})
    return start, min(end, size - 1)


# ---- commits


@route("POST", rf"{API}/preupload/(?P<revision>.+)")
def choose_upload(request: Request) -> Answer:
    """Which files go to LFS, and what the repository has of them."""
    tree, answers = request.writable().tree(request.part("revision")), []
    for wanted in request.json()["files"]:
        path = wanted["path"]
        large = wanted["size"] > LFS_THRESHOLD or LFS_SUFFIXES.search(path)
        known = {"oid": tree[path].etag} if path in tree else {}
        answers.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **known})
    return Answer({"files": answers})


@route("POST", rf"{FILES}\.git/info/lfs/objects/batch")
def offer_lfs_upload(request: Request) -> Answer:
    request.writable()
    objects = []
    for wanted in request.json()["objects"]:
        upload = {"actions": {"upload": {"href": f"{request.hub.url}/_lfs/{wanted['oid']}"}}}
        known = wanted["oid"] in request.hub.lfs
        objects.append({"oid": wanted["oid"], "size": wanted["size"], **({} if known else upload)})
    return Answer({"transfer": "basic", "objects": objects})


@route("PUT", "/_lfs/(?P<oid>[0-9a-f]{64})")
def store_lfs(request: Request) -> Answer:
    oid = request.part("oid")
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise Refused(400, "", f"the bytes sent do not have the SHA-256 {oid}")
    request.hub.lfs[oid] = request.body
    return Answer()


@route("POST", rf"{API}/commit/(?P<revision>.+)")
def commit(request: Request) -> Answer:
    repository, ref = request.writable(), request.part("revision")
    head = repository.resolve(ref)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = next((line["value"] for line in lines if line["key"] == "header"), {})
    if header.get("parentCommit") not in (None, head):
        raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
    operations = [line for line in lines if line["key"] != "header"]
    tree = changed_tree(repository.tree(head), operations, request.hub.lfs)
    web, pull_request = request.hub.web(repository.kind, repository.name), None
    if request.query.get("create_pr"):
        repository.pull_requests.append(header.get("summary", ""))
        number = len(repository.pull_requests)
        ref, pull_request = f"refs/pr/{number}", f"{web}/discussions/{number}"
    made = Commit(tree, header.get("summary", ""), header.get("description", ""), parent=head)
    sha = repository.add_commit(ref, made)
    address = {"commitOid": sha, "commitUrl": f"{web}/commit/{sha}", "pullRequestUrl": pull_request}
    return Answer({"success": True, "hookOutput": "", **address})
