"""A benchmark's runs and quoted numbers as CSV: unrounded, a line for each entry, every field of the protocol."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.leaderboard_format import describe_model
from trainer.leaderboard_tables import describe_checks
from trainer.metric_names import METRICS
from trainer.results_groups import Entry, Score, Section

_PARTS = ("mean", "std", "low", "high")


def render_csv(
    sections: Sequence[Section], quoted: Sequence[Mapping], names: Mapping[Path, str], checks: Mapping[Path, str]
) -> str:
    """One line per entry of every section, then the quoted ones.

    Columns `<metric>_mean`, `_std` (over seeds), `_low` and `_high` (interval of one seed); empty where there is none.
    Texts that look like formulas have an apostrophe before them (`plain_cell`).

    Args:
        names: path of a results file -> how the table names it.
        checks: path of a results file -> what `check_predictions` said of it.
    """
    found = {key for section in sections for entry in section.entries for key in entry.scores}
    keys = [key for key in METRICS if key in found] + sorted(found - set(METRICS))
    keys += [key for key in METRICS if key not in keys and any(key in result["metrics"] for result in quoted)]
    rows = [_row(section, entry, names, checks) for section in sections for entry in section.entries]
    rows += [_quoted_row(result) for result in quoted]
    protocol = sorted({name for section in sections for name in section.protocol})
    header = ["section", "rank", "run", "model", "fusion", "parameters", "seeds"]
    header += [f"protocol_{name}" for name in protocol] + ["data_fingerprint", "rows", "split", "official_split"]
    header += [f"{key}_{part}" for key in keys for part in _PARTS] + ["checked", "files", "commits", "source", "note"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(map(plain_cell, line) for line in [header, *([row.get(name) for name in header] for row in rows)])
    return text.getvalue()


def plain_cell(value):
    """The value; a text that a spreadsheet would compute as a formula with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _row(section: Section, entry: Entry, names: Mapping[Path, str], checks: Mapping[Path, str]) -> dict:
    row = {"section": section.number, "rank": entry.rank or "", "run": entry.name, "model": entry.model["name"]}
    row |= {"fusion": describe_model(entry.model), "parameters": entry.model["parameters"]}
    row |= {"seeds": " ".join(map(str, entry.seeds)), "data_fingerprint": section.data["fingerprint"]}
    row |= {"rows": section.data["rows"], "split": section.data["split"], "official_split": section.official}
    for name, value in section.protocol.items():
        row[f"protocol_{name}"] = "+".join(map(str, value)) if isinstance(value, list) else value
    for key, score in entry.scores.items():
        row |= {f"{key}_{part}": value for part, value in _numbers(score).items()}
    row["checked"] = describe_checks(entry.results, checks)
    row["files"] = " ".join(names[one.path] for one in entry.results)
    row["commits"] = " ".join(one.content["commit"] or "none" for one in entry.results)
    return row | {"source": "run"}


def _numbers(score: Score) -> dict[str, float | None]:
    low, high = score.interval or (None, None)
    return dict(zip(_PARTS, (score.mean, score.std, low, high), strict=True))


def _quoted_row(result: Mapping) -> dict:
    row = {"section": "quoted", "run": result["name"], "source": result["source"], "note": result.get("note", "")}
    return row | {f"{key}_mean": value for key, value in result["metrics"].items()}
