"""What `tests.break_writes` does with one command: breaks it, and judges what is left."""

import re
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.break_commands import RUN, Variant, Words, check_run
from tests.break_processes import FULL, KILL, SECONDS, Ended, Fault, Forked, Workshop
from tests.break_snapshots import all_names, differing, is_aside, shown, snapshot, surroundings

TWICE = 4  # repetitions


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    variant: str
    mode: str
    step: int
    text: str


@dataclass
class Tally:
    """What came of the trials of one variant."""

    operations: int = 0
    tried: Counter = field(default_factory=Counter)  # by mode
    outcomes: Counter = field(default_factory=Counter)
    messages: Counter = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0


class Trials:
    """All trials of one variant: first the undisturbed command, twice, then each fault.

    Raises:
        RuntimeError: the command itself fails, or gives another output each time.
    """

    def __init__(self, variant: Variant, workshop: Workshop):
        self.variant, self.workshop, self.box = variant, workshop, workshop.box
        self.tally, self.noise = Tally(), set()
        self.template = workshop.template(variant)
        self.old, self.around = snapshot(self.box, variant), surroundings(self.box, variant)
        first = self._undisturbed()
        self.new, self.names = snapshot(self.box, variant), all_names(self.box)
        self.tally.operations, self.seconds = first.counted, first.seconds
        self._note("undisturbed", 0, touched := self._touched())
        for text in touched:  # known now, and not said again for each trial
            del self.around[text.split(": ", 1)[1]]
        self.refused = first.code != variant.code
        if self.refused:
            self.tally.messages[f"undisturbed: {self._message(first)}"] += 1
            self.tally.outcomes["refused undisturbed"] += 1
            changed = [f"refused, and changed: {shown(names)}"] if (names := differing(self.old, self.new)) else []
            self._note("undisturbed", 0, self._wrong_line(first) + changed)
            return
        self.noise = {self._readable(line) for line in first.lines if not line.startswith("unimse ")}
        if not first.counted:
            raise RuntimeError(f"{variant.title}: it writes nothing: {first.stderr[-1500:]}")
        self._undisturbed()
        if changed := differing(self.new, snapshot(self.box, variant)):
            raise RuntimeError(f"{variant.title}: two undisturbed runs differ in {', '.join(changed)}")

    def _undisturbed(self) -> Ended:
        self.workshop.reset([self.template])
        ended = self.workshop.run(self.variant.words, Fault())
        if ended.code != self.variant.code and not (ended.code == 1 and self.variant.may_refuse):
            raise RuntimeError(f"{self.variant.title}: undisturbed it ended with {ended.code}: {ended.stderr[-1500:]}")
        return ended

    def run(self, modes: Sequence[str], every: int, seed: int) -> Tally:
        """Try every `every`-th step in each mode."""
        began = time.monotonic()
        for mode in modes if not self.refused else ():
            if mode == "twice":
                random = Random(f"{seed} {self.variant.title}")
                for repetition in range(TWICE):
                    self._twice(repetition, 0.0 if repetition == 0 else random.random() * self.seconds)
            else:
                first = 1 + seed % min(every, self.tally.operations)
                for step in range(first, self.tally.operations + 1, every):
                    self._break(mode, step)
        self.tally.seconds = time.monotonic() - began
        return self.tally

    def _break(self, mode: str, step: int) -> None:
        self.workshop.reset([self.template])
        self.tally.tried[mode] += 1
        first = self.workshop.run(self.variant.words, Fault(step, KILL if mode == "kill" else FULL))
        found = self._wrong_kill(first) if mode == "kill" else self._wrong_full(first)
        found += self._after_fault()
        touched = self._touched()
        again = self.workshop.run(self.variant.words)
        found += touched + [f"again: {text}" for text in self._after_again(again) if text not in touched]
        self._note(mode, step, found)

    def _wrong_kill(self, ended: Ended) -> list[str]:
        """How the killed call ended: at the fault, or, where it needed fewer operations than before, by itself."""
        if ended.code in (-signal.SIGKILL, self.variant.code):
            return []
        return self._wrong_line(ended)

    def _wrong_full(self, ended: Ended) -> list[str]:
        """How the call on the full disk ended: with all done, or with a line that names a file."""
        if ended.code == 0 == self.variant.code:
            return [f"exit code 0, {text}" for text in self._not_new()]
        self.tally.messages[f"full: {self._message(ended)}"] += 1
        found = self._wrong_line(ended)
        outputs = [out.split("*")[0] for out in self.variant.outputs]
        named = [str(self.box), *outputs, *filter(None, (out.rpartition("/")[0] for out in outputs))]
        if not found and self.variant.code == 0 and not any(name in ended.stderr for name in named):
            found.append(f"names no file of the output: {self._message(ended)}")
        return found

    def _after_fault(self) -> list[str]:
        """Run the next commands and look at the output.

        Without a next command only the same one could finish what a fault left between two renames: then no file may
        be torn, but not all need be of one output.
        """
        found = self._check_run() if self.variant.unfinished_between else []
        for words in self.variant.readers:
            found += self._read(words)
        if self.variant.unfinished_between:
            found += [text for text in self._check_run() if text not in found]
            self.tally.outcomes["readable"] += not found
        elif self.variant.readers:
            self.tally.outcomes[self._state()] += 1
            found += self._wrong_state()
        else:
            found += self._torn()
        return found

    def _read(self, words: Words) -> list[str]:
        ended = self.workshop.run(words)
        if ended.code != 0 and (found := self._wrong_line(ended, words[0])):
            return [f"then {text}" for text in found]
        if ended.code != 0 and self._must_be_read():
            return [f"then `{words[0]}` refuses what is there: {self._message(ended)}"]
        return []

    def _must_be_read(self) -> bool:
        """Whether the next command has something that it must accept."""
        if self.variant.unfinished_between:
            return all((self.box / RUN / name).exists() for name in ("checkpoint-best", "results.json"))
        state = self._state()
        return state == "new" or (state in ("old", "mixed") and self.variant.reads_old and bool(self.old))

    def _after_again(self, ended: Ended) -> list[str]:
        """Judge the same command again, undisturbed."""
        if ended.code is None:
            return [f"not finished after {SECONDS:.0f} s"]
        found = self._touched()
        if ended.code == self.variant.code:
            self.tally.outcomes["went on"] += 1
            return found + self._not_new() + self._left_over()
        self.tally.outcomes["refused in a line"] += 1
        self.tally.messages[f"again: {self._message(ended)}"] += 1
        found += self._wrong_line(ended)
        if self.variant.unfinished_between:
            return found + self._check_run()
        return found + self._wrong_state()

    def _twice(self, repetition: int, offset: float) -> None:
        self.workshop.reset([self.template])
        self.tally.tried["twice"] += 1
        first = self.workshop.start(self.variant.words, number=1)
        time.sleep(offset)
        second = self.workshop.start(self.variant.words, number=2)
        ended = [first.wait(), second.wait()]
        found = self._touched()
        for one in ended:
            if one.code == 1 and self.variant.code == 0:
                self.tally.messages[f"twice: {self._message(one)}"] += 1
            found += self._wrong_line(one) if one.code != self.variant.code or one.code else []
        done = sum(one.code == self.variant.code for one in ended)
        self.tally.outcomes[f"{done} of two done"] += 1
        if done:
            found += self._not_new() + self._left_over()
        else:
            found += self._wrong_state()
        self._note("twice", repetition, found)

    # ---- looking

    def _state(self) -> str:
        """`old`, `new`, `mixed` where outputs stand for themselves and are one or the other, else `broken`."""
        now = snapshot(self.box, self.variant)
        if now in (self.new, self.old):
            return "new" if now == self.new else "old"
        if not self.variant.separate:
            return "broken"
        parts = ([self._part(content, out) for content in (now, self.old, self.new)] for out in self.variant.outputs)
        return "mixed" if all(part in (old, new) for part, old, new in parts) else "broken"

    @staticmethod
    def _part(content: dict[str, str], out: str) -> dict[str, str]:
        return {name: digest for name, digest in content.items() if name.startswith(f"{out}/")}

    def _wrong_state(self) -> list[str]:
        """Of which files an output consists that is neither the old nor the new one."""
        if self._state() != "broken":
            return []
        now = snapshot(self.box, self.variant)
        kinds = {self._kind(name, now.get(name)) for name in {*now, *self.old, *self.new}} - {"same"}
        return [f"neither old nor new output: {' + '.join(sorted(kinds))} files"]

    def _kind(self, name: str, digest: str | None) -> str:
        """Whose file this is: `same` where old and new output agree; a file that only one of them has can be absent."""
        old, new = self.old.get(name), self.new.get(name)
        if old is None and new is None:
            return "stray"
        if digest == old or digest == new:
            return "same" if old == new else "new" if digest == new else "absent" if digest is None else "old"
        return "missing" if digest is None else "torn"

    def _torn(self) -> list[str]:
        """Files whose content is neither the old nor the new one; another set of whole files is mended later."""
        now = snapshot(self.box, self.variant)
        torn = [name for name, digest in now.items() if self._kind(name, digest) == "torn"]
        return [f"torn: {shown(torn)}"] if torn else []

    def _not_new(self) -> list[str]:
        now = snapshot(self.box, self.variant)
        wrong = [name for name in differing(self.new, now) if name in self.old or name in self.new]
        return [f"not the new output: {shown(wrong)}"] if wrong else []

    def _touched(self) -> list[str]:
        """What was changed or removed that the command must leave alone."""
        now = surroundings(self.box, self.variant)
        lost = {name: "changed" if name in now else "removed" for name in differing(self.around, now)}
        return [f"{how}: {name}" for name, how in lost.items() if name in self.around]

    def _left_over(self) -> list[str]:
        now = all_names(self.box)
        more = sorted({name for name in now if name not in self.names or is_aside(name)})
        less = sorted(self.names - now - {*self.around})
        outermost = [name for name in more if not any(name.startswith(f"{other}/") for other in more)]
        return [f"left behind: {shown(outermost)}"] * bool(outermost) + [f"not there: {shown(less)}"] * bool(less)

    def _check_run(self) -> list[str]:
        folder = self.box / RUN
        ended = Forked(lambda: print(*check_run(folder), sep="\n") or 0, self.box, self.workshop.folder / "log").wait()
        lines = ended.stdout.splitlines() if ended.code == 0 else [f"run folder cannot be read: {ended.stderr[-200:]}"]
        return [self._readable(line) for line in lines if line]

    def _wrong_line(self, ended: Ended, command: str | None = None) -> list[str]:
        """What is wrong with a command that failed: it must end with 1 and a single line."""
        prefix = f"unimse {command or self.variant.command}:"
        if ended.code is None:
            return [f"{prefix} not finished after {SECONDS:.0f} s"]
        if "Traceback" in ended.stderr:
            places = re.findall(r'File "[^"]*?/((?:dataset_scripts|trainer)/[^"]+)", line (\d+)', ended.stderr)
            where = places[-1][0] if places else "?"
            return [f"{prefix} traceback from {where}: {self._message(ended)}"]
        if ended.code != 1:
            return [f"{prefix} exit code {ended.code}: {self._message(ended)}"]
        lines = self._said(ended)
        if len(lines) != 1 or not lines[0].startswith(prefix):
            return [f"{prefix} expected one line, got {len(lines)}: {self._message(ended)}"]
        return []

    def _said(self, ended: Ended) -> list[str]:
        """The lines on stderr, without warnings of libraries that the undisturbed command gives as well."""
        return [line for line in map(self._readable, ended.lines) if line not in self.noise]

    def _message(self, ended: Ended) -> str:
        said = self._said(ended)
        return " | ".join(said[-1:] if "Traceback" in ended.stderr else said)[:400] or "nothing"

    def _readable(self, text: str) -> str:
        """A message without the place of the sandbox and without numbers, so that alike ones are counted together."""
        text = " ".join(text.replace(f"{self.box}/", "").replace(str(self.workshop.folder), "...").split())
        return re.sub(r"\d{3,}", "0", re.sub(r"\btmp\w{8}\b|\.tmp\w{6}\b", "tmp", text))[:300]

    def _note(self, mode: str, step: int, found: Iterable[str]) -> None:
        self.tally.problems += [
            Problem(self.variant.title, mode, step, self._readable(text)) for text in dict.fromkeys(found)
        ]
