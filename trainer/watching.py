"""What one sees of a training while it runs: the progress bar, `log.jsonl`, and trackers.

    log line                          name in trackers                    when
    loss terms, grad_norm             train/<name>                        every `log_every` steps
    tokens/s                          train/tokens_per_second
    learning_rate/<group>             learning_rate/<group>
    means of the epoch                epoch_mean/<name>                   at a validation
    metrics                           validation/<dataset>/<metric>
    -                                 validation/predictions, a table: id, text, gold label, predicted label

Trackers are accelerate's classes, one by one rather than by `Accelerator.log`, so that one that fails is left out and
the others go on. All runs are in one project, `unimse`, to be compared; a run is named by run, seed and a random part,
since runs of other output folders may have its name. It is kept in `trackers.json` of the run folder, where a run that
is resumed finds it. TensorBoard's files lie in `tensorboard/` of the run folder.
"""

import dataclasses
import io
import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

from accelerate.tracking import (
    GeneralTracker,
    TensorBoardTracker,
    TrackioTracker,
    WandBTracker,
    get_available_trackers,
)
from huggingface_hub import constants
from tqdm.auto import tqdm

from dataset_scripts.utils.files import errors_named, write_json
from trainer.arguments import RunConfig
from trainer.data import UtteranceDataset

PROJECT = "unimse"
PREDICTIONS = "validation/predictions"
COLUMNS = ("id", "text", "gold label", "predicted label")
SAMPLES = 8


def check_trackers(config: RunConfig) -> None:
    """Refuses trackers that are not installed.

    Raises:
        ValueError: with what to install.
    """
    installed = [str(name) for name in get_available_trackers()]
    for name in config.trackers:
        if name not in installed:
            raise ValueError(f"trackers: {name} is not installed; pip install {name}, or leave it out of --trackers")


class Watch:
    """Bar, log and trackers of one training; on other processes than the main one nothing happens.

    Args:
        config: of the run.
        folder: of the run and seed.
        validation: datasets that are validated on; a few rows of each are shown at every validation.
        is_main: whether this is the main process.
        show_bar: whether there is a bar at all.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        validation: dict[str, UtteranceDataset],
        is_main: bool = True,
        show_bar: bool = True,
    ):
        self.config, self.folder, self.is_main, self.show_bar = config, folder, is_main, show_bar
        self.samples = sample_rows(validation, SAMPLES)
        self.trackers: dict[str, GeneralTracker] = {}
        self.shown: dict[str, Any] = {}

    @contextmanager
    def watching(self, step: int, total: int) -> Iterator[None]:
        """From here on there are bar and trackers, from step `step` of `total`; afterwards they are ended."""
        disable = not (self.is_main and self.show_bar)
        name = self.folder.parent.name
        with tqdm(total=total, initial=step, desc=name, unit="step", disable=disable, dynamic_ncols=True) as self.bar:
            self._start(step)
            try:
                yield
            finally:
                self._each(lambda _, tracker: tracker.finish())
                self.trackers = {}

    def stepped(self) -> None:
        """An optimisation step is done."""
        self.bar.update()

    def trained(self, line: dict[str, Any]) -> None:
        """Takes a log line of training steps: `step`, `epoch`, loss terms, `grad_norm`, rates, `tokens/s`."""
        if self.is_main:
            self._write(line)
            terms = {name.removesuffix("_loss"): value for name, value in line.items() if name.endswith("loss")}
            self._show({**terms, "tokens/s": line["tokens/s"]})
            self._log(line["step"], _values(line))

    def validated(self, line: dict[str, Any], rows: Sequence[dict]) -> None:
        """Takes a log line of a validation, with `metrics`, and its prediction rows (`trainer.evaluation.predict`)."""
        if self.is_main:
            self._write(line)
            self._show({self.config.metric: line["metrics"][self.config.metric]})
            self._log(line["step"], _values(line))
            table = self._predictions(rows)
            self._each(lambda name, tracker: tracker.log({PREDICTIONS: _TABLES[name](table)}, step=line["step"]))

    def _show(self, values: dict[str, float | None]) -> None:
        """Beside the bar, with what is there already."""
        self.shown |= {name: f"{value:.3f}" if isinstance(value, float) else value for name, value in values.items()}
        self.bar.set_postfix(self.shown)

    def _write(self, line: dict[str, Any]) -> None:
        path = self.folder / "log.jsonl"
        with errors_named(path), path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def _log(self, step: int, values: dict[str, float]) -> None:
        self._each(lambda _, tracker: tracker.log(values, step=step))

    def _predictions(self, rows: Sequence[dict]) -> list[list[str]]:
        """The table's rows, in their fixed order."""
        found = {(row["dataset"], row["id"]): row["prediction"] or "(no label)" for row in rows}
        return [
            [row["id"], row["text"] or "", gold_label(row), found[row["dataset"], row["id"]]] for row in self.samples
        ]

    def _start(self, step: int) -> None:
        if not (self.is_main and self.config.trackers):
            return
        run = self._run_name()
        self.trackers = {name: _MAKERS[name](self.config, self.folder, run, step) for name in self.config.trackers}
        self._each(lambda _, tracker: tracker.start())
        hints = {"trackio": f"trackio show --project {PROJECT}"}
        hints["tensorboard"] = f"tensorboard --logdir {self.config.output_dir}"
        if hints := [hints[name] for name in self.trackers if name in hints]:
            _say_once(f"to watch it: {', '.join(hints)}")

    def _run_name(self) -> str:
        """The name in trackers, given once and kept."""
        path = self.folder / "trackers.json"
        if not path.is_file():
            name = f"{self.config.run}-{self.folder.name}-{uuid.uuid4().hex[:8]}"
            write_json(path, {"project": PROJECT, "run": name})
        return json.loads(path.read_text(encoding="utf-8"))["run"]

    def _each(self, act: Callable[[str, GeneralTracker], None]) -> None:
        """Act on each tracker. One that fails is left out from then on: a training must not end by it."""
        for name, tracker in list(self.trackers.items()):
            try:
                act(name, tracker)
            except Exception as error:  # which ones a tracker raises is known to nobody
                del self.trackers[name]
                warnings.warn(
                    f"trackers: {name} failed and is left out for the rest of {self.folder}: "
                    f"{type(error).__name__}: {error}",
                    stacklevel=2,
                )


