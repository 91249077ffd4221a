"""How a number, a model and a protocol are written in tables and pictures; the one place that decides it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from trainer.hub_folders import hub_file
from trainer.metric_names import METRICS, Metric
from trainer.predictions_file import ABSENT, CHECKED
from trainer.results_file import Results
from trainer.results_groups import Score

MISSING = "n/a"
PROTOCOL_COLUMNS = ("context", "modalities", "decoding")
_SHOWN_OF_MODEL = ("name", "fusion_type", "parameters")
_MODALITY_LETTERS = {"text": "T", "audio": "A", "visual": "V"}


def format_value(metric: Metric, value: float, decimals: int | None = None) -> str:
    """A fraction as percent with two decimals, a number with three, a count as it is."""
    if metric.kind == "count":
        return f"{value:g}"
    percent = metric.kind == "percent"
    return f"{100 * value if percent else value:.{(2 if percent else 3) if decimals is None else decimals}f}"


def format_interval(metric: Metric, interval: tuple[float, float]) -> str:
    """`[82.1, 88.0]`: one decimal fewer than the value, as bounds are no more certain than that."""
    decimals = 1 if metric.kind == "percent" else 2
    return f"[{', '.join(format_value(metric, bound, decimals) for bound in interval)}]"


def format_score(metric: Metric, score: Score | None) -> str:
    """`85.20 ± 0.31` over seeds, `85.20 [82.1, 88.0]` for one seed with its interval; `n/a` where there is no value."""
    if score is None or score.mean is None:
        return MISSING
    text = format_value(metric, score.mean)
    if score.std is not None:
        return f"{text} ± {format_value(metric, score.std)}"
    return text if score.interval is None else f"{text} {format_interval(metric, score.interval)}"


def metric_header(metric: Metric) -> str:
    """The title with an arrow to where better is, which is not known of a metric that is not ours."""
    if metric.key not in METRICS:
        return metric.title
    return metric.title + (" ↓" if metric.lower_is_better else " ↑")


def modality_letters(modalities: Sequence[str]) -> str:
    """`T+A+V`, in this order whatever the order given."""
    return "+".join(_MODALITY_LETTERS[name] for name in _MODALITY_LETTERS if name in modalities)


def protocol_values(protocol: dict) -> list[str]:
    """The values of PROTOCOL_COLUMNS: context as before/after, modalities as letters, decoding."""
    context = f"{protocol['context_before']}/{protocol['context_after']}"
    return [context, modality_letters(protocol["modalities"]), protocol["decoding"]]


def describe_protocol(protocol: dict) -> str:
    """Every field of the protocol in one line, in a fixed order."""
    parts = []
    for name, value in sorted(protocol.items()):
        listed = "+".join(map(str, value)) or "none" if isinstance(value, list) else None
        parts.append(f"{name} {listed or json.dumps(value, ensure_ascii=False)}".replace('"', ""))
    return "; ".join(parts)


def describe_model(model: dict) -> str:
    """Fusion type and whatever else tells one model of a name from another, such as `ffn; sequence_summary mean`."""
    others = [f"{name} {value}" for name, value in sorted(model.items()) if name not in _SHOWN_OF_MODEL]
    return "; ".join([model.get("fusion_type") or "no fusion", *others])


def legend(runs: Sequence[Results], checked: bool = True) -> list[str]:
    """What a reader must know of the tables of these runs: scale, spread, ranks, names. A sentence or two a line.

    Args:
        checked: whether the tables have the column of that name.
    """
    lines = ["Accuracies and F1 are in percent. Several seeds: mean ± sample standard deviation over the seeds."]
    bootstraps = [one.content["bootstrap"] for one in runs if one.content["bootstrap"] is not None]
    if bootstraps:
        levels = " or ".join(f"{100 * level:g}" for level in sorted({part["confidence_level"] for part in bootstraps}))
        resamples = " or ".join(f"{count:,}" for count in sorted({part["resamples"] for part in bootstraps}))
        lines.append(
            f"One seed: the value and in brackets its {levels}% interval, by a percentile bootstrap of {resamples} "
            "resamples of the scored utterances; it tells nothing about other seeds, and is too narrow where the "
            "utterances of a dialogue are alike."
        )
    if checked:
        lines.append(
            f"checked: {CHECKED} = every number was made again from the predictions beside the results file; "
            f"{ABSENT} = shown as written there."
        )
    return [
        *lines,
        "Runs are ranked only within one protocol and one set of scored rows. Arrows: higher or lower is better.",
        "has0: negative / non-negative over all rows; non0: negative / positive over rows with a non-zero gold score.",
    ]


def file_names(results: Sequence[Results]) -> dict[Path, str]:
    """path -> its name below the folder that all files share, so that no table holds a path of one machine.

    A file of the Hub has the name of its repository: `owner/name@0123456789ab/results.json`.
    """
    sources = {one.path: hub_file(one.path) for one in results}
    names = {path: source and source.name for path, source in sources.items()}
    absolute = {path: path.resolve() for path, name in names.items() if name is None}
    base = os.path.commonpath([path.parent for path in absolute.values()]) if absolute else ""
    return names | {path: full.relative_to(base).as_posix() for path, full in absolute.items()}
