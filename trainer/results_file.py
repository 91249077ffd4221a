"""Results files: what `unimse evaluate` writes for one run, read back and checked field by field.

A file that is wrong anywhere is refused in one line that names the file and the field. Schema version 1; the fields are
those of `_check_content`. Scores are fractions in [0, 1], except MAE (>= 0) and Corr ([-1, 1]); a value that does not
exist is null and `reasons` says why.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SCHEMA_VERSION = 1
MODALITIES = ("text", "audio", "visual")
# The whole run, next to the benchmarks: metrics without a "benchmark/" prefix.
OVERALL = "overall"
_RESERVED = (OVERALL, "leaderboard")
# Rows of the official test splits. IEMOCAP: 1650 in the UniMSE authors' files, 1623 of them in the six classes.
OFFICIAL_TEST_ROWS = {"mosi": (686,), "mosei": (4659,), "meld": (2610,), "iemocap": (1650, 1623)}


@dataclass(frozen=True)
class Metric:
    """How one metric is shown: `kind` is `percent`, `number` or `count`."""

    key: str
    title: str
    kind: str
    lower_is_better: bool = False


METRICS = {
    metric.key: metric
    for metric in (
        Metric("mae", "MAE", "number", lower_is_better=True),
        Metric("corr", "Corr", "number"),
        Metric("acc7", "Acc-7", "percent"),
        Metric("acc5", "Acc-5", "percent"),
        Metric("acc2_has0", "Acc-2 has0", "percent"),
        Metric("acc2_non0", "Acc-2 non0", "percent"),
        Metric("f1_has0", "F1 has0", "percent"),
        Metric("f1_non0", "F1 non0", "percent"),
        Metric("accuracy", "Accuracy", "percent"),
        Metric("weighted_f1", "Weighted F1", "percent"),
        Metric("macro_f1", "Macro F1", "percent"),
        Metric("emotion_accuracy", "Emotion accuracy", "percent"),
        Metric("parse_failures", "Parse failures", "count", lower_is_better=True),
    )
}
# A benchmark is ranked by the first of these that any of its runs has.
PRIMARY_METRICS = ("weighted_f1", "mae", "emotion_accuracy")


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

    def data(self, benchmark: str) -> dict:
        """`fingerprint`, `rows`, `split` of what was scored; for `overall` of everything together."""
        data = self.content["data"]
        if benchmark != OVERALL:
            return data[benchmark]
        fingerprint = "+".join(data[name]["fingerprint"] for name in sorted(data))
        rows = sum(part["rows"] for part in data.values())
        return {"fingerprint": fingerprint, "rows": rows, "split": self.protocol["split"]}


def benchmark_of(key: str) -> str:
    """`mosi/mae` -> `mosi`; a key without a prefix belongs to `overall`."""
    return key.split("/")[0] if "/" in key else OVERALL


def benchmark_order(name: str) -> tuple[int, str]:
    """Sort key: overall, MOSI, MOSEI, MELD, IEMOCAP, then data sets of one's own by name."""
    order = [OVERALL, *OFFICIAL_TEST_ROWS]
    return (order.index(name) if name in order else len(order)), name


def is_official(benchmark: str, data: dict) -> bool:
    """Whether the number of rows is that of the benchmark's official test split."""
    return data["split"] == "test" and data["rows"] in OFFICIAL_TEST_ROWS.get(benchmark, ())


