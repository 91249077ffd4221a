"""A training runs straight through, then again with SIGKILL at many moments; it must end as if nothing had happened.

    python -m benchmarks.kill_training --kills 10 --moments random,state,best,push --processes 2

Every kill takes all processes of a run at once, and the same command is given again. `random` is a moment of the wall
time that the straight run had its folder open; `state` and `best` lie inside the writing of a training state or of the
best checkpoint, `push` inside an upload: the run pushes to a local Hub that takes its time, the straight one does not.
Afterwards the files of both best checkpoints and the predictions are compared byte by byte, the logs line by line but
for speeds, and the metrics; every checkpoint must have arrived. Exit code 1 if anything differs.

The run is a tiny model on the embedded sample, with all that is random switched on.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SCALE, SAVE_EVERY = 0.05, 3
SETTINGS = {
    "run": "killed",
    "model": {
        "text_config": {
            **{"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 1},
            **{"num_heads": 4, "dropout_rate": 0.1},
        },
        "modality_encoder_dropout": 0.2,
    },
    "modality_dropout": 0.2,
    "augmentation": {"noise": 0.3, "token_mask": 0.1, "time_stretch": 0.1},
    "epochs": 6,
    "batch_size": 8,
    "learning_rate": 5e-3,
    "fusion_learning_rate": 5e-3,
    "metric": "mosei/mae",  # gets better more often than an accuracy on so few samples
    "greater_is_better": False,
    "save_every": SAVE_EVERY,
    "keep_last": 2,
    "log_every": 1,
}
# What stands in the run folder while a write goes on. A further kind of moment is a line here, and one in `plan`.
WRITES = {"state": ".state-*.unimse-new", "best": ".checkpoint-best.unimse-new", "push": "pending/*.json"}
REPO, TOKEN, HUB_DELAY = "tester/killed", "hf_test", 0.3  # seconds the local Hub takes for each answer
MOMENTS = ("random", *WRITES)
POLL = 0.001


@dataclass(frozen=True, order=True)
class Moment:
    """When a run is killed.

    Args:
        step: it has logged this step.
        delay: seconds after that and, for all kinds but `random`, after the write has begun; step 0: after its start.
        kind: of `MOMENTS`; all but `random` wait for a write.
    """

    step: int
    delay: float
    kind: str


@dataclass
class Run:
    """A training that was started."""

    process: subprocess.Popen
    folder: Path
    out: Path
    began_ns: int

    def logged_step(self) -> int:
        """The newest step that this very run has logged; what an earlier one logged is no news."""
        path = self.folder / "log.jsonl"
        if not self.is_new(path):
            return 0
        steps = re.findall(r'^\{"step": (\d+)', path.read_text(encoding="utf-8"), re.MULTILINE)
        return int(steps[-1]) if steps else 0

    def is_new(self, path: Path) -> bool:
        """Whether a file or folder is there and was changed since this run began."""
        try:
            return path.stat().st_mtime_ns > self.began_ns
        except FileNotFoundError:
            return False

    def went_on_from(self) -> str:
        found = re.search(r"going on from \S*(state-\d+)", self.out.read_text(encoding="utf-8"))
        return found[1] if found else "the beginning"

    def stop_unless_alive(self) -> None:
        """Raises a `RuntimeError` when the run has ended by itself."""
        if self.process.poll() is not None:
            tail = self.out.read_text(encoding="utf-8")[-2000:]
            code = self.process.returncode
            raise RuntimeError(f"the run ended by itself before it was killed, exit code {code}:\n{tail}")

    def kill(self) -> None:
        """Kill all processes at once; those that torchrun starts have process groups of their own."""
        import psutil

        root = psutil.Process(self.process.pid)
        groups = {os.getpgid(child.pid) for child in (root, *root.children(recursive=True))}
        for group in sorted(groups):  # the launcher is the oldest: it must not see its workers die
            os.killpg(group, signal.SIGKILL)
        self.process.wait()


# --- the data and the command -----------------------------------------------------------------------------------------


def write_data(folder: Path) -> list[str]:
    """The embedded sample, prepared and labelled."""
    import datasets

    from dataset_scripts.prepare import prepare_dataset
    from dataset_scripts.sample import DATASETS, write_sample
    from dataset_scripts.universal_labels import label_datasets

    datasets.disable_progress_bars()
    write_sample(folder / "raw", scale=SCALE)
    for name in DATASETS:
        prepare_dataset(name, folder / "raw" / name, folder / name, extractor="frozen-conv", workers=1)
    label_datasets([folder / name for name in DATASETS])
    return [str(folder / name) for name in DATASETS]


@contextmanager
def local_hub(folder: Path) -> Iterator[dict[str, str]]:
    """A local Hub in a process of its own; the variables with which others use it."""
    command = [sys.executable, "-m", "tests.hub_server", "--delay", str(HUB_DELAY)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip()
        yield {
            **{"HF_ENDPOINT": address, "HF_TOKEN": TOKEN, "HF_HOME": str(folder / "home")},
            **{"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
        }
    finally:
        server.kill()
        server.wait()


def tags(address: str) -> set[str]:
    """The tags of the repository that the run pushes to."""
    request = urllib.request.Request(f"{address}/api/models/{REPO}/refs", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request) as answer:
        return {tag["name"] for tag in json.load(answer)["tags"]}


def start(config: Path, processes: int, hub: dict[str, str]) -> Run:
    """One training by the command that a user would give."""
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **hub}
    environment.update(HF_DATASETS_CACHE=str(config.parent / "cache"), TRACKIO_DIR=str(config.parent / "trackio"))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "trainer.train", str(config)]
    out, began = config.with_suffix(".out"), time.time_ns()
    with out.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, start_new_session=True, stdout=file, stderr=subprocess.STDOUT
        )
    return Run(process, run_folder(config), out, began)


def run_folder(config: Path) -> Path:
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    return Path(settings["output_dir"]) / settings["run"] / "seed-1"


# --- moments ----------------------------------------------------------------------------------------------------------


def straight_run(config: Path, processes: int) -> list[tuple[float, int]]:
    """Run to the end; returns when, in seconds after its start, the folder was there (step 0) and each step logged."""
    run, began, timeline = start(config, processes, {}), time.monotonic(), []
    while run.process.poll() is None:
        step = run.logged_step()
        if run.is_new(run.folder / "config.yaml") and (not timeline or step > timeline[-1][1]):
            timeline.append((time.monotonic() - began, step))
        time.sleep(POLL)
    if run.process.returncode:
        raise RuntimeError(f"the straight run failed:\n{run.out.read_text(encoding='utf-8')[-2000:]}")
    return timeline


def plan(kinds: list[str], timeline: list[tuple[float, int]], folder: Path, rng: random.Random) -> list[Moment]:
    """A moment of each kind, in the order of the training, from what the straight run in `folder` did when."""
    lines = read_log(folder)
    steps = {
        "state": [line["step"] for line in lines if line["step"] % SAVE_EVERY == 0],
        "best": [line["step"] for line in lines if line.get("best")],
        "push": [line["step"] for line in lines if "metrics" in line],
    }
    moments = []
    for kind in kinds:
        if kind == "random":
            at = rng.uniform(timeline[0][0], timeline[-1][0])
            since, step = max(entry for entry in timeline if entry[0] <= at)
            moments.append(Moment(step, at - since if step else at, kind))
        else:
            # An upload takes a while: in its middle, not only at its beginning.
            moments.append(Moment(rng.choice(steps[kind]), rng.uniform(0, 0.2) if kind == "push" else 0.0, kind))
    return sorted(moments)


def wait_for(run: Run, moment: Moment) -> None:
    """Return at the moment. Raises a `RuntimeError` when the run ends before it."""
    while run.logged_step() < moment.step:
        run.stop_unless_alive()
        time.sleep(POLL)
    while moment.kind in WRITES and not writing(run, moment.kind):
        run.stop_unless_alive()
        time.sleep(POLL / 5)
    time.sleep(moment.delay)
    run.stop_unless_alive()


def writing(run: Run, kind: str) -> str | None:
    """The name of what this run is writing, of one kind, if it is."""
    return next((path.name for path in run.folder.glob(WRITES[kind]) if run.is_new(path)), None)


def killed_run(config: Path, processes: int, moments: list[Moment], hub: dict[str, str]) -> None:
    """Kill at every moment, then let the run end; prints a line a kill. A write that was missed is tried again."""
    print("| kill | moment | went on from | step reached | inside the writing of |\n|---|---|---|---|---|")
    rest, kill = list(moments), 0
    while rest:
        moment, kill = rest[0], kill + 1
        run = start(config, processes, hub)
        wait_for(run, moment)
        run.kill()
        cut = [name for name in (writing(run, kind) for kind in WRITES) if name]
        if moment.kind == "random" or cut:  # of whatever kind: the table says which
            rest.pop(0)
        shown = f"{run.went_on_from()} | {run.logged_step()} | {', '.join(cut)}"
        print(f"| {kill} | {moment.kind} | {shown} |", flush=True)
    run = start(config, processes, hub)
    if run.process.wait():
        raise RuntimeError(f"the last run failed:\n{run.out.read_text(encoding='utf-8')[-2000:]}")
    print(f"| none | the end | {run.went_on_from()} | {run.logged_step()} | |")


# --- comparison -------------------------------------------------------------------------------------------------------


def read_log(folder: Path) -> list[dict]:
    """The lines of the log, without what the clock says."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens/s"} for line in lines]


