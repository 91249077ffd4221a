"""Breaks every command of `unimse` that writes, at every file operation: the old output or the new one must be whole.

    python -m tests.break_writes [--commands prepare,label] [--every 10] [--modes kill,full,twice] [--seed 0] [--list]

kill     the command is killed at a file operation
full     the file operation fails with ENOSPC, and so does from then on everything that needs space
twice    two of the same command run at once

Afterwards foreign files are as they were, the next command finds the old output or the new one, the same command goes
on or refuses in one line, and nothing is left over. Commands and sandboxes: `tests.break_commands`; running
and judging: `break_processes`, `break_snapshots`, `break_trials`; the faults themselves: `file_faults.c`, compiled at
use by `cc` and loaded by LD_PRELOAD.
"""

import argparse
import gc
import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.break_commands import Variant, all_variants
from tests.break_processes import Workshop
from tests.break_trials import Problem, Tally, Trials

ROOT = Path(__file__).resolve().parents[1]
FAULTS = Path(__file__).with_name("file_faults.c")
PLACE = "UNIMSE_BREAK_WRITES"  # in the environment of the process with the faults: its folder
MODES = ("kill", "full", "twice")
COMMANDS = tuple(dict.fromkeys(variant.command for variant in all_variants()))
LIBRARIES = (  # imported by commands when they need them
    *(
        "accelerate",
        "av",
        "datasets",
        "evaluate",
        "filelock",
        "h5py",
        "httpx2",
        "matplotlib.pyplot",
        "peft",
        "scipy.signal",
    ),
    *("pyarrow.parquet", "safetensors.torch", "scipy.sparse", "scipy.stats", "sklearn.feature_extraction.text"),
    *("sklearn.manifold", "sklearn.metrics", "tokenizers", "torch", "tqdm", "transformers", "yaml", "multiprocess"),
    *("transformers.models.t5.modeling_t5", "transformers.generation.utils", "huggingface_hub.hf_api"),
    *("transformers.modeling_utils", "tests.trainer.conftest", "tests.dataset_scripts.conftest"),
)


class NoFaults(RuntimeError):
    """Faults cannot be made here: there is no `cc`, or it is not Linux."""


def run(
    commands: Sequence[str] = COMMANDS, every: int = 1, modes: Sequence[str] = MODES, seed: int = 0
) -> list[Problem]:
    """Break commands in a process of its own, which prints the table; returns what was wrong.

    Args:
        commands: names, or `command/variant`.
        every: try only every so many-th file operation.
        modes: of `MODES`.
        seed: which of them, and when the second of two commands starts.

    Raises:
        NoFaults: without `cc`, or not on Linux.
        RuntimeError: the process failed; it says why on stderr.
    """
    with tempfile.TemporaryDirectory(prefix="break-writes-") as name:
        folder = Path(name).resolve()
        library = _compile(folder)
        words = ["--commands", ",".join(commands), "--every", str(every), "--modes", ",".join(modes)]
        command = [sys.executable, "-m", "tests.break_writes", *words, "--seed", str(seed)]
        subprocess.run(command, cwd=ROOT, env=_environment(folder, library), check=False)
        found = folder / "problems.json"
        if not found.is_file():
            raise RuntimeError("break_writes: the process with the faults did not come to its end")
        return [Problem(**problem) for problem in json.loads(found.read_text(encoding="utf-8"))]


def _compile(folder: Path) -> Path:
    if sys.platform != "linux":
        raise NoFaults(f"{FAULTS.name} is for Linux, this is {sys.platform}")
    if shutil.which("cc") is None:
        raise NoFaults(f"{FAULTS.name} must be compiled, and there is no `cc` here; install a C compiler")
    library = folder / "file_faults.so"
    options = ["-shared", "-fPIC", "-O1", "-U_FORTIFY_SOURCE"]  # fortified calls have other names
    subprocess.run(["cc", *options, "-o", str(library), str(FAULTS), "-ldl"], check=True)
    return library


def _environment(folder: Path, library: Path) -> dict[str, str]:
    """Caches and temporary files lie outside of the sandbox, so that they do not count; nothing is downloaded."""
    places = {
        "HF_HOME": "hf",
        "HF_DATASETS_CACHE": "hf/datasets",
        "TRACKIO_DIR": "trackio",
        "MPLCONFIGDIR": "matplotlib",
        "TMPDIR": "tmp",
    }
    for place in places.values():
        (folder / place).mkdir(parents=True, exist_ok=True)
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MPLBACKEND": "Agg"}
    own = {name: str(folder / place) for name, place in places.items()}
    return {**os.environ, **own, **threads, **offline, PLACE: str(folder), "LD_PRELOAD": str(library)}


