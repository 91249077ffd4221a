"""Training states: everything a killed run needs to go on as if nothing had happened.

    state-00000120/          after 120 optimisation steps
        pytorch_model.bin optimizer.bin random_states_<process>.pkl ...      as accelerate writes them
        progress-<process>.json                                              where the training is (`Progress`)
        whole.json           size and digest of every other file; written last

A state is written aside and renamed; one whose files do not fit `whole.json` is broken and passed over by name.
"""

import dataclasses
import fnmatch
import json
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator

from dataset_scripts.utils.files import file_digest
from dataset_scripts.utils.outputs import new_folder, replaced_folder

PREFIX = "state-"
_WHOLE = "whole.json"
# What accelerate (also with FSDP2 and DeepSpeed) and `save_state` write; `*` spans folders.
STATE_FILES = (
    *(
        _WHOLE,
        "progress-[0-9]*.json",
        "*.bin",
        "*.pkl",
        "*.pt",
        "*.safetensors",
        "*.distcp",
        ".metadata",
        "*/.metadata",
    ),
    *("latest", "*/latest", "zero_to_fp32.py", "*/zero_to_fp32.py"),
)


@dataclass
class Progress:
    """Where a training is.

    Args:
        epoch: from 1.
        batch: micro-batches of the epoch that are done, on each process.
        step: optimisation steps that are done.
        best, best_step: best validation value (larger = better) and its step; `None` before the first validation.
        since_best: validations since then.
        done: whether the last epoch, or patience, has ended.
        totals, steps: sums of the loss terms over the steps of this epoch on this process, and their number.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    best: float | None = None
    best_step: int | None = None
    since_best: int = 0
    done: bool = False
    totals: dict[str, float] = field(default_factory=dict)
    steps: int = 0


def save_state(folder: Path, accelerator: Accelerator, progress: Progress, keep_last: int) -> Path:
    """Write the state of all processes to `folder/state-<step>`, then remove all but the `keep_last` newest ones."""
    path = folder / f"{PREFIX}{progress.step:08d}"
    is_main = accelerator.is_main_process
    with replaced_folder(path, drop=("*",)) if is_main else nullcontext(new_folder(path)) as new:
        accelerator.wait_for_everyone()
        accelerator.save_state(str(new), safe_serialization=False)  # safetensors warns of the tied embeddings
        _write_json(new / f"progress-{accelerator.process_index}.json", dataclasses.asdict(progress))
        accelerator.wait_for_everyone()
        if is_main:
            _write_json(new / _WHOLE, _contents(new))
    if is_main:
        remove_old_states(folder, keep_last)
    accelerator.wait_for_everyone()
    return path


def remove_old_states(folder: Path, keep_last: int) -> None:
    """Remove all but the `keep_last` newest states; a user's files in them stay."""
    for old in sorted(states(folder))[:-keep_last]:
        for path in sorted(old.rglob("*"), reverse=True):  # what lies in a folder before the folder
            name = path.relative_to(old).as_posix()
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):  # something is left in it
                    path.rmdir()
            elif any(fnmatch.fnmatchcase(name, one) for one in STATE_FILES):
                path.unlink()
        with suppress(OSError):
            old.rmdir()


def load_state(path: Path, accelerator: Accelerator) -> Progress:
    """Put model, optimizer, schedule and random generators back; returns where the training was.

    Raises:
        ValueError: the state was written by another number of processes.
    """
    own = path / f"progress-{accelerator.process_index}.json"
    written = len(list(path.glob("progress-*.json")))
    if written != accelerator.num_processes:
        raise ValueError(
            f"{path}: was written by {written} processes, there are {accelerator.num_processes}; resume with as many, "
            "or start again with --resume never"
        )
    accelerator.load_state(str(path))
    return Progress(**json.loads(own.read_text(encoding="utf-8")))


def newest_state(folder: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest whole state of a run folder, and what is wrong with each newer one, which is broken."""
    broken = {}
    for path in sorted(states(folder), reverse=True):
        problem = _problem(path)
        if problem is None:
            return path, broken
        broken[path] = f"{path.name}: {problem}"
    return None, broken


def states(folder: Path) -> Iterator[Path]:
    """The states of a run folder that have their final name."""
    return (path for path in folder.glob(f"{PREFIX}*") if path.is_dir() and path.suffix != ".partial")


def _problem(path: Path) -> str | None:
    """What is wrong with a state, or `None`."""
    try:
        wanted = json.loads((path / _WHOLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{_WHOLE} is missing or cut off"
    found = _contents(path)
    wrong = sorted(name for name, facts in wanted.items() if found.get(name) != facts)
    return f"{', '.join(wrong[:3])}: missing or changed" if wrong else None


def _contents(path: Path) -> dict[str, list]:
    """File -> size and SHA-256, of everything but the list itself."""
    return {
        file.relative_to(path).as_posix(): [file.stat().st_size, file_digest(file)]
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != _WHOLE
    }


def _write_json(path: Path, content) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
