"""Which row gives a label to which: the rules of universal labels, on rows with known embeddings.

- A row that lacks one half (sentiment or emotion) takes it from the nearest row that has it as gold, by the cosine of
  text embeddings. Negative and positive rows are searched apart; neutral rows need no donor.
- Only rows of `train` give, unless donors may leak.
- A benchmark never takes from one of its own task: MOSI and MOSEI take emotions from MELD, IEMOCAP and custom data,
  MELD and IEMOCAP take intensities from MOSI, MOSEI and custom data. Custom data may take from any that has what they
  lack. What custom data give may be an emotion outside the union set.
- A gold field is never overwritten. Ties go to the smallest id.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dataset_scripts.text_similarity import nearest_rows, row_lengths
from modeling_unimse.universal_label_unimse import POLARITIES, native_label, target_intensity

DONOR_POLARITIES = ("negative", "positive")
FIELDS = ("emotion", "sentiment")
# Why a row has its label: both fields are gold; the neutral rule; a donor; or the polarity's constants for what it
# lacks, because it has no text, nobody can give (or its embedding is zero), or neither field is gold.
SOURCES = ("gold", "neutral", "donor", "no text", "no donor", "no gold")
_TASKS = {"mosi": "sentiment", "mosei": "sentiment", "meld": "emotion", "iemocap": "emotion"}


@dataclass(frozen=True)
class AssignedLabel:
    """What the label columns of one row hold, and why (`source`, one of SOURCES)."""

    intensity: float
    emotion: str
    donor: str | None
    similarity: float | None
    source: str


@dataclass(frozen=True)
class DonatedEmotion:
    """An emotion of one data set's set for one row, and why: `source` is gold, neutral, donor, no text or no donor.

    Unlike a universal label it has no constant to fall back on: `emotion` is None without a text or donor.
    """

    emotion: str | None
    donor: str | None
    similarity: float | None
    source: str


def assign_labels(
    rows: Sequence[Mapping], embeddings, *, leaky_donors: bool = False, search: str = "exact"
) -> list[AssignedLabel]:
    """Labels of rows with known embeddings.

    Args:
        rows: mappings with `id` (unique), `dataset`, `split`, `text`, `sentiment`, `emotion` and `polarity` of the
            normalised row.
        embeddings: (len(rows), D), dense or scipy sparse; a row of zeros counts as a text without an embedding.
        leaky_donors: let rows of every split give, as the authors' code does.
        search: see `text_similarity.nearest_rows`.

    Raises:
        ValueError: on repeated ids, a wrong number of embeddings, one that is not finite, an unknown polarity, or a
            gold sentiment whose sign is not the polarity's. The message names the row.
    """
    searchable = _searchable(rows, embeddings)
    labels = [label_without_donor(row) for row in rows]
    for missing in FIELDS:
        for task in (None, *sorted(set(_TASKS.values()))):
            seekers = [at for at in searchable if _seeks(rows[at], missing) and task_of(rows[at]) == task]
            donors = [at for at in searchable if _gives(rows[at], missing, leaky_donors) and may_give(task, rows[at])]
            for at, donor, similarity in _nearest_donors(rows, embeddings, seekers, donors, search):
                labels[at] = _transfer(rows[at], rows[donor], missing, similarity)
    return labels


def donated_emotions(
    rows: Sequence[Mapping], embeddings, dataset: str, *, leaky_donors: bool = False, search: str = "exact"
) -> list[DonatedEmotion]:
    """For each row an emotion as `dataset` would call it: its own gold where it is of that data set, else a donor's.

    Args and errors as in `assign_labels`; only rows of `dataset` give.
    """
    searchable = _searchable(rows, embeddings)
    emotions = [emotion_without_donor(row, dataset) for row in rows]
    seekers = [at for at in searchable if emotions[at].emotion is None]
    donors = [at for at in searchable if rows[at]["dataset"] == dataset and _gives(rows[at], "emotion", leaky_donors)]
    for at, donor, similarity in _nearest_donors(rows, embeddings, seekers, donors, search):
        emotions[at] = DonatedEmotion(rows[donor]["emotion"], rows[donor]["id"], similarity, "donor")
    return emotions


def has_text(row: Mapping) -> bool:
    """Whether the row has a text to search by."""
    return bool((row["text"] or "").strip())


def task_of(row: Mapping) -> str | None:
    """What the row's benchmark annotates: `sentiment` or `emotion`; None of custom data, which may have either."""
    return _TASKS.get(row["dataset"])


