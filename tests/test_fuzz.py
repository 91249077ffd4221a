"""Spoilt inputs end in one clear line; and the harness that says so notices when they do not."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz_corpus import SOURCES, make_corpus
from tests.fuzz_loaders import Case, judge, make_case, normalised, run_isolated
from tests.fuzz_mutations import mutation_groups
from tests.fuzz_structures import MARKER

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def case(tmp_path) -> Case:
    (tmp_path / "case" / "raw").mkdir(parents=True)
    return Case(0, SOURCES[0], "none", "label.csv", tmp_path / "case", ["prepare"])


def problems_of(case: Case, command, **limits) -> str:
    """What the harness finds wrong with a planted command."""
    return "\n".join(judge(run_isolated(command, case.arguments, **limits), case))


def says(message: str, code: int = 1):
    def command(arguments):
        os.write(2, message.encode())
        return code

    return command


def test_spoilt_inputs_end_in_one_clear_line():
    """A hundred mutations of all forms; more with `python -m tests.fuzz_loaders --count 5000 --seed 7`."""
    command = [sys.executable, "-m", "tests.fuzz_loaders", "--count", "100", "--seed", "3"]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300)
    found = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert not found and done.returncode == 0, "\n".join([*found, done.stderr])
    assert f"{100 + len(SOURCES)} runs" in done.stdout


def test_a_clear_line_passes(case):
    assert problems_of(case, says("unimse prepare: label.csv, line 3: expected a number, got 'x'\n")) == ""


def test_a_traceback_is_noticed(case):
    def command(arguments):
        return {}["planted"]

    assert "traceback: ?: KeyError: 'planted'" in problems_of(case, command)


def test_a_hang_is_noticed_and_ended_with_all_its_children(case, tmp_path):
    def command(arguments):
        if os.fork() == 0:
            time.sleep(3)
            (tmp_path / "still here").touch()
        time.sleep(60)

    began = time.monotonic()
    assert "not finished after" in problems_of(case, command, seconds=0.5)
    assert time.monotonic() - began < 3
    time.sleep(3)
    assert not (tmp_path / "still here").exists()


def test_a_hunger_for_memory_is_noticed(case):
    def command(arguments):
        return len(bytearray(2 * 2**30))

    assert "MemoryError" in problems_of(case, command, memory=2**30)


def test_a_sudden_death_is_noticed(case):
    assert "killed by signal 9" in problems_of(case, lambda arguments: os.kill(os.getpid(), 9))


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("", "expected one line"),
        ("unimse prepare: label.csv is odd\nand more\n", "expected one line 'unimse prepare: ...', got 2"),
        ("label.csv is odd\n", "expected one line"),
        ("unimse prepare: label.csv " + "x" * 2000 + "\n", "message of 2026 characters"),
        ("unimse prepare: label.csv \x1b[31m red\n", "unprintable"),
        ("unimse prepare: the file is odd, mend it\n", "names no file"),
        ("unimse prepare: label.csv: invalid literal for int() with base 10\n", "words of a library"),
        ("unimse prepare: 'mosi'\n", ""),
    ],
)
def test_a_bad_message_is_noticed(case, message, problem):
    found = problems_of(case, says(message))
    assert problem in found and bool(found) == bool(problem)


def test_what_a_failure_leaves_behind_is_noticed(case):
    def command(arguments):
        (case.folder / "out.partial-7").mkdir()
        return says("unimse prepare: label.csv is odd\n")(arguments)

    assert problems_of(case, command) == "left behind: out.partial-7"


def test_success_without_an_output_is_noticed(case):
    assert "features.json" in problems_of(case, lambda arguments: 0)
    assert "with words on stderr: odd" in problems_of(case, says("odd", code=0))


def test_code_that_was_run_is_noticed(case):
    def command(arguments):
        (case.folder / "raw" / MARKER).touch()
        return says("unimse prepare: label.csv is odd\n")(arguments)

    assert problems_of(case, command) == "code of the input was run"


def test_a_case_is_the_same_every_time(corpus, tmp_path):
    for number in range(8):
        made = [make_case(number, 5, corpus, tmp_path / f"{number}-{time_}") for time_ in (1, 2)]
        assert made[0].name == made[1].name
        first, second = ([sorted(one.folder.rglob("*")), one.folder / "raw" / one.target] for one in made)
        assert [path.name for path in first[0]] == [path.name for path in second[0]]
        if first[1].is_file():
            assert first[1].stat().st_size == second[1].stat().st_size


def test_every_mutation_works_on_some_file(corpus, tmp_path):
    """One that always fails would silently be replaced by noise."""
    works: dict[str, bool] = {}
    for source, place in corpus:
        for number, original in enumerate(source.files(place)[:2]):
            for mutation in {mutation for group in mutation_groups(original) for mutation in group}:
                for seed in range(4):
                    folder = tmp_path / f"{source.name}-{number}-{mutation.__name__}-{seed}"
                    folder.mkdir()
                    shutil.copy(original, folder)
                    try:
                        mutation(Random(seed), folder / original.name)
                    except (ValueError, TypeError, KeyError, AttributeError, OSError, RuntimeError):
                        works.setdefault(mutation.__name__, False)
                    else:
                        works[mutation.__name__] = True
    assert len(works) > 50 and [name for name, good in works.items() if not good] == []


def test_alike_messages_are_counted_together(tmp_path):
    first = normalised(f"unimse prepare: {tmp_path}/raw/a.csv, line 7: got 'x'", tmp_path)
    assert first == normalised(f"unimse prepare: {tmp_path}/raw/a.csv, line 12: got 'yz'", tmp_path)
