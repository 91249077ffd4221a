"""Model repositories on their way to the Hub, uploaded by a thread while a training goes on.

    <run folder>/pending/
        00000120/        everything that the repository shall hold: weights, processor, code, card, results
        00000120.json    where it goes (`Upload`); written last, so what has one is whole

A folder is removed when the Hub has it. A Hub that is slow, refuses or cannot be reached costs the training nothing:
what is pending stays on disk, is tried again with every further upload and at the end, and by `unimse push`. Access
tokens are those of huggingface_hub (HF_TOKEN, `hf auth login`); none is ever read or written here.
"""

import dataclasses
import json
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_scripts.hub import check_repo_name

PENDING = "pending"
ATTEMPTS = 5  # in a row, with pauses of 1, 2, 4, 8 s between
LONGEST_WAIT = 600.0  # seconds at the end of a training


@dataclass(frozen=True)
class PushSettings:
    """The field `push_to_hub` of a run.

    Args:
        repo: `owner/name`; of a run with several seeds each has its own, `owner/name-seed-<seed>`.
        every: validations between pushes.
        private: whether a repository that is made is private.
        only_best: only a validation that is the best so far is pushed, else the weights as they are at each.
    """

    repo: str
    every: int = 1
    private: bool = True
    only_best: bool = True

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "PushSettings":
        """Raises a `ValueError` for unknown fields and wrong values."""
        kinds = {item.name: item.type for item in dataclasses.fields(cls)}
        for name, value in settings.items():
            if name not in kinds:
                hint = "; the token is taken from HF_TOKEN or `hf auth login`" if "token" in name else ""
                raise ValueError(f"push_to_hub: expected fields of {', '.join(kinds)}, got {name!r}{hint}")
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


def make_pending(run_folder: Path, name: str, upload: Upload, fill: Callable[[Path], None]) -> None:
    """Set a folder aside for upload; one of this name that is there already is kept.

    Args:
        fill: writes the folder's files.
    """
    folder = run_folder / PENDING / name
    ticket = folder.with_name(f"{name}.json")
    if ticket.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed while it filled it
    folder.mkdir(parents=True)
    fill(folder)
    partial = ticket.with_name(f"{ticket.name}.partial")
    partial.write_text(json.dumps(dataclasses.asdict(upload), indent=1) + "\n", encoding="utf-8")
    partial.replace(ticket)


def pending(run_folder: Path) -> list[tuple[Path, Upload]]:
    """Whole folders that wait, the oldest first."""
    tickets = sorted((run_folder / PENDING).glob("*.json"))
    return [(path.with_suffix(""), Upload(**json.loads(path.read_text(encoding="utf-8")))) for path in tickets]


def send(folder: Path, upload: Upload) -> str:
    """Upload one folder as a commit that leaves nothing else in the branch, and tag it; returns the commit's address.

    Sent twice, it is the same commit and tag.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(upload.repo, private=upload.private, exist_ok=True)
    if upload.branch is not None:
        api.create_branch(upload.repo, branch=upload.branch, exist_ok=True)
    commit = api.upload_folder(
        repo_id=upload.repo,
        folder_path=folder,
        commit_message=upload.message,
        revision=upload.branch,
        delete_patterns="*",
    )
    if upload.tag is not None:
        _tag(api, upload, commit.oid)
    return str(commit.commit_url)


def _tag(api, upload: Upload, commit: str) -> None:
    """A tag of an earlier run at another commit moves: the step of this run is what it names now."""
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(upload.repo).tags}
    if tags.get(upload.tag, commit) != commit:
        api.delete_tag(upload.repo, tag=upload.tag)
    api.create_tag(upload.repo, tag=upload.tag, revision=commit, exist_ok=True)


def check_access(repo: str, private: bool, longest: float = 15.0) -> None:
    """Make the repository, where there is none, before a training begins.

    A Hub that does not answer within `longest` seconds, or cannot be reached, is no reason not to train.

    Raises:
        ValueError: the Hub refuses, for want of a token or of rights.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    problems: list[Exception] = []

    def ask() -> None:
        try:
            HfApi().create_repo(repo, private=private, exist_ok=True)
        except Exception as error:  # judged below, in the thread that waits
            problems.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(longest)
    problem = problems[0] if problems else TimeoutError(f"no answer in {longest:g} s") if thread.is_alive() else None
    if problem is None:
        return
    line = " ".join(str(problem).split())[:300]
    if isinstance(problem, HfHubHTTPError) and problem.response.status_code in (401, 403):
        raise ValueError(f"push_to_hub: {repo} cannot be written to; log in with `hf auth login` or HF_TOKEN ({line})")
    warnings.warn(f"push_to_hub: {repo} cannot be reached now ({line}); the training goes on", stacklevel=2)


def remove_pending(folder: Path) -> None:
    """Take a folder that was sent out of the queue, the ticket first."""
    folder.with_name(f"{folder.name}.json").unlink()
    shutil.rmtree(folder)


class Uploader:
    """Sends what is pending in a run folder, in the background.

    Args:
        run_folder: what was left pending there by a killed run is sent too.
        pause: seconds before the second attempt; doubled after each.
    """

    def __init__(self, run_folder: Path, pause: float = 1.0):
        self.run_folder, self.pause = run_folder, pause
        self._wake, self._ending = threading.Event(), threading.Event()
        self._wake.set()
        # A daemon: a process that is told to end does not wait for a Hub that does not answer.
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
        left = [folder for folder, _ in pending(self.run_folder)]
        if left:
            warnings.warn(
                f"{self.run_folder / PENDING}: {len(left)} uploads did not reach the Hub and are kept; "
                f"`unimse push {self.run_folder} {pending(self.run_folder)[0][1].repo}` sends them",
                stacklevel=2,
            )
        return left

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
            folder, upload = waiting[0]
            if not self._try(folder, upload):
                return
            remove_pending(folder)

    def _try(self, folder: Path, upload: Upload) -> bool:
        """A bounded number of attempts; one warning if all fail."""
        problem: Exception | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                send(folder, upload)
                return True
            except Exception as error:  # whatever it is, the training goes on; the warning says it
                problem = error
        line = " ".join(str(problem).split())[:300]
        warnings.warn(
            f"{upload.repo}: {folder.name} could not be uploaded ({type(problem).__name__}: {line}); it is kept in "
            f"{folder.parent} and tried again later; the training goes on",
            stacklevel=2,
        )
        return False
