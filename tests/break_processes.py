"""Forks of a warm process that run commands in a sandbox, with a fault or without; for `tests.break_writes`.

The parent has all libraries imported and never computes anything, as threads do not come along into a fork. Every
command runs at the same path, so that paths in outputs are the same each time.
"""

import contextlib
import ctypes
import io
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.break_commands import INGREDIENTS, Variant, Words, run_command

SECONDS = 120.0
ESCAPED = 99  # exit code of a command whose traceback escaped
KILL, FULL = 1, 2
_BAR = re.compile(r"\d%\|")


@dataclass(frozen=True)
class Fault:
    """What happens to a process: nothing at step 0, else at that file operation below the sandbox."""

    step: int = 0
    mode: int = KILL


@dataclass(frozen=True)
class Ended:
    """How a forked process ended. `code` is negative after a signal, `None` when it had to be stopped."""

    code: int | None
    stdout: str
    stderr: str
    counted: int
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The lines on stderr as a terminal shows them, without progress bars."""
        shown = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in self.stderr.split("\n"))
        return [line for line in shown if line.strip() and not _BAR.search(line)]


class Forked:
    """A forked process that does `work` in a folder; `wait` for its end. What it left running is killed then."""

    def __init__(self, work: Callable[[], int], place: Path, log: Path, argv: Words = (), fault: Fault | None = None):
        self.log, self.began = log, time.monotonic()
        shutil.rmtree(log, ignore_errors=True)
        log.mkdir(parents=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.id = os.fork()
        if self.id == 0:
            self._run(work, place, argv, fault)

    def _run(self, work: Callable[[], int], place: Path, argv: Words, fault: Fault | None) -> None:
        """In the forked process: never returns, as that would go on with the parent's work."""
        code = ESCAPED
        try:
            os.setsid()
            for stream, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(self.log / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            sys.stdout, sys.stderr = (io.TextIOWrapper(open(stream, "wb", closefd=False)) for stream in (1, 2))
            sys.argv = ["unimse", *argv]
            os.chdir(place)
            library = ctypes.CDLL(os.environ["LD_PRELOAD"])
            library.arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
            library.counted.restype = ctypes.c_long
            if fault is not None:
                library.arm(os.fsencode(place), fault.step, fault.mode)
            code = work()
            (self.log / "counted").write_text(str(library.counted()))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:  # whatever gets here is a finding
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def wait(self, seconds: float = SECONDS) -> Ended:
        """Wait for the end, and kill the process with all that it started when it takes longer."""
        code, found = None, 0
        while not found and time.monotonic() - self.began < seconds:
            found, status = os.waitpid(self.id, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.id, signal.SIGKILL)
        if not found:
            os.waitpid(self.id, 0)
        took = time.monotonic() - self.began
        stdout, stderr, counted = (self._text(name) for name in ("stdout", "stderr", "counted"))
        return Ended(code, stdout, stderr, int(counted or -1), took)

    def _text(self, name: str) -> str:
        path = self.log / name
        return path.read_text(errors="replace") if path.is_file() else ""


class Workshop:
    """Makes sandboxes below a folder and runs commands in them, always at `box`."""

    def __init__(self, folder: Path):
        self.folder, self.box = folder, folder / "box"

    def reset(self, templates: Iterable[Path]) -> None:
        """A fresh sandbox with copies of folders; times of files are kept."""
        shutil.rmtree(self.box, ignore_errors=True)
        self.box.mkdir()
        for template in templates:
            shutil.copytree(template, self.box, dirs_exist_ok=True)

    def start(self, words: Words, fault: Fault | None = None, number: int = 0) -> Forked:
        """Start a command in the sandbox."""
        return Forked(lambda: run_command(words), self.box, self.folder / f"log-{number}", words, fault)

    def run(self, words: Words, fault: Fault | None = None) -> Ended:
        """Run a command in the sandbox."""
        return self.start(words, fault).wait()

    def template(self, variant: Variant) -> Path:
        """The sandbox of a variant as it is before its command."""
        place = self.folder / "templates" / variant.command / variant.name
        self.reset([self.ingredient(name) for name in variant.needs])
        self._make(variant.older, variant.title)
        for name, text in variant.foreign.items():
            (self.box / name).parent.mkdir(parents=True, exist_ok=True)
            (self.box / name).write_text(text)
        shutil.copytree(self.box, place)
        return place

    def ingredient(self, name: str) -> Path:
        """A folder with an ingredient and all that it needs, made once."""
        place = self.folder / "ingredients" / name
        if not place.is_dir():
            needed = [self.ingredient(other) for other in INGREDIENTS[name].needs]
            self.reset(needed)
            self._make(INGREDIENTS[name].steps, name)
            shutil.copytree(self.box, place)
        return place

    def _make(self, steps: Sequence, what: str) -> None:
        for step in steps:
            work = (lambda step=step: step() or 0) if callable(step) else (lambda step=step: run_command(step))
            ended = Forked(work, self.box, self.folder / "log", () if callable(step) else step).wait()
            if ended.code != 0:
                raise RuntimeError(f"{what}: {step} ended with {ended.code}: {ended.stderr[-1500:]}")
