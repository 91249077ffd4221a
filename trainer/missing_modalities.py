"""One training under several sets of modalities: what it loses when some of them are missing.

Only evaluations that differ in nothing but the modalities stand in one row: same run, seeds, weights, other protocol
and scored data.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.metric_names import MODALITIES
from trainer.results_groups import Entry, Score, Section, mean_score

COMPLETE = ("text", "audio", "visual")
INCOMPLETE = (
    *(("text", "audio"), ("text", "visual"), ("audio", "visual")),
    *(("text",), ("audio",), ("visual",)),
)
CONDITIONS = (COMPLETE, *INCOMPLETE)


@dataclass(frozen=True)
class Sweep:
    """The entries of one training by condition, and what they share: the protocol without modalities, and the data."""

    protocol: dict
    data: dict
    entries: dict[tuple[str, ...], Entry]

    @property
    def first(self) -> Entry:
        return next(iter(self.entries.values()))

    def mean_over_incomplete(self, key: str) -> Score | None:
        """Mean of a metric over the six incomplete conditions; `None` where one is not there or has no value.

        The deviation is that of the seeds' own means.
        """
        if any(condition not in self.entries for condition in INCOMPLETE):
            return None
        scores = [self.entries[condition].scores.get(key) for condition in INCOMPLETE]
        if any(score is None or score.mean is None for score in scores):
            return None
        runs = zip(*(self.entries[condition].values(key) for condition in INCOMPLETE), strict=True)
        return mean_score([sum(values) / len(values) for values in runs])


def build_sweeps(sections: Sequence[Section]) -> tuple[list[list[Sweep]], list[str]]:
    """(sweeps that share protocol and data together, names left out).

    Left out are runs that were evaluated under several sets of modalities, but with other seeds or weights in each.
    """
    found: dict[str, dict[str, Sweep]] = {}
    conditions: dict[str, set] = {}
    for section in sections:
        rest = {name: value for name, value in section.protocol.items() if name != "modalities"}
        condition = tuple(name for name in MODALITIES if name in section.protocol["modalities"])
        rows = found.setdefault(_key(rest, section.data), {})
        for entry in section.entries:
            sweep = rows.setdefault(_training(entry), Sweep(rest, section.data, {}))
            sweep.entries[condition] = entry
            conditions.setdefault(entry.name, set()).add(condition)
    groups = [
        sorted((sweep for sweep in rows.values() if len(sweep.entries) > 1), key=lambda sweep: sweep.first.name)
        for _, rows in sorted(found.items())
    ]
    shown = {sweep.first.name for group in groups for sweep in group}
    left_out = sorted(name for name, seen in conditions.items() if len(seen) > 1 and name not in shown)
    return [group for group in groups if group], left_out


def _training(entry: Entry) -> str:
    weights = [one.content["checkpoint"].get("weights") for one in entry.results]
    return _key(entry.name, entry.model, entry.seeds, weights)


def _key(*parts) -> str:
    return json.dumps(parts, sort_keys=True)
