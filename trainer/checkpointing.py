"""The run folder, and checkpoints that exist only when whole.

runs/<run>/seed-<seed>/
    config.yaml              the resolved configuration
    environment.json         command, commit, versions, seed, number of processes, fingerprints of the data; the same of
                             each time that the run was resumed
    log.jsonl                a line every few steps: loss terms, rates, speed; and one a validation: metrics
    base/                    with `peft`: the model that the adapter stands on (trainer/adapters.py)
    trackers.json            the run's name in trackers; tensorboard/ and wandb/ hold theirs (trainer/watching.py)
    state-<step>/            what a killed run goes on from (trainer/state.py)
    broken-state-<step>/     one whose files were changed; kept, and never gone on from
    earlier-<number>-*       best checkpoint, its results and log, of a run whose states were all removed by hand
    checkpoint-best/         model and processor with the best validation metric, as `from_pretrained` reads them
    validation.json          its validation results, in the form of results.json
    pending/ pushed.json     with `push_to_hub`: what the Hub does not have yet, and what it has (trainer/uploads.py)
    bad-batch-<process>.json the samples at which a loss was no number
    predictions.parquet      test predictions, one row a sample
    results.json             test metrics with protocol, seed and data (see trainer/results_file.py)
"""

import dataclasses
import fnmatch
import hashlib
import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.metadata import version
from pathlib import Path

import yaml
from accelerate.utils import broadcast_object_list

import modeling_unimse
from dataset_scripts.ranks import is_helper
from dataset_scripts.schema import BENCHMARKS
from dataset_scripts.utils.files import write_json, write_text
from dataset_scripts.utils.outputs import FolderKind, check_folder, claimed, clear_unfinished, replaced_folder, settle
from trainer.arguments import RunConfig
from trainer.state import PREFIX, STATE_FILES, newest_state, remove_old_states