# ---- in the process with the faults


def _import_everything() -> None:
    """Once, before forking; nothing is computed here."""
    import dataset_scripts
    import trainer

    for name in LIBRARIES:
        importlib.import_module(name)
    for package in (dataset_scripts, trainer):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    import datasets
    import matplotlib.font_manager  # noqa: F401  its list of fonts takes seconds to make
    import torch

    from trainer.checkpointing import environment

    environment()  # asks git for the commit, once for all
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    gc.freeze()


def _break_all(variants: Sequence[Variant], every: int, modes: Sequence[str], seed: int, folder: Path) -> list[Problem]:
    """Break each variant in turn; a line of progress each, then the table and the findings."""
    _import_everything()
    workshop, tallies = Workshop(folder / "work"), {}
    workshop.folder.mkdir()
    for variant in variants:
        print(f"{variant.title} ...", end=" ", file=sys.stderr, flush=True)
        try:
            tally = Trials(variant, workshop).run(modes, every, seed)
        except RuntimeError as error:  # the command itself does not do what the table of commands says
            tally = Tally(problems=[Problem(variant.title, "undisturbed", 0, " ".join(str(error).split())[-600:])])
        tallies[variant.title] = tally
        tried = sum(tally.tried.values())
        said = f"{tally.operations} operations, {tried} trials, {tally.seconds:.0f} s, {len(tally.problems)} problems"
        print(said, file=sys.stderr, flush=True)
    print(*_table(tallies), *_said(tallies), *_findings(tallies), sep="\n")
    return [problem for tally in tallies.values() for problem in tally.problems]


def _table(tallies: dict[str, Tally]) -> list[str]:
    rows = [("command", "operations", *MODES, "s/trial", "outcomes", "problems")]
    for title, tally in tallies.items():
        tried = sum(tally.tried.values())
        speed = f"{tally.seconds / tried:.1f}" if tried else "-"
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(tally.outcomes.items()) if count)
        numbers = [str(tally.tried[mode]) for mode in MODES]
        rows.append((title, str(tally.operations), *numbers, speed, outcomes or "-", str(len(tally.problems))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, ""]


def _said(tallies: dict[str, Tally]) -> list[str]:
    """The lines in which commands refused, to be read."""
    return [
        f"said {count:4} x {title} {message}"
        for title, tally in tallies.items()
        for message, count in tally.messages.most_common()
    ]


def _findings(tallies: dict[str, Tally]) -> list[str]:
    """Problems that are alike once, with the steps at which they came."""
    alike: dict[tuple[str, str, str], list[int]] = {}
    for tally in tallies.values():
        for problem in tally.problems:
            alike.setdefault((problem.variant, problem.mode, problem.text), []).append(problem.step)
    return [
        f"FAIL {len(steps):4} x {title} {mode}: {text}  [steps {', '.join(map(str, steps[:6]))}]"
        for (title, mode, text), steps in alike.items()
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.break_writes", description=__doc__.splitlines()[0])
    parser.add_argument("--commands", default=",".join(COMMANDS), help="names, or command/variant; default: all")
    parser.add_argument("--every", type=int, default=1, help="try every so many-th file operation only")
    parser.add_argument("--modes", default=",".join(MODES), help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="which operations with --every; when the second starts")
    parser.add_argument("--list", action="store_true", help="list commands and variants; nothing is run")
    options = parser.parse_args(arguments)
    wanted, modes = options.commands.split(","), options.modes.split(",")
    variants = [one for one in all_variants() if one.command in wanted or one.title in wanted]
    unknown = {*wanted} - {one.command for one in variants} - {one.title for one in variants}
    if unknown or {*modes} - {*MODES} or options.every < 1:
        known = f"commands {', '.join(COMMANDS)}; modes {', '.join(MODES)}; --every from 1"
        parser.error(f"expected {known}; got {options.commands}, {options.modes}, {options.every}")
    if options.list:
        print(*(f"{one.title:20} unimse {' '.join(one.words)}" for one in variants), sep="\n")
        return 0
    if PLACE in os.environ:
        folder = Path(os.environ[PLACE])
        problems = _break_all(variants, options.every, modes, options.seed, folder)
        (folder / "problems.json").write_text(json.dumps([asdict(problem) for problem in problems]), encoding="utf-8")
        return bool(problems)
    try:
        problems = run(wanted, options.every, modes, options.seed)
    except RuntimeError as error:
        print(f"break_writes: {error}", file=sys.stderr)
        return 2
    print(f"{len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
