"""Spoils raw inputs one file at a time and runs `unimse prepare` on them: one clear line must say what is wrong.

    python -m tests.fuzz_loaders --count 2000 --seed 0 [--only csv,csd] [--out messages.txt]
    python -m tests.fuzz_loaders --seed 0 --case 137 --keep /tmp/case      one case again, its files kept

Case `n` of a seed is always the same. Each runs in a forked process with limits of time and memory, and must end with
exit code 0 or 1. With 1: one line `unimse prepare: ...` on stderr, printable and not endless, nothing written. With 0:
an output that can be read and has only usable values.
"""

import argparse
import contextlib
import io
import json
import math
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from tests.fuzz_corpus import TOPICS, Source, make_corpus
from tests.fuzz_mutations import Mutation, mutation_groups
from tests.fuzz_structures import MARKER

SECONDS = 20.0
MEMORY = 3 * 2**30  # bytes beyond what the libraries have mapped
LONGEST_MESSAGE = 1200
PREFIX = "unimse prepare:"
LIBRARY_WORDS = re.compile(  # what a library wrote for programmers; in brackets, after our own words, it may stand
    r"Errno|codec can't|could not convert|has no attribute|unsupported operand|np\.\w+\(|<class"
    r"|0x[0-9a-f]{8}|not subscriptable|object is not|out of bounds|out of range|invalid literal|broadcast|unhashable"
)
Command = Callable[[list[str]], int]
Corpus = Sequence[tuple[Source, Path]]


@dataclass(frozen=True)
class Case:
    """One spoilt input: `arguments` is the command line, `folder` holds the input and what the command writes."""

    number: int
    source: Source
    mutation: str
    target: str
    folder: Path
    arguments: list[str]

    @property
    def name(self) -> str:
        return f"case {self.number}: {self.source.name} {self.mutation} {self.target}"


@dataclass
class Outcome:
    """How a command ended. `code` is `None` when it had to be stopped, negative after a signal."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float
    problems: list[str] = field(default_factory=list)


def prepare_command(arguments: list[str]) -> int:
    """The command as a user runs it, in this process."""
    from trainer.cli import main as run_command

    return run_command(arguments)


def untouched(source: Source, place: Path, folder: Path) -> Case:
    """A source as it is: it must be prepared without a word."""
    shutil.copytree(place, folder / "raw")
    return Case(-1, source, "untouched", "", folder, _command_line(source, folder))


def _command_line(source: Source, folder: Path) -> list[str]:
    given = folder / "raw" / source.single if source.single else folder / "raw"
    return ["prepare", source.benchmark, str(given), str(folder / "out"), *source.options]


def make_case(number: int, seed: int, corpus: Corpus, folder: Path) -> Case:
    """Copy a source into `folder`, which must not exist, and spoil one of its files."""
    random = Random(seed * 1_000_003 + number)
    topic = random.choice(sorted({source.topic for source, _ in corpus}))
    source, place = random.choice([pair for pair in corpus if pair[0].topic == topic])
    shutil.copytree(place, folder / "raw")
    target = random.choice(source.files(folder / "raw"))
    mutation = _choose(random, target)
    _spoil(random, mutation, target)
    where = str(target.relative_to(folder / "raw"))
    return Case(number, source, mutation.__name__, where, folder, _command_line(source, folder))


def _choose(random: Random, target: Path) -> Mutation:
    return random.choice(random.choice(mutation_groups(target)))


def _spoil(random: Random, mutation: Mutation, target: Path) -> None:
    try:
        mutation(random, target)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, OSError, RuntimeError):
        target.unlink(missing_ok=True)  # what this file does not allow becomes the plainest of mutations
        target.write_bytes(random.randbytes(50))


# ---- running


def run_isolated(command: Command, arguments: list[str], seconds: float = SECONDS, memory: int = MEMORY) -> Outcome:
    """Run `command(arguments)` in a forked process of its own group; what outlives `seconds` is killed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / "stdout", Path(folder) / "stderr"]
        words = (command, arguments, outputs, memory)
        process = multiprocessing.get_context("fork").Process(target=_run_here, args=words)
        process.start()
        process.join(seconds)
        stopped = process.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started
        process.join()
        stdout, stderr = (path.read_text(errors="replace") if path.is_file() else "" for path in outputs)
    return Outcome(None if stopped else process.exitcode, stdout, stderr, time.monotonic() - began)


