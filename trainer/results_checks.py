"""The fields of a results file, checked one by one; a wrong one is refused in a line that names it."""

import json
import math
import re
from datetime import datetime

from trainer.metric_names import MODALITIES, OVERALL, benchmark_of, value_range

SCHEMA_VERSION = 2
# Integers up to here are the same as floats and for every reader of JSON; sums of them overflow nowhere.
LARGEST = 2**53
MOST_RESAMPLES = 100_000
_ROUNDING = 1e-9
_RESERVED = (OVERALL, "leaderboard")
# Names of benchmarks and metrics become file names, columns and addresses inside a page.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME_RULE = "at most 64 letters, digits, `_`, `-` and `.`"
_OBJECTS = (
    *("model", "checkpoint", "versions", "protocol", "data", "metrics"),
    *("intervals", "per_class", "confusion", "reasons", "seconds"),
)


def check_content(content) -> None:
    """Raise a `ValueError` that names the first wrong field."""
    _expect(isinstance(content, dict), "the file", "an object", content)
    version = content.get("schema_version")
    _expect(version == SCHEMA_VERSION, "schema_version", f"{SCHEMA_VERSION}; evaluate the model again", version)
    for name in ("run", "command"):
        _check_text(content, name)
    _check_integer(content, "seed", 0)
    commit = _get(content, "commit")
    _expect(commit is None or _is_text(commit), "commit", "a commit id or null", commit)
    _check_date(content, "created")
    for name in _OBJECTS:
        _expect(isinstance(_get(content, name), dict), name, "an object", content[name])
    _check_model(content["model"])
    for name in ("checkpoint", "versions", "seconds"):
        _check_flat(content[name], f"{name}.")
    for key, reason in content["reasons"].items():
        _expect(_is_text(reason), f"reasons.{key}", "a non-empty string", reason)
    _check_protocol(content["protocol"])
    _check_data(content["data"], content["protocol"]["split"])
    _check_metrics(content["metrics"], content["data"], content["reasons"])
    _check_intervals(content)
    for name in ("predictions", "states"):
        _check_file(content, name)
    for benchmark, per_class in content["per_class"].items():
        _check_per_class(f"per_class.{benchmark}", benchmark, per_class, content["data"])
    for benchmark, confusion in content["confusion"].items():
        _check_confusion(benchmark, confusion, content)


def _check_model(model: dict) -> None:
    _check_text(model, "name", "model.")
    _check_integer(model, "parameters", 1, "model.")
    fusion = model.get("fusion_type")
    _expect(fusion is None or _is_text(fusion), "model.fusion_type", "a non-empty string or null", fusion)
    _check_flat(model, "model.")


def _check_flat(content: dict, prefix: str) -> None:
    """No lists or objects: each value tells one thing, in one cell of a table."""
    for name, value in content.items():
        flat = value is None or isinstance(value, (str, bool)) or _is_number(value)
        _expect(flat, prefix + name, "a string, a finite number, true, false or null", value)


def _check_protocol(protocol: dict) -> None:
    for name in ("context_before", "context_after"):
        _check_integer(protocol, name, 0, "protocol.")
    for name in ("decoding", "emotions", "split"):
        _check_text(protocol, name, "protocol.")
    modalities = _get(protocol, "modalities", "protocol.")
    # In one order, without repeats: else one protocol would be several.
    ordered = isinstance(modalities, list) and modalities == [name for name in MODALITIES if name in modalities]
    rule = f"a list of {', '.join(MODALITIES)}, in this order, each at most once"
    _expect(ordered and modalities, "protocol.modalities", rule, modalities)
    flag = _get(protocol, "universal_labels", "protocol.")
    _expect(isinstance(flag, bool), "protocol.universal_labels", "true or false", flag)


def _check_data(data: dict, split: str) -> None:
    _expect(bool(data), "data", "at least one benchmark", data)
    for name, part in data.items():
        usable = _NAME.fullmatch(name) and name.lower() not in _RESERVED
        _expect(usable, "data", f"names of {_NAME_RULE}, other than {', '.join(_RESERVED)}", name)
        _expect(isinstance(part, dict), f"data.{name}", "an object", part)
        _check_text(part, "fingerprint", f"data.{name}.")
        _check_integer(part, "rows", 1, f"data.{name}.")
        found = _get(part, "split", f"data.{name}.")
        _expect(found == split, f"data.{name}.split", f"{split!r} as in protocol.split", found)


