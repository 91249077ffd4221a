"""Model repositories on their way to the Hub, uploaded by a thread while a training goes on.

    <run folder>/pending/
        00000120/        everything that the repository shall hold: weights, processor, code, card, results
        00000120.json    where it goes (`Upload`); written last, so what has one is whole
    <run folder>/pushed.json     what the Hub has

A folder is removed when the Hub has it. A Hub that is slow, refuses or cannot be reached costs the training nothing:
what is pending stays on disk, is tried again with every further upload and at the end, and by `unimse push`. Access
tokens are those of huggingface_hub (HF_TOKEN, `hf auth login`); none is ever read or written here.
"""

import dataclasses
import json
import math
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_scripts.hub_names import check_repo_name, error_line
from dataset_scripts.utils.files import write_json
from dataset_scripts.utils.outputs import replaced_folder
from trainer.fields import check_fields

PENDING = "pending"
SENT = "pushed.json"
ATTEMPTS = 5  # in a row, with pauses of 1, 2, 4, 8 s between
ANSWER_WITHIN = 60.0  # seconds that a connection may be silent
LONGEST_WAIT = 300.0  # seconds at the end; less than what processes wait for each other
# What an earlier push may have left that a new one need not overwrite; files of other origin stay.
_REPLACED = (
    *("*.safetensors", "*.safetensors.index.json", "adapter_config.json"),
    *(".eval_results/*", "results/*", "predictions.parquet", "results.parquet", "results.states.parquet"),
)
_queue_lock = threading.Lock()  # the training adds to the queue while the thread takes from it


@dataclass(frozen=True)
class PushSettings:
    """The field `push_to_hub` of a run.

    Args:
        repo: `owner/name`; of a run with several seeds each has its own, `owner/name-seed-<seed>`.
        every: validations between pushes.
        private: whether a repository that is made is private.
        only_best: only a validation that is the best so far is pushed, else the weights as they are at each.
        with_predictions: also the test predictions, with ids and gold labels, which may not be passed on of most data.
    """

    repo: str
    every: int = 1
    private: bool = True
    only_best: bool = True
    with_predictions: bool = False

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "PushSettings":
        """Raises a `ValueError` for unknown fields and wrong values."""
        if "token" in settings:
            raise ValueError(
                "push_to_hub.token: the token is taken from HF_TOKEN or `hf auth login`; leave it out here"
            )
        kinds = {item.name: item.type for item in dataclasses.fields(cls)}
        check_fields(settings, kinds, "push_to_hub")
        for name, value in settings.items():
            if type(value) is not kinds[name]:
                raise ValueError(f"push_to_hub.{name}: expected {kinds[name].__name__}, got {value!r}")
        if "repo" not in settings:
            raise ValueError("push_to_hub.repo: expected owner/name of a Hub repository; it is missing")
        check_repo_name(settings["repo"])
        if settings.get("every", 1) < 1:
            raise ValueError(f"push_to_hub.every: expected a whole number >= 1, got {settings['every']}")
        return cls(**settings)


@dataclass(frozen=True)
class Upload:
    """Where a pending folder goes: a branch of a repository, and the tag that its commit gets."""

    repo: str
    message: str
    tag: str | None = None
    branch: str | None = None
    private: bool = True


def make_pending(
    run_folder: Path, name: str, upload: Upload, fill: Callable[[Path], None], again: bool = False
) -> None:
    """Set a folder aside for upload, unless one of this name waits already or was sent before.

    Args:
        fill: writes the folder's files.
        again: also if it was sent before.
    """
    folder = run_folder / PENDING / name
    ticket = folder.with_name(f"{name}.json")
    with _queue_lock:
        before = sent(run_folder).get(name)
        if ticket.exists() or (before is not None and before["repo"] == upload.repo and not again):
            return
        with replaced_folder(folder) as new:
            fill(new)
        try:
            write_json(ticket, dataclasses.asdict(upload))
        except OSError:
            shutil.rmtree(folder)
            raise


def pending(run_folder: Path) -> list[tuple[Path, Upload]]:
    """Whole folders that wait, the oldest first."""
    found = []
    for ticket in sorted((run_folder / PENDING).glob("*.json")):
        try:
            found.append((ticket.with_suffix(""), Upload(**json.loads(ticket.read_text(encoding="utf-8")))))
        except FileNotFoundError:  # sent between the look into the folder and now
            continue
    return found