BEST = "checkpoint-best"
# What `save_pretrained` of model, adapter and processor writes.
CHECKPOINT_FILES = (
    *("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "spiece.model"),
    *("model.safetensors", "model-[0-9]*-of-[0-9]*.safetensors", "model.safetensors.index.json"),
    *(path.name for path in Path(modeling_unimse.__file__).parent.glob("*_unimse.py")),
    *("adapter_config.json", "adapter_model.safetensors", "README.md"),
)
RUN = FolderKind(
    "run folder",
    signs=("config.yaml", "environment.json"),
    files=(
        *("config.yaml", "environment.json", "log.jsonl", "trackers.json", "pushed.json", "bad-batch-[0-9]*.json"),
        *("pending/*", "tensorboard/*", "wandb/*"),
        *("validation.json", "validation-latest.json", "results.json", "predictions.parquet"),
        *(f"{name}{PREFIX}{8 * '[0-9]'}*/{file}" for name in ("", "broken-") for file in STATE_FILES),
        *(f"{name}/{file}" for name in ("base", BEST, "checkpoint-latest") for file in CHECKPOINT_FILES),
        *(f"earlier-[0-9]*-{BEST}/{file}" for file in CHECKPOINT_FILES),
        *("earlier-[0-9]*-validation.json", "earlier-[0-9]*-log.jsonl"),
        *(f"{BEST}.partial/*", f"{BEST}.outgoing/*"),  # of earlier versions
    ),
)
MODEL = FolderKind(
    "UniMSE model",
    signs=("config.json", "processor_config.json", "modeling_unimse.py"),
    files=(
        *(*CHECKPOINT_FILES, "card.yaml", "results.json", "results.parquet", "results.states.parquet"),
        *("predictions.parquet", "results/*/*.json", "results/*/*.parquet"),
        *(f".eval_results/{name}.yaml" for name in BENCHMARKS),
    ),
)
# Parts of a run folder that a kill can leave half written. Others evaluate into it: what is theirs stays.
UNFINISHED = (f"{PREFIX}*", "checkpoint-*", "base", "config.yaml", "environment.json", "log.jsonl", "results", "push")
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


def only_here(folder: Path) -> AbstractContextManager:
    """No other run trains in the folder meanwhile, such as processes that outlived their launcher.

    Raises:
        FileExistsError: another one does.
    """
    return nullcontext() if is_helper() else claimed(folder, wait=LOCK_WAIT)


def check_model_folder(out: Path, overwrite: bool, sources: Sequence[Path]) -> None:
    """Refuse a folder that a model must not be laid out in: see `check_folder`; nor in a part of a run folder."""
    check_folder(out, MODEL, overwrite, sources)
    if RUN.is_in(out.parent) and any(fnmatch.fnmatchcase(f"{out.name}/config.json", one) for one in RUN.files):
        raise FileExistsError(f"{out}: is a part of the run in {out.parent}; name another folder")


def check_run_folder(folder: Path, config: RunConfig) -> None:
    """Refuse a run folder that a training must not go on in, nor begin anew.

    Raises:
        FileExistsError: it holds files of another kind.
        ValueError: a run of another configuration was begun here.
    """
    settle(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: is a file; give another --run_name NAME or --out DIR")
    if folder.is_dir() and any(folder.iterdir()) and not RUN.is_in(folder):
        raise FileExistsError(
            f"{folder}: is not empty and no {RUN.name}, so nothing is written there; give another --run_name NAME or "
            "--out DIR"
        )
    begun = folder.is_dir() and not (config.overwrite or config.resume == "never") and RUN.is_in(folder)
    if begun and not (folder / "results.json").is_file() and (changed := changed_fields(folder, config)):
        raise ValueError(
            f"{folder}: a run with other {', '.join(changed)} was begun here; give another --run_name NAME, or start "
            "again with --resume never"
        )


def is_finished(folder: Path, config: RunConfig) -> bool:
    """Whether this very run has ended before.

    Raises:
        FileExistsError: a finished run of this name and seed has another configuration; see also `check_run_folder`.
    """
    check_run_folder(folder, config)
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

    Nothing that an earlier run made is removed, but with `overwrite` or `resume: never`.

    Raises:
        ValueError: a run of another configuration was begun here, or one whose states are all broken.
    """
    state = None
    if accelerator.is_main_process:
        check_run_folder(folder, config)
        if config.overwrite or config.resume == "never" or not RUN.is_in(folder):
            clear_unfinished(folder, UNFINISHED)
            _start_run_folder(folder, config, facts)
        else:
            state = _go_on(folder, config, facts)
    found = broadcast_object_list([state])
    return found[0]


def _go_on(folder: Path, config: RunConfig, facts: dict) -> Path | None:
    """The newest whole state of a run of the same configuration; `None` where it ended before its first one."""
    state = _whole_state(folder)
    _complete_earlier_version(folder)
    settle(folder / BEST)
    clear_unfinished(folder, UNFINISHED)
    remove_old_states(folder, config.keep_last)  # a kill may have come before that
    if state is None:
        _set_best_aside(folder)
    _cut_log(folder / "log.jsonl", 0 if state is None else int(state.name.removeprefix(PREFIX)))
    path = folder / "environment.json"  # another commit or version may go on with the run
    content = json.loads(path.read_text(encoding="utf-8"))
    content["resumed"] = [*content.get("resumed", []), {"from": state and state.name, **facts}]
    write_json(path, content)
    print(f"going on from {state}" if state else f"{folder}: there is no training state; beginning again")
    return state


def _whole_state(folder: Path) -> Path | None:
    """The newest whole state; newer ones, which are broken, get another name and stay."""
    state, broken = newest_state(folder)
    if state is None and (broken or any(folder.glob(f"broken-{PREFIX}*"))):
        raise ValueError(
            f"{folder}: expected a whole training state to go on from, got only broken ones "
            f"({'; '.join(broken.values()) or 'set aside before'}). Nothing was removed; begin again with --run_name "
            "NAME beside it, or in its place with --resume never"
        )
    for path, problem in broken.items():
        aside = _free_name(path.with_name(f"broken-{path.name}"))
        path.rename(aside)
        print(f"passed over, broken: {path}: {problem}; kept as {aside.name}")
    return state


def _set_best_aside(folder: Path) -> None:
    """Keep, under other names, a best checkpoint and its log that a training from the start would replace."""
    if not (folder / BEST).exists():
        return
    number = 1
    while any(folder.glob(f"earlier-{number}-*")):
        number += 1
    for name in ("validation.json", "log.jsonl", BEST):
        if (folder / name).exists():
            (folder / name).rename(folder / f"earlier-{number}-{name}")
    print(f"{folder}: no training state beside {BEST}, which is kept as earlier-{number}-{BEST}")


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


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


def _complete_earlier_version(folder: Path) -> None:
    """What a kill left of a run that an earlier version of this package began, under its names of passage."""
    outgoing = folder / f"{BEST}.outgoing"
    if outgoing.is_dir() and not (folder / BEST).exists():
        outgoing.rename(folder / BEST)
    for path in (*folder.glob(f"{PREFIX}*.partial"), folder / f"{BEST}.partial"):
        shutil.rmtree(path, ignore_errors=True)


def _cut_log(path: Path, step: int) -> None:
    """Take out what was logged after a step: it will be logged again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_text(path, "".join(f"{line}\n" for line in kept))


def _start_run_folder(folder: Path, config: RunConfig, facts: dict):
    """A run folder with `config.yaml` and `environment.json`, in the place of an earlier one; a user's files stay."""
    with replaced_folder(folder, drop=RUN.files) as new:
        (new / "config.yaml").write_text(_as_yaml(config), encoding="utf-8")
        write_json(new / "environment.json", facts)


def _as_yaml(config: RunConfig) -> str:
    """All fields but the wishes for one command, which are not to be granted again the next time."""
    fields = {name: value for name, value in dataclasses.asdict(config).items() if name not in ("overwrite", "resume")}
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


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
    """Write model and processor, in the place of what stands at `folder`, as a whole.

    Args:
        weights: of a model that does not hold them all itself, see `trainer.sharding.whole_weights`.
    """
    with replaced_folder(folder, drop=CHECKPOINT_FILES) as new:
        write_checkpoint(new, model, processor, weights)


def write_checkpoint(folder: Path, model, processor, weights: dict | None = None):
    """Write model and processor into a folder; `weights` as for `save_checkpoint`."""
    # Of a PeftModel the embeddings are the base's; asking the Hub whether they changed would be in vain.
    extra = {"save_embedding_layers": False} if hasattr(model, "peft_config") else {}
    model.save_pretrained(folder, state_dict=weights, **extra)
    processor.save_pretrained(folder)
