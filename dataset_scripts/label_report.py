"""The report by which a person judges universal labels.

labels.png        similarities of donors, and emotions of the labels, by data set
label-pairs.md    20 random pairs of row and donor, to read
labels.json       all of it as numbers
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.donors import DONOR_POLARITIES, SOURCES, AssignedLabel, DonatedEmotion
from modeling_unimse.universal_label_unimse import EMOTIONS, POLARITIES

_PAIRS_SEED, _PAIRS = 0, 20
_BINS, _RANGE = 20, (-1.0, 1.0)
_GIVERS = {
    "emotion": "meld, iemocap or custom data with emotions",
    "sentiment": "mosi, mosei or custom data with sentiments",
}


def summarize_labels(
    rows: Sequence[Mapping],
    labels: Mapping[str, AssignedLabel],
    texts: Mapping[str, str],
    emotions: Mapping[str, Mapping[str, DonatedEmotion]] | None = None,
) -> dict[str, Any]:
    """What a person reads to judge labels.

    Args:
        rows: the rows reported on.
        labels: id -> label, at least for `rows`.
        texts: id -> text, at least for `rows` and their donors.
        emotions: data set -> id -> the emotion it gives, where that was asked for.

    Returns:
        `warnings` (see `label_warnings`), `datasets` (per data set: rows by source, and by polarity, emotion and
        rounded intensity, and a histogram of similarities), `similarity` (the histogram over all, in steps of 0.1),
        `pairs` (20 pairs of row and donor drawn with a fixed seed).
    """
    emotions = emotions or {}
    names = sorted({row["dataset"] for row in rows})
    parts = {name: [row for row in rows if row["dataset"] == name] for name in names}
    transferred = [row for row in rows if labels[row["id"]].donor is not None]
    edges = np.linspace(*_RANGE, _BINS + 1).round(1).tolist()
    return {
        "warnings": label_warnings(rows, labels, emotions),
        "datasets": {name: _distribution(part, labels, emotions) for name, part in parts.items()},
        "similarity": {"edges": edges, "counts": _similarities(transferred, labels)},
        "pairs": _random_pairs(transferred, labels, texts),
    }


def label_warnings(
    rows: Sequence[Mapping],
    labels: Mapping[str, AssignedLabel],
    emotions: Mapping[str, Mapping[str, DonatedEmotion]] | None = None,
) -> list[str]:
    """One line for each polarity and field of rows that have a text and found no donor."""
    lines = []
    for missing in _GIVERS:
        for polarity in DONOR_POLARITIES:
            alone = [row for row in rows if row["polarity"] == polarity and row[missing] is None]
            alone = [row for row in alone if labels[row["id"]].source == "no donor"]
            if alone:
                lines.append(_fallback_warning(alone, missing, labels[alone[0]["id"]]))
    for name, given in (emotions or {}).items():
        alone = [row for row in rows if given[row["id"]].source == "no donor"]
        if alone:
            kept = f"their label_emotion_{name} stays null; label {name} together with them"
            lines.append(f"{len(alone)} rows of {_names(alone)} found no donor in {name}: {kept}")
    return lines


def _fallback_warning(rows, missing: str, label: AssignedLabel) -> str:
    kept = f"emotion {label.emotion}" if missing == "emotion" else f"intensity {label.intensity}"
    found = f"{len(rows)} {rows[0]['polarity']} rows of {_names(rows)} found no donor"
    return f"{found} and have {kept} without one: label {_GIVERS[missing]} together with them"


def _names(rows) -> str:
    return ", ".join(sorted({row["dataset"] for row in rows}))


def _distribution(rows, labels, emotions) -> dict[str, Any]:
    own = [labels[row["id"]] for row in rows]
    polarities, intensities = Counter(row["polarity"] for row in rows), Counter(round(label.intensity) for label in own)
    found = {
        "rows": len(rows),
        "source": _sources(own),
        "polarity": {polarity: polarities[polarity] for polarity in POLARITIES},
        "emotion": _emotion_counts(own),
        "intensity": {str(value): intensities[value] for value in range(-3, 4)},
        "similarity": _similarities([row for row in rows if labels[row["id"]].donor is not None], labels),
    }
    for name, given in emotions.items():
        donated = [given[row["id"]] for row in rows]
        found[f"emotion_{name}"] = {"source": _sources(donated), "emotion": _emotion_counts(donated)}
    return found


def _sources(labels) -> dict[str, int]:
    counts = Counter(label.source for label in labels)
    return {source: counts[source] for source in SOURCES}


def _emotion_counts(labels) -> dict[str, int]:
    return dict(sorted(Counter(label.emotion for label in labels if label.emotion is not None).items()))


def _similarities(transferred, labels) -> list[int]:
    return np.histogram([labels[row["id"]].similarity for row in transferred], _BINS, _RANGE)[0].tolist()


def _random_pairs(rows, labels, texts) -> list[dict[str, Any]]:
    ordered = sorted(rows, key=lambda row: row["id"])
    pairs = []
    for row in random.Random(_PAIRS_SEED).sample(ordered, min(_PAIRS, len(ordered))):
        label = labels[row["id"]]
        pair = {"id": row["id"], "text": row["text"], "donor": label.donor, "donor_text": texts[label.donor]}
        taken = {"emotion": label.emotion} if row["emotion"] is None else {"intensity": label.intensity}
        pairs.append(pair | {"polarity": row["polarity"], "similarity": label.similarity, "taken": taken})
    return pairs


# --- files ------------------------------------------------------------------------------------------------------------


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write LABEL_REPORT into `folder`: the same bytes for the same report."""
    draw_report(report, folder / "labels.png")
    (folder / "label-pairs.md").write_text(pairs_table(report), encoding="utf-8")
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (folder / "labels.json").write_text(text, encoding="utf-8")