def _check_metrics(metrics: dict, data: dict, reasons: dict) -> None:
    _expect(bool(metrics), "metrics", "at least one value", metrics)
    for key, value in metrics.items():
        benchmark, name = benchmark_of(key), key.removeprefix(f"{benchmark_of(key)}/")
        known = "/" not in key or benchmark in data
        _expect(known, f"metrics.{key}", f"a benchmark of data ({', '.join(data)})", key)
        _expect(_NAME.fullmatch(name), "metrics", f"`benchmark/metric` or `metric`, {_NAME_RULE}", key)
        if value is None:
            _expect(_is_text(reasons.get(key)), f"reasons.{key}", "why the value is null", reasons.get(key))
            continue
        _expect(_is_number(value), f"metrics.{key}", "a finite number or null", value)
        low, high = value_range(name)
        _expect(low <= value <= high, f"metrics.{key}", f"a number in [{low}, {high}]", value)


def _check_intervals(content: dict) -> None:
    """An interval for metrics only, in order; how it was made stands in `bootstrap`."""
    for key, interval in content["intervals"].items():
        field = f"intervals.{key}"
        _expect(key in content["metrics"], field, "the name of a metric", key)
        if interval is None:
            reason = content["reasons"].get(field.replace(".", "/", 1))
            _expect(_is_text(reason), f"reasons.{field.replace('.', '/', 1)}", "why the interval is null", reason)
            continue
        pair = isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval))
        _expect(pair and interval[0] <= interval[1], field, "[low, high] or null", interval)
        low, high = value_range(key.split("/")[-1])
        inside = low - _ROUNDING <= interval[0] and interval[1] <= high + _ROUNDING
        _expect(inside, field, f"numbers in [{low}, {high}]", interval)
    bootstrap = _get(content, "bootstrap")
    if bootstrap is None:
        _expect(not content["intervals"], "bootstrap", "how the intervals were made", bootstrap)
        return
    _expect(isinstance(bootstrap, dict), "bootstrap", "an object or null", bootstrap)
    _check_integer(bootstrap, "resamples", 1, "bootstrap.", MOST_RESAMPLES)
    _check_integer(bootstrap, "seed", 0, "bootstrap.")
    level = _get(bootstrap, "confidence_level", "bootstrap.")
    _expect(_is_number(level) and 0 < level < 1, "bootstrap.confidence_level", "a number in (0, 1)", level)


def _check_file(content: dict, name: str) -> None:
    """A file beside the results: its name, without a folder, and its SHA-256."""
    entry = _get(content, name)
    if entry is None:
        return
    _expect(isinstance(entry, dict), name, "an object or null", entry)
    for part in ("file", "sha256"):
        _check_text(entry, part, f"{name}.")
    file = entry["file"]
    plain = file not in (".", "..") and len(file.encode()) <= 200 and file.isprintable() and not set("/\\") & set(file)
    _expect(plain, f"{name}.file", "a file name without a folder, of at most 200 bytes", file)


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
    listed = isinstance(labels, list) and labels and all(map(_is_text, labels))
    _expect(listed and len(set(labels)) == len(labels), f"{field}.labels", "a list of different names", labels)
    size = len(labels)
    square = isinstance(matrix, list) and len(matrix) == size and all(_is_counts(row, size) for row in matrix)
    _expect(square, f"{field}.matrix", f"{size} rows of {size} counts", matrix)
    other = _get(confusion, "other", f"{field}.")
    _expect(_is_counts(other, size), f"{field}.other", f"{size} counts", other)
    accuracy = content["metrics"].get(f"{benchmark}/accuracy")
    if accuracy is not None:
        right, samples = sum(row[at] for at, row in enumerate(matrix)), sum(map(sum, matrix)) + sum(other)
        agrees = samples > 0 and math.isclose(accuracy, right / samples, abs_tol=_ROUNDING)
        _expect(agrees, f"metrics.{benchmark}/accuracy", f"{right}/{samples} as in {field}", accuracy)


def _is_counts(values, size: int) -> bool:
    listed = isinstance(values, list) and len(values) == size
    return listed and all(_is_integer(count, 0) for count in values)


def _is_integer(value, low: int, high: int = LARGEST) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_text(content: dict, name: str, prefix: str = "") -> None:
    _expect(_is_text(_get(content, name, prefix)), prefix + name, "a non-empty string", content[name])


def _check_integer(content: dict, name: str, low: int, prefix: str = "", high: int = LARGEST) -> None:
    value = _get(content, name, prefix)
    _expect(_is_integer(value, low, high), prefix + name, f"an integer in [{low}, {high}]", value)


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
    """Finite and no larger than what sums, means and deviations can hold; `NaN` compares as false."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def _expect(holds: bool, field: str, expected: str, got) -> None:
    if not holds:
        field = " ".join(field.split())[:200]  # one line, whatever the keys of the file are
        raise ValueError(f"{field}: expected {expected}, got {_short(got)}")


def _short(value) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 80 else text[:77] + "..."