def same_files(first: Path, second: Path) -> bool:
    names = {path.relative_to(folder) for folder in (first, second) for path in folder.rglob("*") if path.is_file()}
    pairs = [(first / name, second / name) for name in names]
    return bool(pairs) and all(
        one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes() for one, other in pairs
    )


def compare(straight: Path, killed: Path, hub: dict[str, str]) -> bool:
    """Prints what is the same; whether everything is."""
    metrics = [json.loads((folder / "results.json").read_text())["metrics"] for folder in (straight, killed)]
    left = [path.name for path in killed.glob(".*.unimse-*")]
    found = {
        "files of the best checkpoint, byte for byte": same_files(
            *(run / "checkpoint-best" for run in (straight, killed))
        ),
        "predictions, byte for byte": (straight / "predictions.parquet").read_bytes()
        == (killed / "predictions.parquet").read_bytes(),
        f"log, {len(read_log(straight))} lines, but for speeds": read_log(straight) == read_log(killed),
        f"metrics of the results, {len(metrics[0])}": metrics[0] == metrics[1],
        "nothing half written left": not left,
    }
    if hub:
        wanted = {f"step-{line['step']}" for line in read_log(straight) if "metrics" in line} | {"final"}
        found[f"tags on the Hub, {len(wanted)}"] = tags(hub["HF_ENDPOINT"]) == wanted
    print()
    for name, same in found.items():
        print(f"{name}: {'yes' if same else 'NO'}")
    return all(found.values())