def pairs_table(report: Mapping[str, Any]) -> str:
    """The random pairs as a Markdown table, the most similar first."""
    head = [
        "# Pairs of row and donor",
        f"{len(report['pairs'])} drawn at random, the most similar first. Embedder: {report['embedder']}.",
        "| similarity | polarity | row | donor | taken |\n|---:|---|---|---|---|",
    ]
    lines = []
    for pair in sorted(report["pairs"], key=lambda pair: (-pair["similarity"], pair["id"])):
        ((field, value),) = pair["taken"].items()
        cells = [f"{pair['similarity']:.3f}", pair["polarity"], _quoted(pair["text"], pair["id"])]
        cells += [_quoted(pair["donor_text"], pair["donor"]), f"{field} {value}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n\n".join(head) + "\n" + "\n".join(lines) + "\n" * bool(lines)


def _quoted(text: str, name: str) -> str:
    text = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
    name = name.replace("|", "\\|")  # a table's cell ends at a bar, even within code
    return f"{text} (`{name}`)"


def check_drawing() -> None:
    """Raise an `ImportError` unless the report can be drawn: before hours of embedding."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise ImportError("the report of labels is drawn with matplotlib: pip install matplotlib")


def draw_report(report: Mapping[str, Any], path: Path) -> None:
    """Draw a row for each data set: similarities of its donors on the left, emotions of its labels on the right."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    datasets = report["datasets"]
    emotions = _emotion_order(datasets.values())
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a user has set: the same bytes everywhere
        figure = Figure(figsize=(11, 0.9 + 2.9 * len(datasets)), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"Universal labels, donors by {report['embedder']}", fontsize=11, parse_math=False)
        axes = figure.subplots(len(datasets), 2, squeeze=False, width_ratios=(1, 1.4))
        for (left, right), (name, part) in zip(axes, datasets.items(), strict=True):
            _draw_similarities(left, name, part, report["similarity"]["edges"])
            _draw_emotions(right, name, part, emotions)
        figure.savefig(path, format="png", metadata={"Software": None})  # no version of the library


def _emotion_series(part: Mapping[str, Any]) -> dict[str, Mapping[str, int]]:
    """Column -> emotion -> rows: the union label's, and each data set's own where they were made."""
    own = {f"label_{key}": part[key]["emotion"] for key in part if key.startswith("emotion_")}
    return {"label_emotion": part["emotion"], **own}


def _emotion_order(parts) -> list[str]:
    """The union's emotions that occur, in its order, then those of custom data."""
    found = {emotion for part in parts for counts in _emotion_series(part).values() for emotion in counts}
    return [name for name in EMOTIONS if name in found] + sorted(found - set(EMOTIONS))


def _draw_similarities(axes, name: str, part: Mapping[str, Any], edges: Sequence[float]) -> None:
    counts = part["similarity"]
    axes.stairs(counts, edges, fill=True, color="tab:blue")
    lowest = next((edge for edge, count in zip(edges, counts, strict=False) if count), 0.0)
    axes.set(xlim=(min(0.0, lowest), 1.0), ylim=(0, max(counts) * 1.08 or 1), ylabel="rows")
    axes.set_xlabel("cosine of row and donor")
    axes.set_title(f"{name}: {sum(counts)} of {part['rows']} rows have a donor", fontsize=10)


def _draw_emotions(axes, name: str, part: Mapping[str, Any], emotions: Sequence[str]) -> None:
    """Bars of the union label, and beside them those of each data set's own emotions where they were made."""
    series = _emotion_series(part)
    width = 0.8 / len(series)
    for place, (label, counts) in enumerate(series.items()):
        left = np.arange(len(emotions)) - 0.4 + place * width
        bars = axes.bar(left, [counts.get(emotion, 0) for emotion in emotions], width, align="edge", label=label)
        axes.bar_label(bars, fontsize=8 if len(series) == 1 else 6)
    axes.set_xticks(range(len(emotions)), emotions, fontsize=8)
    axes.set_title(f"{name}: emotions of the labels of all {part['rows']} rows", fontsize=10)
    axes.margins(y=0.12)
    if len(series) > 1:
        axes.legend(fontsize=8)
