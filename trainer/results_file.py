"""Results files: what one evaluation gave, written with a digest, read back and checked field by field.

Schema version 2, one evaluation under one protocol: run, seed, model, checkpoint (digest of the weights; Hub repository
and revision), command, commit, created, versions, seconds; protocol; data (fingerprint, rows, split of each test set);
metrics (`<dataset>/<metric>`, `emotion_accuracy`, `parse_failures`), intervals and bootstrap (how they were made),
per_class, confusion, reasons (why a value is null); predictions and states (files beside it, with their SHA-256, or
null); digest.

Scores are fractions in [0, 1], except MAE (>= 0) and Corr ([-1, 1]). The digest tells an edit from what was written;
the numbers themselves can be made again from the predictions (`trainer/predictions_file.py`).
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dataset_scripts.utils.files import file_digest, write_json
from dataset_scripts.utils.outputs import settle
from trainer.hub_folders import hub_file
from trainer.metric_names import OVERALL, benchmark_of, benchmark_order
from trainer.results_checks import check_content


@dataclass(frozen=True)
class Results:
    """One checked results file: `path`, and `content`, the parsed JSON."""

    path: Path
    content: dict

    @property
    def run(self) -> str:
        return self.content["run"]

    @property
    def seed(self) -> int:
        return self.content["seed"]

    @property
    def group(self) -> str:
        """The run's name without its seed: `full-seed1` and `full-s1` (seed 1) are both `full`."""
        return re.sub(rf"([-_./ ]?seed[-_=]?|[-_./ ]s){self.seed}$", "", self.run) or self.run

    @cached_property
    def owner(self) -> str | None:
        """Whose repository on the Hub a downloaded file is of; `None` for a file that was made here."""
        source = hub_file(self.path)
        return source and source.owner

    @property
    def entry(self) -> str:
        """What tables call the run: its group, of the Hub with the owner, as in `alice/full`: names are free."""
        return self.group if self.owner is None else f"{self.owner}/{self.group}"

    @property
    def protocol(self) -> dict:
        return self.content["protocol"]

    @property
    def benchmarks(self) -> list[str]:
        """Benchmarks with at least one metric, in a fixed order; `overall` first where the run has such metrics."""
        return sorted({benchmark_of(key) for key in self.content["metrics"]}, key=benchmark_order)

    def scores(self, benchmark: str) -> dict:
        """metric key without prefix -> value or None."""
        metrics = self.content["metrics"]
        return {key.split("/")[-1]: value for key, value in metrics.items() if benchmark_of(key) == benchmark}

    def reason(self, benchmark: str, key: str) -> str:
        """Why the value is null."""
        return self.content["reasons"][key if benchmark == OVERALL else f"{benchmark}/{key}"]

    def interval(self, benchmark: str, key: str) -> list[float] | None:
        """[low, high] of the bootstrap interval; `None` where there is none."""
        return self.content["intervals"].get(key if benchmark == OVERALL else f"{benchmark}/{key}")

    def interval_reason(self, benchmark: str, key: str) -> str | None:
        """Why there is no interval; `None` where there is one, or none was made."""
        return self.content["reasons"].get(f"intervals/{key if benchmark == OVERALL else f'{benchmark}/{key}'}")

    def beside(self, name: str) -> Path | None:
        """Path of `predictions` or `states`, the files beside this one; `None` where it has none or it is not there.

        Raises:
            ValueError: the file is not the one that was written with the results.
        """
        entry = self.content[name]
        path = None if entry is None else self.path.with_name(entry["file"])
        if path is None or not path.is_file():
            return None
        if file_digest(path) != entry["sha256"]:
            raise ValueError(
                f"{path}: expected the {name} written with {self.path.name}, got other content; evaluate the model "
                "again"
            )
        return path

    @property
    def rows(self) -> int:
        """How many rows were scored, of all test sets together."""
        return sum(part["rows"] for part in self.content["data"].values())

    def data(self, benchmark: str) -> dict:
        """`fingerprint`, `rows`, `split` of what was scored; for `overall` of everything together."""
        data = self.content["data"]
        if benchmark != OVERALL:
            return data[benchmark]
        fingerprint = "+".join(data[name]["fingerprint"] for name in sorted(data))
        return {"fingerprint": fingerprint, "rows": self.rows, "split": self.protocol["split"]}


def seal(content: dict) -> dict:
    """The content with the digest of everything else in it."""
    rest = {name: value for name, value in content.items() if name != "digest"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return {**rest, "digest": hashlib.sha256(text.encode("utf-8")).hexdigest()}


def write_results(path: Path, content: dict, predictions: Path | None = None, states: Path | None = None) -> None:
    """Write the content of one results file, whole or not at all.

    Args:
        content: all fields but the three that are made here: `predictions`, `states` and `digest`.
        predictions, states: files beside `path`, already written.

    Raises:
        ValueError: a field that `read_results` would refuse; nothing is written.
    """
    files = {"predictions": predictions, "states": states}
    described = {name: file and {"file": file.name, "sha256": file_digest(file)} for name, file in files.items()}
    content = seal(content | described)
    check_content(content)
    write_json(path, content)


def read_results(path: str | Path) -> Results:
    """Read and check one results file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not JSON or a field is wrong; one line naming the file and the field.
    """
    path = Path(path)
    settle(path)
    if path.suffix == ".parquet":
        raise ValueError(f"{path}: expected a results file, got its predictions; name the .json beside it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        check_content(content)
        _check_digest(content)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected a results file of `unimse evaluate`; there is none") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text ({error.reason} at byte {error.start})") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Results(path, content)


def read_all_results(paths: Sequence[str | Path]) -> list[Results]:
    """Read several files. A training scored twice under one protocol counts once, else it would in a mean over seeds.

    Of equal ones that with its predictions beside it is kept.

    Raises:
        ValueError: on a wrong file, or one run and seed with two sets of numbers.
    """
    kept: dict[str, Results] = {}
    for one in map(read_results, paths):
        key = json.dumps([one.entry, one.content["model"], one.seed, one.protocol, one.content["data"]], sort_keys=True)
        first = kept.setdefault(key, one)
        if first.content["metrics"] != one.content["metrics"]:
            raise ValueError(
                f"{one.path}: expected the numbers of {first.path}, which is the same run {one.entry!r}, seed "
                f"{one.seed}, protocol and data; got others. Give each run a name of its own"
            )
        if first.beside("predictions") is None and one.beside("predictions") is not None:
            kept[key] = one
    return list(kept.values())


def _check_digest(content: dict) -> None:
    made = seal(content)["digest"]
    if content.get("digest") != made:
        raise ValueError(
            f"digest: expected {made[:12]} for this content, got {str(content.get('digest'))[:12]}; the file was "
            "edited after it was written. Evaluate the model again"
        )


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not a number of a results file; a value that does not exist is null with a reason")
