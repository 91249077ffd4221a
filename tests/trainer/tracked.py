"""What trackers hold of a run, read from their own storage, and what its log says that they should."""

import json
from pathlib import Path

PREDICTIONS = "validation/predictions"


def expected_values(folder: Path) -> dict[tuple[int, str], float]:
    """(step, name in trackers) -> value, from `log.jsonl`."""
    values = {}
    for line in map(json.loads, (folder / "log.jsonl").read_text().splitlines()):
        step, epoch = line.pop("step"), line.pop("epoch")
        if "metrics" in line:
            named = {f"validation/{name}": value for name, value in line.pop("metrics").items() if value is not None}
            line.pop("best")
            named |= {f"epoch_mean/{name}": value for name, value in line.items()}
        else:
            named = {"epoch": epoch, "train/tokens_per_second": line.pop("tokens/s")}
            named |= {name if "/" in name else f"train/{name}": value for name, value in line.items()}
        values |= {(step, name): value for name, value in named.items()}
    return values


def run_names(folder: Path) -> list[str]:
    """Runs in trackio of a run and seed, whatever their random part."""
    from trackio.sqlite_storage import SQLiteStorage

    start = f"{folder.parent.name}-{folder.name}-"
    return [record["name"] for record in SQLiteStorage.get_run_records("unimse") if record["name"].startswith(start)]


def trackio_entries(folder: Path) -> list[tuple[int, str, object]]:
    """(step, name, value) as often as they stand there."""
    from trackio.sqlite_storage import SQLiteStorage

    name = json.loads((folder / "trackers.json").read_text())["run"]
    entries = SQLiteStorage.get_logs("unimse", name)
    return [
        (entry["step"], name, value)
        for entry in entries
        for name, value in entry.items()
        if name not in ("step", "timestamp")
    ]


def trackio_values(folder: Path) -> dict[tuple[int, str], float]:
    """Numbers; every one must stand there once."""
    found = [(step, name, value) for step, name, value in trackio_entries(folder) if name != PREDICTIONS]
    values = {(step, name): value for step, name, value in found}
    assert len(values) == len(found), "values stand there twice"
    return values


def trackio_tables(folder: Path) -> list[list[dict]]:
    """Rows of the prediction tables, in the order of the validations."""
    return [
        value["_value"] for _, name, value in sorted(trackio_entries(folder), key=lambda e: e[0]) if name == PREDICTIONS
    ]


def tensorboard(folder: Path):
    """The events of a run as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    return events.Reload()


def tensorboard_values(folder: Path) -> dict[tuple[int, str], float]:
    """Numbers, in single precision; every one must stand there once."""
    events = tensorboard(folder)
    found = [(event.step, tag, event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    values = {(step, name): value for step, name, value in found}
    assert len(values) == len(found), "values stand there twice"
    return values


def tensorboard_tables(folder: Path) -> list[str]:
    """The prediction tables as Markdown."""
    events = tensorboard(folder).Tensors(f"{PREDICTIONS}/text_summary")
    return [event.tensor_proto.string_val[0].decode() for event in events]
