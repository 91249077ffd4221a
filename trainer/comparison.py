"""Two evaluations of the same samples: by how much they differ, how surely, in which classes and in which samples.

Everything is paired by sample id, and made from the predictions beside the results files, whose own numbers are made
again first. The values of A and B are the files'; differences under resampling, and values of a class of gold, come
from resampled_scores.py, which tests hold to the conventions of trainer/metrics. The tests are in significance.py.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from trainer.leaderboard_format import file_names
from trainer.metric_names import METRICS, OVERALL, benchmark_order
from trainer.predictions_file import ABSENT, check_predictions, read_predictions
from trainer.resampled_scores import (
    POLARITIES,
    Columns,
    Scores,
    emotion_columns,
    emotion_scores,
    resampled_differences,
    sentiment_columns,
    sentiment_scores,
    total_sums,
)
from trainer.results_file import Results, read_results
from trainer.scoring import BOOTSTRAP
from trainer.significance import FEWEST, bootstrap_p_value, holm, mcnemar_p_value

SCHEMA_VERSION = 1
CONFIDENCE_LEVEL = BOOTSTRAP["confidence_level"]
LARGEST_CHANGES = 20
SENTIMENT, EMOTION = "sentiment", "emotion"
LOST, GAINED = "A right, B wrong", "A wrong, B right"
_GOLD = (SENTIMENT, EMOTION)


@dataclass(frozen=True)
class Comparison:
    """`content`: what comparison.json holds, described in `compare`; `flipped`: one dict a sample that flipped."""

    results: tuple[Results, Results]
    content: dict
    flipped: list[dict]


@dataclass(frozen=True)
class _Task:
    """One kind of gold label of one benchmark: samples as (row of A, row of B), and the numbers of both models."""

    kind: str
    pairs: list[tuple[dict, dict]]
    columns: tuple[Columns, Columns]
    scores: Scores
    differences: dict[str, np.ndarray]

    def totals(self) -> list[dict[str, float]]:
        """The scores of A and of B over all samples."""
        both = [self.scores(total_sums(columns)) for columns in self.columns]
        return [{name: float(values[0]) for name, values in scores.items()} for scores in both]


def compare(a: str | Path, b: str | Path, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Compare two results files, or run folders that hold a `results.json`, with their predictions beside them.

    Returns:
        The comparison; its `content` has `schema_version`, `a` and `b` (file, digest, run, seed, model, weights),
        `settings`, `protocol_differences` (field -> [A's, B's]), `data_differences` (benchmark -> fingerprints),
        `only_a`, `only_b` (benchmarks), `samples` (how many were compared), `parse_failures` ([A's, B's] among them)
        and `benchmarks`: name -> `metrics` (name -> `a`, `b`, `difference` B - A, `interval`, `p`, `p_holm`, `mcnemar`,
        `reason` why a value is null), `classes`, `flipped` (counts) and `error_changes`. Nothing is rounded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a wrong or edited results file, no predictions beside it, no benchmark in common, other samples or
            gold labels; names the file and the first sample.
    """
    for name, value, least in (("resamples", resamples, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name}: expected a whole number >= {least}, got {value}")
    results = tuple(_read(Path(path)) for path in (a, b))
    pairs = _pair(results)
    settings = {"resamples": resamples, "seed": seed, "confidence_level": CONFIDENCE_LEVEL}
    benchmarks, flipped = {}, []
    for name, members in pairs.items():
        tasks = list(_tasks(name, members, results, settings))
        benchmarks[name] = _compare_benchmark(name, tasks, results)
        flipped += [{"benchmark": name, **row} for task in tasks for row in _flips(task)]
    only = [sorted({*one.content["data"]} - set(pairs), key=benchmark_order) for one in results]
    overall = None if any(only) else _compare_overall(pairs, results, settings)
    benchmarks = {OVERALL: overall, **benchmarks} if overall else benchmarks
    _adjust(benchmarks)
    samples = [pair for members in pairs.values() for pair in members]
    content = {
        "schema_version": SCHEMA_VERSION,
        **_describe_sides(results),
        "settings": settings,
        "protocol_differences": _protocol_differences(results),
        "data_differences": _data_differences(pairs, results),
        "only_a": only[0],
        "only_b": only[1],
        "samples": len(samples),
        "parse_failures": [sum(pair[side]["prediction"] is None for pair in samples) for side in (0, 1)],
        "benchmarks": benchmarks,
    }
    return Comparison(results, content, flipped)


# --- which samples ----------------------------------------------------------------------------------------------------


def _read(path: Path) -> Results:
    if seeds := sorted(map(str, path.glob("seed-*"))):
        raise ValueError(f"{path}: expected one evaluation, or the run folder of one seed, such as {seeds[0]}")
    results = read_results(path / "results.json" if path.is_dir() else path)
    if check_predictions(results) == ABSENT:
        raise ValueError(
            f"{results.path}: expected its predictions beside it, since samples are compared one by one; there is no "
            f"{(results.content['predictions'] or {'file': 'such file'})['file']}. Keep it with the results file, or "
            "evaluate the model again"
        )
    return results


def _pair(results: tuple[Results, Results]) -> dict[str, list[tuple[dict, dict]]]:
    """benchmark -> (row of A, row of B) of each sample, in A's order."""
    data = [one.content["data"] for one in results]
    shared = sorted(set(data[0]) & set(data[1]), key=benchmark_order)
    if not shared:
        raise ValueError(
            f"{results[1].path}: expected a benchmark of {results[0].path} ({', '.join(data[0])}), "
            f"got {', '.join(data[1])}; evaluate both models on the same data"
        )
    rows = [read_predictions(one) for one in results]
    for name in shared:
        _check_same_labels(name, results)
    return {name: _pair_rows(name, results, rows) for name in shared}


def _check_same_labels(name: str, results: tuple[Results, Results]) -> None:
    labels = [one.content["confusion"].get(name, {}).get("labels") for one in results]
    if labels[0] != labels[1]:
        raise ValueError(
            f"{results[1].path}: confusion.{name}.labels: expected {labels[0]} as in {results[0].path}, "
            f"got {labels[1]}; evaluate both models again"
        )


def _pair_rows(name: str, results: tuple[Results, Results], rows: Sequence[list[dict]]) -> list[tuple[dict, dict]]:
    a, b = (_by_id(name, one, members) for one, members in zip(results, rows, strict=True))
    for here, there, one, other in ((a, b, *results), (b, a, *reversed(results))):
        missing = next((sample for sample in here if sample not in there), None)
        if missing is not None:
            raise ValueError(
                f"{other.path}: {name}: expected the samples of {one.path}, {missing!r} is missing; evaluate both "
                "models on the same prepared data"
            )
    for sample, row in a.items():
        for field in _GOLD:
            if row[field] != b[sample][field]:
                raise ValueError(
                    f"{results[1].path}: {name}: {sample!r}: expected the gold {field} {row[field]!r} as in "
                    f"{results[0].path}, got {b[sample][field]!r}; evaluate both models on the same prepared data"
                )
    return [(row, b[sample]) for sample, row in a.items()]


def _by_id(name: str, results: Results, rows: Sequence[dict]) -> dict[str, dict]:
    found = {}
    for row in rows:
        if row["dataset"] == name and found.setdefault(row["id"], row) is not row:
            raise ValueError(f"{results.path}: {name}: expected each sample once, {row['id']!r} comes twice")
    return found


# --- how both models do -----------------------------------------------------------------------------------------------


def _tasks(
    name: str, pairs: Sequence[tuple[dict, dict]], results: tuple[Results, Results], settings
) -> Iterator[_Task]:
    """Samples with a gold sentiment, and those with a gold emotion; most benchmarks have one of the two."""
    sentiment, emotion = ([pair for pair in pairs if pair[0][field] is not None] for field in _GOLD)
    if sentiment:
        yield _task(SENTIMENT, sentiment, sentiment_columns, sentiment_scores, settings)
    if emotion:
        labels = results[0].content["confusion"][name]["labels"]
        yield _emotion_task(emotion, labels, settings)


def _emotion_task(pairs: Sequence[tuple[dict, dict]], labels: Sequence[str], settings: dict) -> _Task:
    columns = partial(emotion_columns, labels=labels)
    return _task(EMOTION, pairs, columns, partial(emotion_scores, labels=labels), settings)


def _task(kind: str, pairs, make_columns: Callable[..., Columns], scores: Scores, settings: dict) -> _Task:
    gold = [row[kind] for row, _ in pairs]
    a, b = (make_columns(gold, [pair[side][f"predicted_{kind}"] for pair in pairs]) for side in (0, 1))
    differences = resampled_differences(a, b, scores, settings["resamples"], settings["seed"])
    return _Task(kind, list(pairs), (a, b), scores, differences)


def _compare_benchmark(name: str, tasks: Sequence[_Task], results: tuple[Results, Results]) -> dict:
    metrics, classes, flipped, changes = {}, [], {}, []
    for task in tasks:
        for key in METRICS:
            if key in task.differences:
                metrics[key] = _compare_metric(task, key, *_values(name, key, results))
        classes += _compare_polarities(task) if task.kind == SENTIMENT else _compare_classes(name, task, results)
        kinds = [row["change"] for row in _flips(task)]
        flipped[task.kind] = {"only_a_right": kinds.count(LOST), "only_b_right": kinds.count(GAINED)}
        changes += _error_changes(task) if task.kind == SENTIMENT else []
    data = {"rows": results[0].data(name)["rows"], "fingerprint": results[0].data(name)["fingerprint"]}
    data["splits"] = [one.data(name)["split"] for one in results]
    return {"data": data, "metrics": metrics, "classes": classes, "flipped": flipped, "error_changes": changes}


def _values(name: str, key: str, results: tuple[Results, Results]) -> tuple[list[float | None], str | None]:
    """A metric of A and of B, as the results files have it, and why one is null."""
    values = [one.scores(name)[key] for one in results]
    reasons = [
        f"{side}: {one.reason(name, key)}"
        for side, one, value in zip("AB", results, values, strict=True)
        if value is None
    ]
    return values, "; ".join(reasons) or None


def _compare_metric(task: _Task, key: str, values: Sequence[float | None], reason: str | None) -> dict:
    found = _difference(values, task.differences[key], len(task.pairs), reason)
    tested = found["interval"] is not None and len(task.pairs) >= FEWEST
    found["p"] = bootstrap_p_value(found["difference"], task.differences[key]) if tested else None
    if found["interval"] is not None and not tested:
        found["reason"] = f"no p of the bootstrap for {len(task.pairs)} samples; expected at least {FEWEST}"
    found["p_holm"] = None
    found["mcnemar"] = _mcnemar(*(columns[key] for columns in task.columns)) if key in task.columns[0] else None
    return found


def _difference(values: Sequence[float | None], resampled: np.ndarray, samples: int, reason: str | None) -> dict:
    """`a`, `b`, `difference`, `interval` (percentiles of the resampled differences) and `reason` why one is null."""
    a, b = values
    found = {"a": a, "b": b, "difference": None, "interval": None, "reason": reason}
    if a is None or b is None:
        return found
    found["difference"] = b - a
    if samples < 2:
        return found | {"reason": "fewer than two samples"}
    undefined = int(np.isnan(resampled).sum())
    if undefined:
        return found | {"reason": f"undefined in {undefined} of {len(resampled)} resamples"}
    tail = (1 - CONFIDENCE_LEVEL) / 2
    return found | {"interval": np.quantile(resampled, [tail, 1 - tail]).tolist()}


def _mcnemar(a: np.ndarray, b: np.ndarray) -> dict:
    """Of a metric that is a share of right samples; a, b: (samples,) whether the model is right."""
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return {"only_a_right": only_a, "only_b_right": only_b, "p": mcnemar_p_value(only_a, only_b), "p_holm": None}


def _compare_overall(pairs: dict[str, list], results: tuple[Results, Results], settings: dict) -> dict | None:
    """`emotion_accuracy` over all benchmarks; with emotions in one only it is that one's accuracy, tested already."""
    parts = [[pair for pair in members if pair[0]["emotion"] is not None] for members in pairs.values()]
    if sum(map(bool, parts)) < 2:
        return None
    task = _emotion_task([pair for part in parts for pair in part], (), settings)
    values, reason = _values(OVERALL, "emotion_accuracy", results)
    return {"metrics": {"emotion_accuracy": _compare_metric(task, "accuracy", values, reason)}}


def _adjust(benchmarks: dict) -> None:
    """Fill in `p_holm`: one family of all bootstrap tests, one of all McNemar tests."""
    metrics = [found for part in benchmarks.values() for found in part["metrics"].values()]
    for family in (metrics, [found["mcnemar"] for found in metrics if found["mcnemar"]]):
        tested = [test for test in family if test["p"] is not None]
        for test, adjusted in zip(tested, holm([test["p"] for test in tested]), strict=True):
            test["p_holm"] = adjusted


# --- in which classes and samples -------------------------------------------------------------------------------------


def _compare_classes(name: str, task: _Task, results: tuple[Results, Results]) -> list[dict]:
    """F1 of each emotion, as the results files have it."""
    found = []
    a, b = (one.content["per_class"][name] for one in results)
    for label, scores in a.items():
        values = [scores["f1"], b[label]["f1"]]
        sides = [side for side, value in zip("AB", values, strict=True) if value is None]
        reason = f"{' and '.join(sides)}: neither gold nor predicted" if sides else None
        difference = _difference(values, task.differences[f"f1/{label}"], len(task.pairs), reason)
        found.append({"class": label, "metric": "f1", "support": scores["support"], **difference})
    return found


def _compare_polarities(task: _Task) -> list[dict]:
    """MAE and Acc-7 of the samples of each gold polarity."""
    a, b = task.totals()
    found = []
    for polarity in POLARITIES:
        support = int(task.columns[0][f"support/{polarity}"].sum())
        for metric in ("mae", "acc7"):
            key = f"{metric}/{polarity}"
            values = [None if np.isnan(scores[key]) else scores[key] for scores in (a, b)]
            reason = "an output that is no label" if support else "no samples"
            difference = _difference(values, task.differences[key], support, reason if None in values else None)
            found.append({"class": polarity, "metric": metric, "support": support, **difference})
    return found


def _flips(task: _Task) -> list[dict]:
    """Samples that one model alone gets right: the gold emotion, or the gold class of Acc-7."""
    right = [columns["acc7" if task.kind == SENTIMENT else "accuracy"] for columns in task.columns]
    return [
        {"gold_field": task.kind, "change": LOST if a_right else GAINED, **_sample(task.kind, pair)}
        for pair, a_right, b_right in zip(task.pairs, *right, strict=True)
        if a_right != b_right
    ]


def _sample(kind: str, pair: tuple[dict, dict]) -> dict:
    """What was scored of both, and the labels as they were written: by the posterior these may be others."""
    scored = {side: row[f"predicted_{kind}"] for side, row in zip("ab", pair, strict=True)}
    written = {f"{side}_label": row["prediction"] for side, row in zip("ab", pair, strict=True)}
    return {"id": pair[0]["id"], "gold": pair[0][kind], **scored, **written}


def _error_changes(task: _Task) -> list[dict]:
    """The samples whose absolute error changes most; those without a label of either model have no error."""
    changes = task.columns[1]["error"] - task.columns[0]["error"]
    known = [at for at in range(len(changes)) if not np.isnan(changes[at]) and changes[at]]
    largest = sorted(known, key=lambda at: (-round(abs(changes[at]), 9), task.pairs[at][0]["id"]))[:LARGEST_CHANGES]
    return [{**_sample(task.kind, task.pairs[at]), "error_change": float(changes[at])} for at in largest]


# --- what was compared ------------------------------------------------------------------------------------------------


def _describe_sides(results: tuple[Results, Results]) -> dict:
    names = file_names(results)
    return {
        side: {
            "file": names[one.path],
            "digest": one.content["digest"],
            "run": one.run,
            "seed": one.seed,
            "model": one.content["model"],
            "weights": one.content["checkpoint"].get("weights"),
        }
        for side, one in zip("ab", results, strict=True)
    }


def _data_differences(names: Iterable[str], results: tuple[Results, Results]) -> dict[str, list[str]]:
    """Benchmarks whose prepared files differ, in labels for training or in features: samples and gold are the same."""
    prints = {name: [one.data(name)["fingerprint"] for one in results] for name in names}
    return {name: pair for name, pair in prints.items() if pair[0] != pair[1]}


def _protocol_differences(results: tuple[Results, Results]) -> dict[str, list]:
    """field -> [A's, B's] where they differ; null where one has no such field."""
    a, b = (one.protocol for one in results)
    return {name: [a.get(name), b.get(name)] for name in sorted({*a, *b}) if a.get(name) != b.get(name)}