def benchmark(options: argparse.Namespace) -> int:
    rng = random.Random(options.seed)
    push = "push" in options.moments[: options.kills]
    with tempfile.TemporaryDirectory() as name, local_hub(Path(name)) if push else nullcontext({}) as hub:
        folder = Path(name)
        data, configs = write_data(folder / "data"), {}
        for run in ("straight", "killed"):
            configs[run] = folder / f"{run}.yaml"
            settings = {**SETTINGS, "data": data, "output_dir": str(folder / run)}
            if push and run == "killed":
                settings["push_to_hub"] = {"repo": REPO, "only_best": False}
            configs[run].write_text(yaml.safe_dump(settings))
        timeline = straight_run(configs["straight"], options.processes)
        opened, ended = timeline[0][0], timeline[-1][0]
        print(f"{options.processes} processes, seed {options.seed}; straight run: {timeline[-1][1]} steps, folder open")
        print(f"after {opened:.1f} s, last step after {ended:.1f} s\n")
        kinds = [options.moments[kill % len(options.moments)] for kill in range(options.kills)]
        straight, killed = (run_folder(configs[run]) for run in ("straight", "killed"))
        killed_run(configs["killed"], options.processes, plan(kinds, timeline, straight, rng), hub)
        return 0 if compare(straight, killed, hub) else 1


def _moments(text: str) -> list[str]:
    found = text.split(",")
    if unknown := sorted(set(found) - set(MOMENTS)):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(MOMENTS)}, got {unknown[0]!r}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument(
        "--moments", type=_moments, default=list(MOMENTS), help=f"taken in turn, of {','.join(MOMENTS)} (all of them)"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    return benchmark(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