def read_results(path: str | Path) -> Results:
    """Read and check one results file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not JSON or a field is wrong; one line naming the file and the field.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        _check_content(content)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: expected a results file of `unimse evaluate`; there is none") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text ({error.reason} at byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Results(path, content)


def read_all_results(paths: Sequence[str | Path]) -> list[Results]:
    """Read several files. Each evaluation may come once, else a number would count twice in a mean over seeds."""
    results, seen = [read_results(path) for path in paths], {}
    for one in results:
        key = json.dumps([one.group, one.content["model"], one.seed, one.protocol, one.content["data"]], sort_keys=True)
        if key in seen:
            raise ValueError(
                f"{one.path}: seed: expected another seed, protocol or data than in {seen[key]}; "
                f"run {one.group!r} with seed {one.seed} may come once"
            )
        seen[key] = one.path
    return results


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not a number of a results file; a value that does not exist is null with a reason")


# --- checks, field by field -------------------------------------------------------------------------------------------


def _check_content(content) -> None:
    _expect(isinstance(content, dict), "the file", "an object", content)
    version = content.get("schema_version")
    _expect(version == SCHEMA_VERSION, "schema_version", f"{SCHEMA_VERSION}; evaluate the model again", version)
    for name in ("run", "command"):
        _check_text(content, name)
    _check_integer(content, "seed", 0)
    commit = _get(content, "commit")
    _expect(commit is None or _is_text(commit), "commit", "a commit id or null", commit)
    _check_date(content, "created")
    for name in ("model", "versions", "protocol", "data", "metrics"):
        _expect(isinstance(_get(content, name), dict), name, "an object", content[name])
    for name in ("per_class", "confusion", "reasons", "seconds"):
        content.setdefault(name, {})
        _expect(isinstance(content[name], dict), name, "an object", content[name])
    _check_text(content["model"], "name", "model.")
    _check_integer(content["model"], "parameters", 1, "model.")
    _check_protocol(content["protocol"])
    _check_data(content["data"], content["protocol"]["split"])
    _check_metrics(content["metrics"], content["data"], content["reasons"])
    for benchmark, per_class in content["per_class"].items():
        _check_per_class(f"per_class.{benchmark}", benchmark, per_class, content["data"])
    for benchmark, confusion in content["confusion"].items():
        _check_confusion(benchmark, confusion, content)


def _check_protocol(protocol: dict) -> None:
    for name in ("context_before", "context_after"):
        _check_integer(protocol, name, 0, "protocol.")
    for name in ("decoding", "emotions", "split"):
        _check_text(protocol, name, "protocol.")
    modalities = _get(protocol, "modalities", "protocol.")
    allowed = isinstance(modalities, list) and modalities and all(name in MODALITIES for name in modalities)
    _expect(allowed, "protocol.modalities", f"a list of {', '.join(MODALITIES)}", modalities)
    flag = _get(protocol, "universal_labels", "protocol.")
    _expect(isinstance(flag, bool), "protocol.universal_labels", "true or false", flag)


def _check_data(data: dict, split: str) -> None:
    _expect(bool(data), "data", "at least one benchmark", data)
    for name, part in data.items():
        usable = name not in _RESERVED and not set("/\\") & set(name)
        _expect(usable, f"data.{name}", f"a name without slashes other than {', '.join(_RESERVED)}", name)
        _expect(isinstance(part, dict), f"data.{name}", "an object", part)
        _check_text(part, "fingerprint", f"data.{name}.")
        _check_integer(part, "rows", 1, f"data.{name}.")
        found = _get(part, "split", f"data.{name}.")
        _expect(found == split, f"data.{name}.split", f"{split!r} as in protocol.split", found)


def _check_metrics(metrics: dict, data: dict, reasons: dict) -> None:
    _expect(bool(metrics), "metrics", "at least one value", metrics)
    for key, value in metrics.items():
        benchmark, name = benchmark_of(key), key.split("/")[-1]
        _expect(
            benchmark == OVERALL or benchmark in data, f"metrics.{key}", f"a benchmark of data ({', '.join(data)})", key
        )
        if value is None:
            _expect(_is_text(reasons.get(key)), f"reasons.{key}", "why the value is null", reasons.get(key))
            continue
        _expect(_is_number(value), f"metrics.{key}", "a finite number or null", value)
        low, high = _range(name)
        _expect(low <= value <= high, f"metrics.{key}", f"a number in [{low}, {high}]", value)


def _range(name: str) -> tuple[float, float]:
    if name == "corr":
        return -1, 1
    return (0, 1) if name in METRICS and METRICS[name].kind == "percent" else (0, math.inf)


def _check_per_class(field: str, benchmark: str, per_class, data: dict) -> None:
    _expect(benchmark in data, field, f"a benchmark of data ({', '.join(data)})", benchmark)
    _expect(isinstance(per_class, dict), field, "an object", per_class)
    for label, scores in per_class.items():
        _expect(isinstance(scores, dict), f"{field}.{label}", "an object", scores)
        _check_integer(scores, "support", 0, f"{field}.{label}.")
        f1 = _get(scores, "f1", f"{field}.{label}.")
        valid = f1 is None or _is_number(f1) and 0 <= f1 <= 1
        _expect(valid, f"{field}.{label}.f1", "a number in [0, 1] or null", f1)


def _check_confusion(benchmark: str, confusion, content: dict) -> None:
    field = f"confusion.{benchmark}"
    _expect(benchmark in content["data"], field, f"a benchmark of data ({', '.join(content['data'])})", benchmark)
    _expect(isinstance(confusion, dict), field, "an object", confusion)
    labels, matrix = _get(confusion, "labels", f"{field}."), _get(confusion, "matrix", f"{field}.")
    _expect(
        isinstance(labels, list) and labels and all(map(_is_text, labels)), f"{field}.labels", "a list of names", labels
    )
    size = len(labels)
    square = isinstance(matrix, list) and len(matrix) == size and all(_is_counts(row, size) for row in matrix)
    _expect(square, f"{field}.matrix", f"{size} rows of {size} counts", matrix)
    other = confusion.get("other", [0] * size)
    _expect(_is_counts(other, size), f"{field}.other", f"{size} counts", other)
    accuracy = content["metrics"].get(f"{benchmark}/accuracy")
    if accuracy is not None and "other" in confusion:
        right, samples = sum(row[at] for at, row in enumerate(matrix)), sum(map(sum, matrix)) + sum(other)
        agrees = samples > 0 and math.isclose(accuracy, right / samples, abs_tol=1e-9)
        _expect(agrees, f"metrics.{benchmark}/accuracy", f"{right}/{samples} as in {field}", accuracy)


def _is_counts(values, size: int) -> bool:
    listed = isinstance(values, list) and len(values) == size
    return listed and all(isinstance(count, int) and count >= 0 for count in values)


def _check_text(content: dict, name: str, prefix: str = "") -> None:
    _expect(_is_text(_get(content, name, prefix)), prefix + name, "a non-empty string", content[name])


def _check_integer(content: dict, name: str, low: int, prefix: str = "") -> None:
    value = _get(content, name, prefix)
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= low
    _expect(whole, prefix + name, f"an integer >= {low}", value)


def _check_date(content: dict, name: str) -> None:
    value = _get(content, name)
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected an ISO 8601 date and time, got {value!r}") from None


def _get(content: dict, name: str, prefix: str = ""):
    if name not in content:
        raise ValueError(f"{prefix}{name}: expected this field; it is missing")
    return content[name]


def _is_text(value) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _expect(holds: bool, field: str, expected: str, got) -> None:
    if not holds:
        raise ValueError(f"{field}: expected {expected}, got {_short(got)}")


def _short(value) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 80 else text[:77] + "..."
