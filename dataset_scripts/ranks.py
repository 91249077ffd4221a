"""Several processes, perhaps on several machines, that share the clips of one preparation.

`torchrun` and `accelerate launch` tell each process its rank in the environment; nothing else of them is used. The
processes meet in the clip store, a folder that all of them see. The main one waits until every clip is in it: that is
the barrier. A collective operation would need the network set up and would time out when one machine is hours slower.
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 1.0
STALL_SECONDS = 1500.0  # longer than a clip that hangs takes, twice over


def is_helper() -> bool:
    """Whether this process only helps the main one of a distributed run."""
    return os.environ.get("RANK", "0") != "0"


@dataclass
class Ranks:
    """This process among those of a run.

    Args:
        folder: the clip store's.
        rank: number of this process; 0 is the main one.
        world: how many there are.
    """

    folder: Path
    rank: int
    world: int

    @classmethod
    def of_environment(cls, folder: Path) -> "Ranks":
        """As `torchrun` set it; without it this process is alone.

        Raises:
            ValueError: RANK and WORLD_SIZE are not whole numbers that fit each other.
        """
        rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
            raise ValueError(f"environment: expected RANK below WORLD_SIZE, got {rank!r} and {world!r}; unset both")
        return cls(folder, int(rank), int(world))

    @property
    def is_main(self) -> bool:
        """Whether this process writes the dataset."""
        return self.rank == 0

    def share(self, items: list) -> list:
        """The items that this process does."""
        return items[self.rank :: self.world]

    def __enter__(self) -> "Ranks":
        """Inside, an error of this process is told to the others."""
        if self.world > 1:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file("failed").unlink(missing_ok=True)
            self._file("began").touch()  # by the folder's clock, which all ranks share
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if error is not None and self.world > 1 and self.folder.is_dir():
            self._file("failed").write_text(" ".join(str(error).split()) or kind.__name__, encoding="utf-8")

    def check(self) -> None:
        """Raise a `ChildProcessError` if another process of this run has failed."""
        if self.world == 1 or not self._file("began").exists():
            return
        began = self._file("began").stat().st_mtime_ns
        for other in range(self.world):
            path = self._file("failed", other)
            if other != self.rank and path.exists() and path.stat().st_mtime_ns >= began:
                raise ChildProcessError(
                    f"stopped, because process {other} of {self.world} failed: {path.read_text(encoding='utf-8')}"
                )

    def wait_for(
        self, missing: Iterable[str], there: Callable[[str], bool], waited: Callable[[int], None]
    ) -> list[str]:
        """Wait until all of some keys are there, or until nothing came for `STALL_SECONDS`.

        Args:
            missing: the keys.
            there: whether a key is there.
            waited: called with the number of keys that came.

        Returns:
            The keys that did not come; the others have given up on them.
        """
        left, last = list(missing), time.monotonic()
        while left and time.monotonic() - last < STALL_SECONDS:
            still = [key for key in left if not there(key)]
            if len(still) < len(left):
                waited(len(left) - len(still))
                left, last = still, time.monotonic()
                continue
            self.check()
            time.sleep(POLL_SECONDS)
        return left

    def _file(self, what: str, rank: int | None = None) -> Path:
        return self.folder / f"rank-{self.rank if rank is None else rank}.{what}"
