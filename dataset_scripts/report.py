"""What `prepare` reports: counts by split, and every difference from the published numbers with its reason."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dataset_scripts.extraction import CRASHED, WRONGLY_CUT
from dataset_scripts.media import BROKEN, MISSING, TOO_LONG
from dataset_scripts.readers import ANY_SPLIT, DUPLICATE, LABEL_OUTSIDE, Reading, Tally
from dataset_scripts.schema import FEATURE_COLUMNS, MODALITIES, SPLITS

CLIP_REASONS = {"missing": (MISSING,), "corrupt": (BROKEN, CRASHED), "too_long": (WRONGLY_CUT, TOO_LONG)}


class SplitCounts:
    """Rows, dialogues, modalities and labels of one split."""

    def __init__(self):
        self._counts, self._polarity, self._emotion = Counter(), Counter(), Counter()
        self._dialogues: set[str] = set()

    def add(self, example: dict[str, Any]) -> None:
        self._counts["rows"] += 1
        self._dialogues.add(example["dialogue_id"])
        self._counts["text"] += example["text"] is not None
        for modality, column in zip(MODALITIES[1:], FEATURE_COLUMNS[1:], strict=True):
            self._counts[modality] += example[column] is not None
        self._polarity[example["polarity"]] += 1
        self._counts["sentiment"] += example["sentiment"] is not None
        if example["emotion"] is not None:
            self._emotion[example["emotion"]] += 1

    def as_dict(self) -> dict[str, Any]:
        return {
            **{name: self._counts[name] for name in ("rows", "text", "audio", "visual", "sentiment")},
            "dialogues": len(self._dialogues),
            "polarity": dict(sorted(self._polarity.items())),
            "emotion": dict(sorted(self._emotion.items())),
        }


def make_report(
    reading: Reading, splits: dict, clips: dict[str, Tally], clip_rows: Mapping[str, int], sets: dict[str, dict]
) -> dict[str, Any]:
    """The content of prepare-report.json.

    Args:
        reading: what the loader read.
        splits: counts of the main feature set by split.
        clips: modality -> clips that gave no features, by reason.
        clip_rows: reason -> rows that it cost one modality or both.
        sets: feature set -> its `source`, `specs`, `rows`, `cells_repaired`, `steps_dropped`, `problems`.
    """
    kept = {split: splits.get(split, {"rows": 0})["rows"] for split in SPLITS}
    empty_text = Tally()
    for item in reading.items:
        if item.example["text"] is None:
            empty_text.add("rows without text", item.example["id"], split=item.example["split"])
    clip_counts = {modality: tally.as_dict() for modality, tally in clips.items()}
    report = {
        "dataset": reading.dataset,
        "layout": reading.layout,
        "rows_read": reading.rows_read,
        "rows_kept": len(reading.items),
        "summary": _summary(reading, empty_text, clip_rows, sets),
        "splits": splits,
        "skipped": reading.skipped.as_dict(),
        "notes": {**reading.notes.as_dict(), **empty_text.as_dict()},
        "clips": clip_counts,
        "expected_rows": reading.expected or None,
        "difference": {split: kept[split] - count for split, count in reading.expected.items()} or None,
        "explanation": _explanation(reading, kept),
        "feature_sets": sets,
    }
    return _encodable(report)


def _encodable(value: Any) -> Any:
    """The same with `?` for what UTF-8 cannot write: names of files may hold bytes that are no text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(entry) for key, entry in value.items()}
    return [_encodable(entry) for entry in value] if isinstance(value, list) else value


def _summary(reading: Reading, empty_text: Tally, clip_rows: Mapping, sets: dict[str, dict]) -> dict[str, int]:
    """The counts that every preparation has, zeros included."""
    skipped = reading.skipped.as_dict()
    counts = {
        "labels_outside_the_set": sum(e["count"] for name, e in skipped.items() if name.startswith(LABEL_OUTSIDE)),
        "duplicates": reading.skipped.count(DUPLICATE),
        "empty_text": empty_text.count("rows without text"),
    }
    for name, reasons in CLIP_REASONS.items():
        counts[f"clips_{name}"] = sum(clip_rows.get(reason, 0) for reason in reasons)
    for name in ("cells_repaired", "steps_dropped"):
        counts[name] = sum(facts[name] for facts in sets.values())
    return counts


def _explanation(reading: Reading, kept: dict[str, int]) -> list[str]:
    """A line for each split whose rows are not as many as published: what of the difference is known.

    Published counts are of rows within the label set, each once: rows outside it and repeats explain no difference.
    """
    lines = []
    reasons = reading.skipped.as_dict()
    for split, published in reading.expected.items():
        if kept[split] == published:
            continue
        skipped = {reason: entry["splits"].get(split, 0) for reason, entry in reasons.items()}
        counted = {reason: count for reason, count in skipped.items() if count and not _is_never_published(reason)}
        parts = [f"{count} skipped ({reason})" for reason, count in counted.items()]
        missing = published - kept[split] - sum(counted.values())
        if missing > 0:
            parts.append(f"{missing} are not in the raw files")
        elif missing < 0:
            parts.append(f"the raw files hold {-missing} labelled rows more than published")
        besides = [f"{count} {reason}" for reason, count in skipped.items() if count and _is_never_published(reason)]
        left_out = f"; besides, left out: {', '.join(besides)}" if besides else ""
        lines.append(f"{split}: {kept[split]} rows, published {published}: {', '.join(parts)}{left_out}")
    unplaced = [
        f"{entry['splits'][ANY_SPLIT]} rows ({name})" for name, entry in reasons.items() if ANY_SPLIT in entry["splits"]
    ]
    if lines and unplaced:
        lines.append(f"of no known split, so that some may be among the missing: {', '.join(unplaced)}")
    return lines


def _is_never_published(reason: str) -> bool:
    return reason == DUPLICATE or reason.startswith(LABEL_OUTSIDE)
