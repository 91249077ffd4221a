"""The run folder, and checkpoints that exist only when whole.

runs/<run>/seed-<seed>/
    config.yaml              the resolved configuration
    environment.json         command, commit, versions, number of processes, training data
    log.jsonl                one line a validation: epoch, loss terms, metrics
    checkpoint-best/         model and processor with the best validation metric, as `from_pretrained` reads them
    predictions.parquet      test predictions, one row a sample
    results.json             test metrics with protocol, seed and data (see trainer/evaluation.py)
"""

import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import yaml

from trainer.arguments import RunConfig

BEST = "checkpoint-best"
_PACKAGES = ("torch", "transformers", "datasets", "accelerate", "evaluate", "numpy")


def run_folder(config: RunConfig, seed: int) -> Path:
    """Where one training of a run is kept."""
    return Path(config.output_dir) / config.run / f"seed-{seed}"


def start_run_folder(folder: Path, config: RunConfig, environment: dict):
    """An empty run folder with `config.yaml` and `environment.json`: nothing of an earlier run stands beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    resolved = yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(resolved, encoding="utf-8")
    write_json(folder / "environment.json", environment)


def environment() -> dict:
    """Command, commit of the code (`None` outside a checkout) and package versions."""
    return {
        "command": " ".join(sys.argv),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def _commit() -> str | None:
    """The commit of this file's checkout, `-dirty` with uncommitted changes; `None` where git does not track it."""

    def git(*arguments: str) -> subprocess.CompletedProcess:
        command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    if shutil.which("git") is None or git("ls-files", "--error-unmatch", Path(__file__).name).returncode:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    return git("rev-parse", "HEAD").stdout.strip() + ("-dirty" if changed else "")


def save_checkpoint(folder: Path, model, processor):
    """Model and processor, written aside and renamed: what stands at `folder` is whole, or absent for a moment."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
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
