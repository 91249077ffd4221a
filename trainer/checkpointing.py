"""The run folder, and checkpoints that exist only when whole.

runs/<run>/seed-<seed>/
    config.yaml              the resolved configuration
    environment.json         command, commit, versions, seed, number of processes, fingerprints of the data; the same of
                             each time that the run was resumed
    log.jsonl                a line every few steps: loss terms, rates, speed; and one a validation: metrics
    base/                    with `peft`: the model that the adapter stands on (trainer/adapters.py)
    trackers.json            the run's name in trackers; tensorboard/ and wandb/ hold theirs (trainer/watching.py)
    state-<step>/            what a killed run goes on from (trainer/state.py)
    checkpoint-best/         model and processor with the best validation metric, as `from_pretrained` reads them
    validation.json          its validation results, in the form of results.json
    pending/ pushed.json     with `push_to_hub`: what the Hub does not have yet, and what it has (trainer/uploads.py)
    bad-batch-<process>.json the samples at which a loss was no number
    predictions.parquet      test predictions, one row a sample
    results.json             test metrics with protocol, seed and data (see trainer/results_file.py)
"""

import dataclasses
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import yaml
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from dataset_scripts.ranks import is_helper
from trainer.arguments import RunConfig
from trainer.state import PREFIX, newest_state, remove_partial

BEST = "checkpoint-best"
LOCK_WAIT = 10.0  # seconds: data workers of a killed run hold its lock until they notice
# Fields that may differ when a run goes on: they decide where and how it runs, not what comes out.
_FREE = {
    *("seeds", "overwrite", "resume", "keep_last", "save_every", "log_every", "data_workers", "output_dir"),
    *("push_to_hub", "trackers"),
}
_ABSOLUTE = re.compile(r"""(?<![\w.~:/-])/[^\s,\[\]{}"'=]+""")  # alone, behind `--name=`, or in a list
_PACKAGES = ("torch", "transformers", "datasets", "accelerate", "evaluate", "peft", "huggingface_hub", "numpy")


def run_folder(config: RunConfig, seed: int) -> Path:
    """Where one training of a run is kept."""
    return Path(config.output_dir) / config.run / f"seed-{seed}"


@contextmanager
def only_here(folder: Path) -> Iterator[None]:
    """No other run trains in the folder meanwhile, such as processes that outlived their launcher.

    The lock is the system's, so that a kill frees it.

    Raises:
        FileExistsError: another one does.
    """
    if is_helper():
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=LOCK_WAIT):
            yield
    except Timeout:
        raise FileExistsError(f"{folder}: another process is training here; wait for it, or end it") from None


def is_finished(folder: Path, config: RunConfig) -> bool:
    """Whether this very run has ended before.

    Raises:
        FileExistsError: a finished run of this name and seed has another configuration.
    """
    if config.overwrite or not (folder / "results.json").is_file():
        return False
    if config.resume == "auto" and not changed_fields(folder, config):
        return True
    changed = ", ".join(changed_fields(folder, config)) or "none, but resume is never"
    raise FileExistsError(
        f"{folder}: a finished run stands here (changed since: {changed}); give another --run_name NAME, or pass "
        "--overwrite true"
    )


def open_run_folder(folder: Path, config: RunConfig, facts: dict, accelerator) -> Path | None:
    """Make the run folder ready: to go on from its newest whole state, which is returned, or to begin.

    Raises:
        ValueError: a run of another configuration was begun here.
    """
    state = None
    if accelerator.is_main_process:
        state = _resumable(folder, config)
        if state is None:
            _start_run_folder(folder, config, facts)
        else:
            _note_resumption(folder, state, facts)
    found = broadcast_object_list([state])
    return found[0]


def _note_resumption(folder: Path, state: Path, facts: dict) -> None:
    """Who went on with the run: another commit or version may have."""
    path = folder / "environment.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["resumed"] = [*content.get("resumed", []), {"from": state.name, **facts}]
    write_json(path, content)


def changed_fields(folder: Path, config: RunConfig) -> list[str]:
    """Fields of the configuration that are not those of the run folder, but for those that do not change a run."""
    before = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    now = yaml.safe_load(_as_yaml(config))
    return sorted(name for name in {*before, *now} - _FREE if before.get(name) != now.get(name))