def _run_here(command: Command, arguments: list[str], outputs: list[Path], memory: int) -> None:
    """In the forked process: never returns to the caller's code, as that would go on with the parent's work."""
    os.setsid()
    for stream, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(1, "wb", closefd=False)),
        io.TextIOWrapper(open(2, "wb", closefd=False), errors="backslashreplace"),
    )
    limit = _mapped_bytes() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    code = 70
    try:
        code = command(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # whatever gets here is a finding, and it must not reach the parent's code
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


# ---- judging


def judge(outcome: Outcome, case: Case) -> list[str]:
    """Everything that is wrong with how the command of a case ended."""
    folder = case.folder
    problems = _wrong_ending(outcome)
    lines = [line for line in outcome.stderr.split("\n") if line.strip()]
    if outcome.code in (1, 2):
        problems += _wrong_message(lines, outcome.code, _names(case))
        problems += [f"left behind: {path.name}" for path in sorted(folder.iterdir()) if path.name != "raw"]
    elif outcome.code == 0:
        problems += [f"exit code 0 with words on stderr: {line[:200]}" for line in lines[:1]]
        problems += _wrong_output(folder / "out")
    if (folder / "raw" / MARKER).exists():
        problems.append("code of the input was run")
    return problems


def _wrong_ending(outcome: Outcome) -> list[str]:
    problems = []
    if outcome.code is None:
        problems.append(f"not finished after {outcome.seconds:.0f} s")
    elif outcome.code < 0:
        problems.append(f"killed by signal {-outcome.code}")
    elif outcome.code == 2:
        problems.append("exit code 2 (usage) for right usage")
    if "Traceback" in outcome.stderr:
        problems.append(f"traceback: {_last_words(outcome.stderr)}")
    elif outcome.code is not None and outcome.code > 2:
        problems.append(f"exit code {outcome.code}")
    return problems


def _last_words(stderr: str) -> str:
    """The exception of a traceback and the last place of it in this project."""
    places = re.findall(r'File "[^"]*?/((?:dataset_scripts|trainer|modeling_unimse)/[^"]+)", line (\d+)', stderr)
    where = ":".join(places[-1]) if places else "?"
    return f"{where}: {stderr.strip().splitlines()[-1][:300]}"


def _names(case: Case) -> set[str]:
    """What a message can name: the benchmark, or a file or folder of the input."""
    inside = (case.folder / "raw").rglob("*") if case.folder.is_dir() else ()
    return {case.source.benchmark, "raw", Path(case.target).name, *(path.stem for path in inside)}


def _wrong_message(lines: list[str], code: int, names: set[str]) -> list[str]:
    if len(lines) != 1 or not lines[0].startswith(PREFIX):
        shown = " | ".join(line[:200] for line in lines[:3]) or "nothing"
        return [f"exit code {code}: expected one line '{PREFIX} ...', got {len(lines)}: {shown}"]
    problems = []
    if len(lines[0]) > LONGEST_MESSAGE:
        problems.append(f"message of {len(lines[0])} characters: {lines[0][:200]}")
    if not lines[0].isprintable():
        problems.append(f"unprintable message: {lines[0][:200]!a}")
    if LIBRARY_WORDS.search(re.sub(r"\(.*\)", "", lines[0])):
        problems.append(f"words of a library: {lines[0][:300]}")
    if not any(name and name in lines[0].removeprefix(PREFIX) for name in names):
        problems.append(f"names no file: {lines[0][:300]}")
    return problems


def _wrong_output(out: Path) -> list[str]:
    """Not readable, not strict JSON, or values that a training could not use."""
    import pyarrow.parquet

    problems, rows = [], 0
    for name in ("prepare-report.json", "features.json"):
        try:
            json.loads((out / name).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {error}")
    for path in sorted(out.glob("data/**/*.parquet")):
        table = pyarrow.parquet.read_table(path)
        rows += len(table)
        problems += [f"{path.relative_to(out)}: {problem}" for problem in _wrong_rows(table)]
    return problems if rows else [*problems, "no row was written"]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not strict JSON")


def _wrong_rows(table) -> list[str]:
    problems = []
    scores = [value for value in table["sentiment"].to_pylist() if value is not None]
    if not all(math.isfinite(value) and -3 <= value <= 3 for value in scores):
        problems.append(f"sentiment outside [-3, 3]: {scores}")
    if any(text is not None and not text.strip() for text in table["text"].to_pylist()):
        problems.append("empty text")
    for column in (name for name in table.column_names if name.endswith("_features")):
        cells = [cell for chunk in table[column].chunks for cell in getattr(chunk, "storage", chunk).to_pylist()]
        for cell in (np.asarray(cell) for cell in cells if cell is not None):
            if cell.size == 0 or not np.isfinite(cell).all():
                problems.append(f"{column}: empty or not finite")
    for start, end in zip(table["start"].to_pylist(), table["end"].to_pylist(), strict=True):
        if not all(value is None or (math.isfinite(value) and value >= 0) for value in (start, end)):
            problems.append(f"start {start}, end {end}")
    return sorted(set(problems))


# ---- many cases


@dataclass
class Summary:
    """Messages and endings of many cases; messages are also what the command prints about clips."""

    messages: Counter = field(default_factory=Counter)
    codes: Counter = field(default_factory=Counter)
    failed: list[tuple[Case, Outcome]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # sources that fail as they are

    def add(self, case: Case, outcome: Outcome) -> None:
        self.codes[outcome.code] += 1
        refused = outcome.stderr.splitlines() if outcome.code == 1 else []
        kept = [line for line in outcome.stdout.splitlines() if " clips " in line] if outcome.code == 0 else []
        for line in refused + kept:
            self.messages[f"{case.source.name}: {normalised(line, case.folder)}"] += 1
        if outcome.problems:
            self.failed.append((case, outcome))

    def lines(self) -> list[str]:
        """Findings that are alike once, with one case each; then the messages by how often they came."""
        alike: dict[str, list[str]] = {}
        for case, outcome in self.failed:
            for problem in outcome.problems:
                alike.setdefault(normalised(problem, case.folder), []).append(case.name)
        found = [f"FAIL {len(names):4} x {problem}  [{names[0]}]" for problem, names in sorted(alike.items())]
        said = [f"{count:5} x {message}" for message, count in self.messages.most_common()]
        return [*found, *said]


def normalised(line: str, folder: Path) -> str:
    """A message without what differs from case to case: paths of the case, numbers, odd words."""
    line = line.removeprefix(PREFIX).strip().replace(str(folder), "")
    line = re.sub(r"(?<!\w)'[^']*'(?!\w)", "'..'", line)
    return re.sub(r"-?\d+(\.\d+)?(e[+-]?\d+)?", "0", line)[:300]


def fuzz(numbers: Sequence[int], seed: int, corpus: Corpus, command: Command, folder: Path) -> Summary:
    """Run every source as it is, then the cases of these numbers; `folder` is filled and emptied again each time."""
    summary = Summary()
    place = folder / "case"
    for source, files in corpus:
        _run(untouched(source, files, place), command, summary)
    for case in (make_case(number, seed, corpus, place) for number in numbers):
        _run(case, command, summary)
    return summary


def _run(case: Case, command: Command, summary: Summary) -> None:
    """Run one case and remove its files. Of a source that is refused as it is, nothing can be learnt."""
    if case.source.name not in summary.refused:
        outcome = run_isolated(command, case.arguments)
        if case.mutation == "untouched" and outcome.code != 0:
            summary.refused.add(case.source.name)
            outcome.problems.append(f"the source itself is refused: {outcome.stderr.strip()[-300:]}")
        outcome.problems += judge(outcome, case)
        summary.add(case, outcome)
    shutil.rmtree(os.fsencode(case.folder))


def import_everything() -> None:
    """Once, before forking; one thread, as threads do not come along into a fork."""
    import av  # noqa: F401
    import datasets
    import h5py  # noqa: F401
    import torch

    import dataset_scripts.prepare
    import trainer.cli  # noqa: F401

    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    assert dataset_scripts.prepare


def show_case(number: int, seed: int, corpus: Corpus, folder: Path) -> int:
    """Run one case again and leave its files in `folder`."""
    case = make_case(number, seed, corpus, folder)
    outcome = run_isolated(prepare_command, case.arguments)
    problems = judge(outcome, case)
    print(case.name, " ".join(case.arguments), outcome.stdout, outcome.stderr, *problems, sep="\n")
    return bool(problems)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_loaders", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(TOPICS), help=f"topics: {','.join(TOPICS)}")
    parser.add_argument("--source", default="", help="only sources with this in their names")
    parser.add_argument("--out", type=Path, help="file for the messages; without it they are printed")
    parser.add_argument("--case", type=int, help="run this one case and show all of it")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-case"), help="with --case: a folder to make")
    options = parser.parse_args(arguments)
    import_everything()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder) / "corpus", tuple(options.only.split(",")), options.source)
        if options.case is not None:
            return show_case(options.case, options.seed, corpus, options.keep)
        summary = fuzz(range(options.count), options.seed, corpus, prepare_command, Path(folder))
    _print(summary, time.monotonic() - began, options.out)
    return bool(summary.failed)


def _print(summary: Summary, seconds: float, out: Path | None) -> None:
    lines, count = summary.lines(), sum(summary.codes.values())
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
        lines = [line for line in lines if line.startswith("FAIL")]
    endings = ", ".join(f"{code}: {times}" for code, times in summary.codes.most_common())
    print(*lines, f"{count} runs, {count / seconds:.1f} a second; by exit code {endings}", sep="\n")
    print(f"{len(summary.failed)} runs went wrong")


if __name__ == "__main__":
    sys.exit(main())