def sent(run_folder: Path) -> dict[str, dict[str, str]]:
    """Name of each folder that the Hub has -> `repo` and address of its `commit`."""
    path = run_folder / SENT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def mark_sent(folder: Path, upload: Upload, address: str) -> None:
    """Take a folder that was sent out of the queue, and note that it was."""
    run_folder = folder.parent.parent
    with _queue_lock:
        write_json(run_folder / SENT, {**sent(run_folder), folder.name: {"repo": upload.repo, "commit": address}})
        folder.with_name(f"{folder.name}.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def drop_unfinished(run_folder: Path) -> None:
    """Remove folders without a ticket: a process was killed while it filled or removed them."""
    with _queue_lock:
        for folder in (run_folder / PENDING).glob("*/"):
            if not folder.with_name(f"{folder.name}.json").exists():
                shutil.rmtree(folder)


def send(folder: Path, upload: Upload) -> str:
    """Upload one folder as one commit, which replaces the weights that are there, and tag it; returns its address.

    Sent twice, it is the same commit and tag.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import get_session

    get_session().timeout = ANSWER_WITHIN  # by default the library waits for an answer for ever
    api = HfApi()
    api.create_repo(upload.repo, private=upload.private, exist_ok=True)
    if upload.branch is not None:
        api.create_branch(upload.repo, branch=upload.branch, exist_ok=True)
    commit = api.upload_folder(
        repo_id=upload.repo,
        folder_path=folder,
        commit_message=upload.message,
        revision=upload.branch,
        delete_patterns=list(_REPLACED),
    )
    if upload.tag is not None:
        _tag(api, upload, commit.oid)
    return str(commit.commit_url)


def _tag(api, upload: Upload, commit: str) -> None:
    """Tag a commit. Tags that another run left, this one at another commit or later ones, would mislead: they go."""
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(upload.repo).tags}
    for name, target in tags.items():
        if target != commit if name == upload.tag else _order(name) > _order(upload.tag):
            api.delete_tag(upload.repo, tag=name)
    api.create_tag(upload.repo, tag=upload.tag, revision=commit, exist_ok=True)


def _order(tag: str) -> float:
    """Place of a tag in a training: steps by number, then `final`; others before all."""
    if tag == "final":
        return math.inf
    number = tag.removeprefix("step-")
    return int(number) if tag.startswith("step-") and number.isdigit() else -1


def check_access(repos: Sequence[str], private: bool, longest: float = 15.0) -> None:
    """Make the repositories, where there are none, before a training begins.

    A Hub that does not answer within `longest` seconds, or cannot be reached, is no reason not to train.

    Raises:
        ValueError: the Hub refuses, for want of a token or of rights.
    """
    problems: list[Exception] = []
    thread = threading.Thread(target=_ask, args=(repos, private, problems), daemon=True)
    thread.start()
    thread.join(longest)
    problem = problems[0] if problems else TimeoutError(f"no answer in {longest:g} s") if thread.is_alive() else None
    if isinstance(problem, PermissionError):
        raise ValueError(f"push_to_hub: {problem}; log in with `hf auth login` or HF_TOKEN, by a token that may write")
    if problem is not None:
        line = error_line(problem)
        warnings.warn(f"push_to_hub: the Hub cannot be reached now ({line}); the training goes on", stacklevel=2)


def _ask(repos: Sequence[str], private: bool, problems: list[Exception]) -> None:
    """In a thread: what went wrong is judged by the one that waits for it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        role = api.whoami().get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise PermissionError("the access token is for reading only")
        for repo in repos:
            api.create_repo(repo, private=private, exist_ok=True)
    except LocalTokenNotFoundError:
        problems.append(PermissionError("there is no access token"))
    except HfHubHTTPError as error:
        refused = error.response.status_code in (401, 403)
        problems.append(PermissionError(f"{repos[0]}: {error_line(error)}") if refused else error)
    except Exception as error:
        problems.append(error)


class Uploader:
    """Sends what is pending in a run folder, in the background.

    Args:
        run_folder: what was left pending there by a killed run is sent too.
        pause: seconds before the second attempt; doubled after each.
    """

    def __init__(self, run_folder: Path, pause: float = 1.0):
        self.run_folder, self.pause = run_folder, pause
        drop_unfinished(run_folder)
        self._wake, self._ending = threading.Event(), threading.Event()
        self._wake.set()
        # A daemon: a process that ends waits for an upload that is under way, not for the attempts that would follow.
        self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for pending folders, also for those that failed before."""
        self._wake.set()

    def finish(self, longest: float = LONGEST_WAIT) -> list[Path]:
        """Wait until everything is sent or has failed, at most `longest` seconds; returns what is still pending."""
        self._ending.set()
        self._wake.set()
        self._thread.join(longest)
        left = pending(self.run_folder)
        if left:
            warnings.warn(
                f"{self.run_folder / PENDING}: {len(left)} uploads did not reach the Hub and are kept; "
                f"`unimse push {self.run_folder} {left[0][1].repo}` sends them",
                stacklevel=2,
            )
        return [folder for folder, _ in left]

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            ending = self._ending.is_set()
            self._send_all()
            if ending:
                return

    def _send_all(self) -> None:
        """The oldest first; one that fails keeps the later ones waiting, so that commits keep their order."""
        while waiting := pending(self.run_folder):
            if not self._try(*waiting[0]):
                return

    def _try(self, folder: Path, upload: Upload) -> bool:
        """A bounded number of attempts; one warning if all fail."""
        problem: Exception | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                mark_sent(folder, upload, send(folder, upload))
                return True
            except Exception as error:  # whatever it is, the training goes on; the warning says it
                problem = error
        line = f"{type(problem).__name__}: {error_line(problem)}"
        warnings.warn(
            f"{upload.repo}: {folder.name} could not be uploaded ({line}); it is kept in "
            f"{folder.parent} and tried again later; the training goes on",
            stacklevel=2,
        )
        return False
