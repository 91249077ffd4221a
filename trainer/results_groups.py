"""Runs grouped for a table: mean and deviation over seeds, ranked only against what may be compared.

Runs are grouped by name without seed, those of the Hub by owner too. Groups with the same protocol and the same scored
data form a section; a rank is a rank within its section.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trainer.metric_names import METRICS, MODALITIES, PRIMARY_METRICS, Metric, benchmark_order, is_official
from trainer.results_file import Results


@dataclass(frozen=True)
class Score:
    """Mean and sample standard deviation over seeds; both None where any seed has no value (`reason` says why).

    `interval` is the bootstrap interval of the one seed's value, `None` for several seeds, whose spread is `std`.
    """

    mean: float | None
    std: float | None
    reason: str | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Entry:
    """One line of a table: the runs of one group that share benchmark, protocol and data, by seed."""

    benchmark: str
    name: str
    results: tuple[Results, ...]
    scores: dict[str, Score]
    rank: int | None = None

    @property
    def model(self) -> dict:
        return self.results[0].content["model"]

    @property
    def seeds(self) -> list[int]:
        return [one.seed for one in self.results]

    def values(self, key: str) -> list[float | None]:
        """One metric of every seed."""
        return [one.scores(self.benchmark).get(key) for one in self.results]


@dataclass(frozen=True)
class Section:
    """What may be ranked together: one benchmark, one protocol, one set of scored rows."""

    benchmark: str
    number: int
    protocol: dict
    data: dict
    entries: tuple[Entry, ...]

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of the section, known ones first, in the order of METRICS."""
        found = {key for entry in self.entries for key in entry.scores}
        unknown = [Metric(key, key, "number") for key in sorted(found - set(METRICS))]
        return [metric for key, metric in METRICS.items() if key in found] + unknown

    @property
    def official(self) -> bool:
        return is_official(self.benchmark, self.data)


def build_sections(results: Sequence[Results]) -> dict[str, list[Section]]:
    """benchmark -> its sections. Those with most modalities come first, entries by rank, then name."""
    tables = {}
    for benchmark in sorted({name for one in results for name in one.benchmarks}, key=benchmark_order):
        own = [one for one in results if benchmark in one.benchmarks]
        parts = _group(own, lambda one, name=benchmark: [one.protocol, one.data(name)])
        parts.sort(key=lambda part: modality_order(part[0].protocol))
        tables[benchmark] = [_section(benchmark, number, part) for number, part in enumerate(parts, start=1)]
    return tables


def modality_order(protocol: dict) -> tuple[int, list[int]]:
    """Sort key: text+audio+visual, then pairs, then single ones; text before audio before visual."""
    places = [place for place, name in enumerate(MODALITIES) if name in protocol["modalities"]]
    return -len(places), places


def _group(results, key: Callable[[Results], list]) -> list[list[Results]]:
    """Results with equal keys together, ordered by key."""
    groups: dict[str, list[Results]] = {}
    for one in results:
        groups.setdefault(json.dumps(key(one), sort_keys=True), []).append(one)
    return [groups[name] for name in sorted(groups)]


def _section(benchmark: str, number: int, results: list[Results]) -> Section:
    groups = _group(results, lambda one: [one.entry, one.content["model"]])
    entries = [_entry(benchmark, _one_a_seed(benchmark, group)) for group in groups]
    return Section(benchmark, number, results[0].protocol, results[0].data(benchmark), _rank(entries))


def _one_a_seed(benchmark: str, results: list[Results]) -> list[Results]:
    """Results by seed. A training scored again on the same rows counts once, by the file that can be made again from
    its predictions where there is one; other scores for the same rows are refused.
    """
    seeds: dict[int, Results] = {}
    for one in sorted(results, key=lambda one: (one.seed, one.beside("predictions") is None, str(one.path))):
        first = seeds.setdefault(one.seed, one)
        if first.scores(benchmark) != one.scores(benchmark):
            raise ValueError(
                f"{one.path}: expected the {benchmark} scores of {first.path}, which is the same run, seed, protocol "
                "and data; got others. Give each run a name of its own"
            )
    return list(seeds.values())


def _entry(benchmark: str, results: list[Results]) -> Entry:
    keys = list(dict.fromkeys(key for one in results for key in one.scores(benchmark)))
    return Entry(
        benchmark, results[0].entry, tuple(results), {key: score_over_seeds(benchmark, key, results) for key in keys}
    )


def score_over_seeds(benchmark: str, key: str, results: Sequence[Results]) -> Score:
    """One metric of a run: mean and deviation over the results of its seeds."""
    values = {one.seed: one.scores(benchmark).get(key) for one in results}
    for one in results:
        if values[one.seed] is None:
            known = key in one.scores(benchmark)
            return Score(None, None, f"seed {one.seed}: {one.reason(benchmark, key) if known else 'not evaluated'}")
    interval = results[0].interval(benchmark, key) if len(results) == 1 else None
    return replace(mean_score(list(values.values())), interval=interval and tuple(interval))


def mean_score(values: Sequence[float]) -> Score:
    """Mean and sample standard deviation of one value a seed."""
    return Score(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def class_scores(entry: Entry) -> dict[str, tuple[Score, int]]:
    """label -> (F1 over the seeds, support); no labels where a run has none."""
    parts = [one.content["per_class"].get(entry.benchmark, {}) for one in entry.results]
    scores = {}
    for label, first in parts[0].items():
        values = [part.get(label, {}).get("f1") for part in parts]
        score = Score(None, None, "not defined for every seed") if None in values else mean_score(values)
        scores[label] = score, first["support"]
    return scores


def primary_metric(entries: Sequence[Entry]) -> Metric | None:
    """The metric that ranks: the first of PRIMARY_METRICS that any entry has."""
    found = {key for entry in entries for key in entry.scores}
    return next((METRICS[key] for key in PRIMARY_METRICS if key in found), None)


def _rank(entries: list[Entry]) -> tuple[Entry, ...]:
    """Entries by the primary metric; equal means share a rank; those without a value come last, unranked."""
    metric = primary_metric(entries)
    means = [entry.scores[metric.key].mean if metric and metric.key in entry.scores else None for entry in entries]
    sign = 1 if metric and metric.lower_is_better else -1
    ranked = []
    for entry, mean in zip(entries, means, strict=True):
        better = [other for other in means if other is not None and mean is not None and sign * other < sign * mean]
        ranked.append(replace(entry, rank=None if mean is None else 1 + len(better)))
    return tuple(sorted(ranked, key=lambda entry: (entry.rank is None, entry.rank, entry.name)))