def may_give(task: str | None, donor: Mapping) -> bool:
    """Whether a row may give to rows of `task` as far as their data sets go."""
    return task is None or task_of(donor) != task


def label_without_donor(row: Mapping) -> AssignedLabel:
    """The row's own gold fields, and the polarity's constants for what it lacks."""
    try:
        label = native_label(row["polarity"], row["sentiment"], row["emotion"])
    except ValueError as error:
        raise ValueError(f"{row['id']}: {error}; correct the row and prepare the data set again") from error
    if row["polarity"] == "neutral":
        source = "neutral"
    elif row["sentiment"] is not None and row["emotion"] is not None:
        source = "gold"
    elif row["sentiment"] is None and row["emotion"] is None:
        source = "no gold"
    else:
        source = "no donor" if has_text(row) else "no text"
    return AssignedLabel(label.intensity, label.emotion, None, None, source)


def emotion_without_donor(row: Mapping, dataset: str) -> DonatedEmotion:
    """The row's gold emotion where it is of `dataset`, the neutral rule, or nothing."""
    if row["dataset"] == dataset and row["emotion"] is not None:
        return DonatedEmotion(row["emotion"], None, None, "gold")
    if row["polarity"] == "neutral":
        return DonatedEmotion("neutral", None, None, "neutral")
    return DonatedEmotion(None, None, None, "no donor" if has_text(row) else "no text")


def count_donors(rows: Sequence[Mapping], leaky_donors: bool) -> dict[str, dict[str, int]]:
    """field -> polarity -> number of rows that may give it."""

    def give(field, polarity):
        return sum(row["polarity"] == polarity and has_text(row) and _gives(row, field, leaky_donors) for row in rows)

    return {field: {polarity: give(field, polarity) for polarity in DONOR_POLARITIES} for field in FIELDS}


def check_ids(rows: Sequence[Mapping]) -> None:
    """Raise a `ValueError` when an id comes twice or a polarity is unknown; ids break ties and name donors."""
    for name, count in Counter(row["id"] for row in rows).items():
        if count > 1:
            raise ValueError(f"{name}: expected ids that are unique over all data sets, got it {count} times")
    for row in rows:
        if row["polarity"] not in POLARITIES:
            raise ValueError(f"{row['id']}: expected a polarity of {', '.join(POLARITIES)}, got {row['polarity']!r}")


def _nearest_donors(rows, embeddings, seekers, donors, search: str) -> Iterator[tuple[int, int, float]]:
    """(seeker, donor, similarity) as positions in `rows`, within each polarity; nothing where nobody gives."""
    for polarity in DONOR_POLARITIES:
        seeking = [at for at in seekers if rows[at]["polarity"] == polarity]
        giving = [at for at in donors if rows[at]["polarity"] == polarity]
        giving.sort(key=lambda at: rows[at]["id"])
        if seeking and giving:
            nearest, similarities = nearest_rows(embeddings[seeking], embeddings[giving], search)
            for at, position, similarity in zip(seeking, nearest, similarities, strict=True):
                yield at, giving[position], float(similarity)


def _seeks(row, missing: str) -> bool:
    present = "sentiment" if missing == "emotion" else "emotion"
    return row[missing] is None and row[present] is not None


def _gives(row, field: str, leaky_donors: bool) -> bool:
    return row[field] is not None and (leaky_donors or row["split"] == "train")


def _transfer(row, donor, missing: str, similarity: float) -> AssignedLabel:
    if missing == "emotion":
        return AssignedLabel(target_intensity(row["sentiment"]), donor["emotion"], donor["id"], similarity, "donor")
    return AssignedLabel(target_intensity(donor["sentiment"]), row["emotion"], donor["id"], similarity, "donor")


def _searchable(rows, embeddings) -> list[int]:
    """Positions of the rows that can seek or give: with a text and an embedding that is not zero. Checks everything."""
    if embeddings.ndim != 2 or embeddings.shape[0] != len(rows):
        raise ValueError(f"embeddings: expected one vector for each of {len(rows)} rows, got shape {embeddings.shape}")
    lengths = row_lengths(embeddings)
    for row, length in zip(rows, lengths, strict=True):
        if not np.isfinite(length):
            raise ValueError(f"{row['id']}: its embedding holds NaN or infinity; check the embedder")
    check_ids(rows)
    return [at for at, row in enumerate(rows) if has_text(row) and lengths[at] > 0]