def settings_digest(config: RunConfig, facts: dict) -> str:
    """8 digits of the SHA-256 over all that makes a training but its seed: runs that share a name are told apart by it.

    Args:
        facts: what stands for the data, which lie elsewhere on other machines.
    """
    fields = {name: value for name, value in dataclasses.asdict(config).items() if name not in {*_FREE, "data", "run"}}
    for name in ("backbone", "tokenizer"):
        fields[name] = fields[name] and Path(fields[name]).name
    text = json.dumps([fields, facts], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:8]


def _resumable(folder: Path, config: RunConfig) -> Path | None:
    """The newest whole state of an earlier run of the same configuration."""
    if config.overwrite or config.resume == "never" or not (folder / "config.yaml").is_file():
        return None
    state, broken = newest_state(folder)
    for line in broken:
        print(f"passed over, broken: {line}")
    if state is None:
        return None
    if changed := changed_fields(folder, config):
        raise ValueError(
            f"{folder}: a run with other {', '.join(changed)} was begun here; give another --run_name NAME, or start "
            "again with --resume never"
        )
    print(f"going on from {state}")
    remove_partial(folder)
    _restore_best(folder)
    _cut_log(folder / "log.jsonl", int(state.name.removeprefix(PREFIX)))
    return state


def _restore_best(folder: Path) -> None:
    """A kill between two renames leaves the best checkpoint under its outgoing name."""
    outgoing = folder / f"{BEST}.outgoing"
    if outgoing.is_dir() and not (folder / BEST).exists():
        os.replace(outgoing, folder / BEST)


def _cut_log(path: Path, step: int) -> None:
    """Take out what was logged after a step: it will be logged again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        os.replace(partial, path)


def _start_run_folder(folder: Path, config: RunConfig, facts: dict):
    """An empty run folder with `config.yaml` and `environment.json`: nothing of an earlier run stands beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(_as_yaml(config), encoding="utf-8")
    write_json(folder / "environment.json", facts)


def _as_yaml(config: RunConfig) -> str:
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)


def environment() -> dict:
    """Command, commit of the code (`None` outside a checkout) and package versions."""
    return {
        "command": command_line(sys.argv, Path.cwd()),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def command_line(words: Sequence[str], here: Path) -> str:
    """A command as others may read it: quoted for a shell, and without the places of one machine.

    Absolute paths below `here` become relative, of others the last two parts are kept.
    """
    program = Path(words[0])
    started = ["python", "-m", f"trainer.{program.stem}"] if program.suffix == ".py" else [program.name]
    return shlex.join(
        [*started, *(_ABSOLUTE.sub(lambda found: _shortened(Path(found[0]), here), word) for word in words[1:])]
    )


def _shortened(path: Path, here: Path) -> str:
    return str(path.relative_to(here)) if path.is_relative_to(here) else "/".join(path.parts[1:][-2:])


@cache
def _commit() -> str | None:
    """The commit of this file's checkout, `-dirty` with uncommitted changes; `None` where git does not track it."""

    def git(*arguments: str) -> subprocess.CompletedProcess:
        command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    if shutil.which("git") is None or git("ls-files", "--error-unmatch", Path(__file__).name).returncode:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    return git("rev-parse", "HEAD").stdout.strip() + ("-dirty" if changed else "")


def save_checkpoint(folder: Path, model, processor, weights: dict | None = None):
    """Model and processor, written aside and renamed: what stands at `folder` is whole, or absent for a moment.

    Args:
        weights: of a model that does not hold them all itself, see `trainer.sharding.whole_weights`.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    # Of a PeftModel the embeddings are the base's; asking the Hub whether they changed would be in vain.
    extra = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(partial, state_dict=weights, **extra)
    processor.save_pretrained(partial)
    outgoing = folder.with_name(f"{folder.name}.outgoing")
    shutil.rmtree(outgoing, ignore_errors=True)
    if folder.exists():
        os.replace(folder, outgoing)
    os.replace(partial, folder)
    shutil.rmtree(outgoing, ignore_errors=True)


def write_json(path: Path, content):
    """Writes JSON aside and renames it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
