"""Processes that do one task at a time and may die of it.

A decoder can end its process: by a fault in it, by running out of memory, by never coming back. The standard pools then
give up everything and cannot say which task it was. Here each process has one task, so the parent knows.
"""

import multiprocessing
import pickle
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

# What a task may raise; it goes to the parent, which raises it there. Anything else ends the process.
_ERRORS = (ValueError, OSError, RuntimeError, ArithmeticError, LookupError, TypeError, AttributeError, MemoryError)
_ERRORS += (ImportError, AssertionError, EOFError)


@dataclass(frozen=True)
class Crash:
    """A task that ended its process, twice. `detail` says how."""

    detail: str


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection
    ready: bool = False
    number: int | None = None
    since: float = 0.0


@dataclass
class _Task:
    content: Any
    ends: list[str] = field(default_factory=list)


class Crew:
    """Up to `size` processes, started as they are needed.

    They are started by a server process that never ran a thread (or anew, where there is none): a fork of a process in
    which torch, OpenCV or ONNX Runtime have run can hang. A script must therefore call this below
    `if __name__ == "__main__":`. A process whose parent is gone ends by itself after its task.

    Args:
        make: called once in each process with `arguments`; returns the function that does a task.
        arguments: must be picklable.
        size: number of processes.
        seconds: a task that takes longer is taken to hang.
    """

    def __init__(self, make: Callable[..., Callable[[Any], Any]], arguments: tuple, size: int, seconds: float):
        self._start_arguments, self._size, self._seconds = (make, *arguments), size, seconds
        try:
            pickle.dumps(self._start_arguments)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"workers: the extractors cannot be sent to other processes ({error}); define their classes at the top "
                "of a module"
            ) from error
        self._context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            self._context.set_forkserver_preload([make.__module__])
        self._workers: list[_Worker] = []
        self._tasks: dict[int, _Task] = {}
        self._again: list[int] = []

    @property
    def busy(self) -> bool:
        """Whether results are still to come."""
        return bool(self._tasks)

    @property
    def has_room(self) -> bool:
        """Whether a further task would start at once."""
        return not self._again and len(self._tasks) < self._size

    def submit(self, number: int, content: Any) -> None:
        """Start a task; only where there `has_room`. `number` names it in the results."""
        self._tasks[number] = _Task(content)
        self._send(number)

    def wait(self) -> list[tuple[int, Any]]:
        """Wait for something to happen. Returns finished tasks as (number, result or `Crash`), perhaps none.

        Raises:
            What a task raised. ChildProcessError: the processes do not even start.
        """
        finished = []
        busy = [worker for worker in self._workers if worker.number is not None]
        heard = set(wait([worker.connection for worker in busy], timeout=self._patience(busy)))
        for worker in busy:
            if worker.connection in heard:
                finished += self._hear(worker)
            elif time.monotonic() - worker.since > self._seconds:
                finished += self._lost(worker, f"no result after {self._seconds:.0f} s")
        if self._again and len(self._tasks) == len(self._again):
            self._send(self._again.pop(0), fresh=True)  # alone: if memory ran out, others may have taken it
        return finished

    def close(self) -> None:
        """End the processes; what they are doing is dropped."""
        for worker in self._workers:
            self._end(worker)
        self._workers = []

    def _patience(self, busy: list[_Worker]) -> float:
        first = min((worker.since for worker in busy), default=time.monotonic())
        return max(0.0, first + self._seconds - time.monotonic()) + 0.1 if busy else 0.0

    def _send(self, number: int, fresh: bool = False) -> None:
        idle = [worker for worker in self._workers if worker.number is None]
        while idle and fresh:
            self._drop(idle.pop())
        worker = idle[0] if idle else self._start()
        try:
            worker.connection.send((number, self._tasks[number].content))
        except OSError:  # it died while it had nothing to do
            self._drop(worker)
            worker = self._start()
            worker.connection.send((number, self._tasks[number].content))
        worker.number, worker.since = number, time.monotonic()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, *self._start_arguments), daemon=True)
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _hear(self, worker: _Worker) -> list[tuple[int, Any]]:
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError):
            return self._lost(worker, "")
        if kind == "ready":
            worker.ready, worker.since = True, time.monotonic()
            return []
        if kind == "failed":
            raise content
        number, worker.number = worker.number, None
        del self._tasks[number]
        return [(number, content)]

    def _lost(self, worker: _Worker, detail: str) -> list[tuple[int, Any]]:
        """A process is gone, or is ended because it hangs: its task is done again, alone, or given up."""
        if not worker.ready:
            self._drop(worker)
            raise ChildProcessError(
                "processes that decode clips cannot be started; in a script of your own, call this below "
                "`if __name__ == '__main__':`; else pass fewer workers"
            )
        number = worker.number
        if not detail:
            worker.process.join(5)
            code = worker.process.exitcode
            detail = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        self._drop(worker)
        task = self._tasks[number]
        task.ends.append(detail)
        if len(task.ends) == 1:
            self._again.append(number)
            return []
        del self._tasks[number]
        return [(number, Crash(" and then ".join(task.ends)))]

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._end(worker)

    @staticmethod
    def _end(worker: _Worker) -> None:
        worker.connection.close()
        if worker.number is not None:
            worker.process.kill()
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(connection: Connection, make: Callable[..., Callable[[Any], Any]], *arguments: Any) -> None:
    """What a process does: tasks, one after the other, until its parent is gone or has no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    try:
        do = make(*arguments)
        connection.send(("ready", None))
        while True:
            number, content = connection.recv()
            connection.send(("done", do(content)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except _ERRORS as error:
        connection.send(("failed", error))