def sample_rows(datasets: dict[str, UtteranceDataset], count: int) -> list[dict]:
    """About `count` rows, as many of each dataset, evenly over its length: always the same ones."""
    rows = []
    for dataset in datasets.values():
        shown = min(-(-count // len(datasets)), len(dataset))
        rows += [dataset.rows[index * len(dataset) // shown] for index in range(shown)]
    return rows


def gold_label(row: dict) -> str:
    """`polarity,intensity,emotion` of a row as a benchmark gives it, `-` for what it does not give."""
    return ",".join("-" if row[name] is None else str(row[name]) for name in ("polarity", "sentiment", "emotion"))


class _Trackio(TrackioTracker):
    """trackio on this machine, without its notices. Each value is in it once, however often the run was killed.

    Args:
        log: `log.jsonl` of the run.
        settings: of `trackio.init`.
    """

    def __init__(self, log: Path, **settings):
        super().__init__(PROJECT, **settings)
        self.log_file = log

    def start(self) -> None:
        """Begin the run or go on with it. It writes every half second: what a kill took from it comes from the log."""
        with _quiet(), _offline():
            super().start()
            from trackio.sqlite_storage import SQLiteStorage

            logged = SQLiteStorage.get_logs(self.run.project, self.run.name, run_id=self.run.id)
        self.known = {(entry["step"], name) for entry in logged for name in entry}
        if self.log_file.is_file():
            for line in map(json.loads, self.log_file.read_text(encoding="utf-8").splitlines()):
                self.log(_values(line), step=line["step"])

    def log(self, values: dict, step: int | None = None, **kwargs) -> None:
        """What the run holds is left out: steps after the state that a killed run goes on from are logged again."""
        if values := {name: value for name, value in values.items() if (step, name) not in self.known}:
            super().log(values, step=step, **kwargs)

    def finish(self) -> None:
        """Write what is left. The module's own function, or trackio would end the run once more when Python exits."""
        import trackio

        with _quiet():
            trackio.finish()


def _make_trackio(config: RunConfig, folder: Path, run: str, step: int) -> GeneralTracker:
    calm = {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}  # no page in a notebook, no further threads
    identity = {"name": run, "group": config.run, "resume": "allow"}
    return _Trackio(folder / "log.jsonl", config=dataclasses.asdict(config), **identity, **calm)


def _make_tensorboard(config: RunConfig, folder: Path, run: str, step: int) -> GeneralTracker:
    # What a killed run logged after its state is hidden.
    return TensorBoardTracker("tensorboard", folder, purge_step=step + 1 if step else None)


def _make_wandb(config: RunConfig, folder: Path, run: str, step: int) -> GeneralTracker:
    settings = dataclasses.asdict(config)
    identity = {"id": run.rsplit("-", 1)[-1], "name": run, "group": config.run, "resume": "allow"}
    return WandBTracker(PROJECT, dir=str(folder), config=settings, **identity)


def _trackio_table(rows: list[list[str]]):
    import trackio

    return trackio.Table(columns=list(COLUMNS), data=rows)


def _wandb_table(rows: list[list[str]]):
    import wandb

    return wandb.Table(columns=list(COLUMNS), data=rows)


def _markdown_table(rows: list[list[str]]) -> str:
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in row] for row in rows]
    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_MAKERS = {"trackio": _make_trackio, "tensorboard": _make_tensorboard, "wandb": _make_wandb}
_TABLES = {"trackio": _trackio_table, "tensorboard": _markdown_table, "wandb": _wandb_table}


def _values(line: dict[str, Any]) -> dict[str, float]:
    """The values of a log line under their names in trackers."""
    return _validation_values(line) if "metrics" in line else _training_values(line)


def _training_values(line: dict[str, Any]) -> dict[str, float]:
    values = {"epoch": line["epoch"], "train/tokens_per_second": line["tokens/s"]}
    for name, value in line.items():
        if name not in ("step", "epoch", "tokens/s"):
            values[name if name.startswith("learning_rate/") else f"train/{name}"] = value
    return values


def _validation_values(line: dict[str, Any]) -> dict[str, float]:
    """Metrics without a value (a correlation of constants) are left out."""
    means = {f"epoch_mean/{name}": line[name] for name in line if name not in ("step", "epoch", "best", "metrics")}
    metrics = {f"validation/{name}": value for name, value in line["metrics"].items() if value is not None}
    return {**means, **metrics}


def _quiet():
    return redirect_stdout(io.StringIO())


@contextmanager
def _offline() -> Iterator[None]:
    """trackio asks the Hub for the user's name, also for a local run; one that is sent to a Space has to."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not os.environ.get("TRACKIO_SPACE_ID")
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@cache
def _say_once(line: str) -> None:
    tqdm.write(line)
