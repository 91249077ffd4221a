"""Universal labels: the half of a label that a data set lacks, copied from the most similar sample of the other task.

MOSI and MOSEI give a sentiment and no emotion, MELD and IEMOCAP an emotion and no sentiment (Hu et al. 2022, section
3.2). A row that lacks one of the two takes it from the row of the same polarity that has it and whose text is nearest
by the cosine of sentence embeddings. Negative and positive rows are searched apart; neutral rows need no donor:
intensity 0.0, emotion neutral. A gold field is never overwritten.

Where we differ from the authors' code: it searches all splits together, so labels of the test set reach training. Here
only rows of `train` give; `leaky_donors=True` reproduces theirs.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_scripts.publish import stamp_card
from dataset_scripts.text_similarity import TfidfEmbedder, nearest_rows, row_lengths
from dataset_scripts.text_similarity import sentence_embedder as sentence_embedder
from modeling_unimse.universal_label_unimse import POLARITIES, native_label, target_intensity

DONOR_POLARITIES = ("negative", "positive")
ROW_COLUMNS = ("id", "dataset", "split", "text", "sentiment", "emotion", "polarity")
LABEL_COLUMNS = ("label_intensity", "label_emotion", "label_donor", "label_similarity")
# Why a row has its label: both fields are gold; the neutral rule; a donor; or the polarity's constants for what it
# lacks, because it has no text, nobody can give (or its embedding is zero), or neither field is gold.
SOURCES = ("gold", "neutral", "donor", "no text", "no donor", "no gold")
_PAIRS_SEED, _PAIRS = 0, 20


@dataclass(frozen=True)
class AssignedLabel:
    """What the label columns of one row hold, and why (`source`, one of SOURCES)."""

    intensity: float
    emotion: str
    donor: str | None
    similarity: float | None
    source: str


# --- labels, on rows --------------------------------------------------------------------------------------------------


def assign_labels(rows: Sequence[Mapping], embeddings, *, leaky_donors: bool = False) -> list[AssignedLabel]:
    """Labels of rows with known embeddings.

    Args:
        rows: mappings with `id` (unique), `split`, `text`, `sentiment`, `emotion` and `polarity` of the normalised row.
        embeddings: (len(rows), D), dense or scipy sparse; a row of zeros counts as a text without an embedding.
        leaky_donors: let rows of every split give, as the authors' code does.

    Raises:
        ValueError: on repeated ids, a wrong number of embeddings, one that is not finite, an unknown polarity, or a
            gold sentiment whose sign is not the polarity's. The message names the row.
    """
    _check_rows(rows, embeddings)
    searchable = [has_text(row) for row in rows] & (row_lengths(embeddings) > 0)
    labels = [label_without_donor(row) for row in rows]
    for missing in ("emotion", "sentiment"):
        for polarity in DONOR_POLARITIES:
            pool = [at for at, row in enumerate(rows) if row["polarity"] == polarity and searchable[at]]
            seekers = [at for at in pool if _seeks(rows[at], missing)]
            donors = [at for at in pool if _gives(rows[at], missing, leaky_donors)]
            donors.sort(key=lambda at: rows[at]["id"])
            if not seekers or not donors:
                continue
            nearest, similarities = nearest_rows(embeddings[seekers], embeddings[donors])
            for at, position, similarity in zip(seekers, nearest, similarities, strict=True):
                labels[at] = _transfer(rows[at], rows[donors[position]], missing, float(similarity))
    return labels


def has_text(row: Mapping) -> bool:
    """Whether the row has a text to search by."""
    return bool((row["text"] or "").strip())


def _seeks(row, missing: str) -> bool:
    present = "sentiment" if missing == "emotion" else "emotion"
    return row[missing] is None and row[present] is not None


def _gives(row, field: str, leaky_donors: bool) -> bool:
    return row[field] is not None and (leaky_donors or row["split"] == "train")


def _transfer(row, donor, missing: str, similarity: float) -> AssignedLabel:
    if missing == "emotion":
        return AssignedLabel(target_intensity(row["sentiment"]), donor["emotion"], donor["id"], similarity, "donor")
    return AssignedLabel(target_intensity(donor["sentiment"]), row["emotion"], donor["id"], similarity, "donor")


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


def _check_rows(rows, embeddings) -> None:
    if embeddings.ndim != 2 or embeddings.shape[0] != len(rows):
        raise ValueError(f"embeddings: expected one vector for each of {len(rows)} rows, got shape {embeddings.shape}")
    lengths = row_lengths(embeddings)
    for row, length in zip(rows, lengths, strict=True):
        if not np.isfinite(length):
            raise ValueError(f"{row['id']}: its embedding holds NaN or infinity; check the embedder")
    check_ids(rows)


def check_ids(rows: Sequence[Mapping]) -> None:
    """Raise a `ValueError` when an id comes twice or a polarity is unknown; ids break ties and name donors."""
    for name, count in Counter(row["id"] for row in rows).items():
        if count > 1:
            raise ValueError(f"{name}: expected ids that are unique over all data sets, got it {count} times")
    for row in rows:
        if row["polarity"] not in POLARITIES:
            raise ValueError(f"{row['id']}: expected a polarity of {', '.join(POLARITIES)}, got {row['polarity']!r}")


# --- prepared folders -------------------------------------------------------------------------------------------------


def label_datasets(
    folders: Sequence[Path], embedder: Callable[[list[str]], np.ndarray] | None = None, *, leaky_donors: bool = False
) -> dict:
    """Fill the label columns of prepared folders, searching donors over all of them together.

    Every folder also gets a `labels.json`: the report over its own rows. It is removed first and written last, so a
    folder without one has no finished labels; each Parquet file is written aside and moved.

    Args:
        folders: what `prepare` wrote; MOSI/MOSEI and MELD/IEMOCAP give to each other only when labelled together.
        embedder: texts -> (n, D) vectors, with a `name`; TF-IDF where none is given.
        leaky_donors: let validation and test rows give, as the authors' code does. Scores are then not honest.

    Returns:
        The report over all rows (see `summarize_labels`).
    """
    embedder = TfidfEmbedder() if embedder is None else embedder
    files = {Path(folder): _parquet_files(Path(folder)) for folder in folders}
    rows = {path: _read_rows(path) for paths in files.values() for path in paths}
    everything = [row for path in rows for row in rows[path]]
    check_ids(everything)
    labels = _label_rows(everything, embedder, leaky_donors)
    settings = {"embedder": getattr(embedder, "name", type(embedder).__name__), "leaky_donors": leaky_donors}
    settings["donors"] = count_donors(everything, leaky_donors)
    texts = {row["id"]: row["text"] for row in everything}
    for folder, paths in files.items():
        own = [row for path in paths for row in rows[path]]
        _write_folder(folder, rows, paths, labels, settings | summarize_labels(own, labels, texts))
    return settings | summarize_labels(everything, labels, texts)


def _label_rows(rows, embedder, leaky_donors: bool) -> dict[str, AssignedLabel]:
    """id -> label. Only texts that can seek or give are embedded, each different text once."""
    labels = {row["id"]: label_without_donor(row) for row in rows}
    searched = [row for row in rows if row["polarity"] in DONOR_POLARITIES and has_text(row)]
    if searched:
        texts = sorted({row["text"] for row in searched})
        if hasattr(embedder, "fit"):
            embedder.fit(sorted({row["text"] for row in searched if leaky_donors or row["split"] == "train"}) or texts)
        position = {text: at for at, text in enumerate(texts)}
        embeddings = _embed(embedder, texts)[[position[row["text"]] for row in searched]]
        found = assign_labels(searched, embeddings, leaky_donors=leaky_donors)
        labels.update((row["id"], label) for row, label in zip(searched, found, strict=True))
    return labels


def _embed(embedder, texts: list[str]):
    embeddings = embedder(texts)
    embeddings = embeddings.tocsr() if hasattr(embeddings, "tocsr") else np.asarray(embeddings)
    if embeddings.ndim != 2 or embeddings.shape[0] != len(texts):
        raise ValueError(f"embedder: expected {len(texts)} vectors for as many texts, got shape {embeddings.shape}")
    return embeddings


def _parquet_files(folder: Path) -> list[Path]:
    paths = sorted((folder / "data").glob("*.parquet"))
    if not paths:
        raise FileNotFoundError(f"{folder}: expected a prepared folder with data/*.parquet; run `unimse prepare` first")
    return paths


def _read_rows(path: Path) -> list[dict]:
    import pyarrow.parquet as pq

    lacking = {*ROW_COLUMNS, *LABEL_COLUMNS} - set(pq.read_schema(path).names)
    if lacking:
        raise ValueError(f"{path}: expected the columns of a prepared folder, lacks {', '.join(sorted(lacking))}")
    return pq.read_table(path, columns=list(ROW_COLUMNS)).to_pylist()


def _write_folder(folder: Path, rows: dict, paths: list[Path], labels: dict, report: dict) -> None:
    aside = folder / ".labels.partial"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for path in paths:
        _write_labels(path, aside / path.name, [labels[row["id"]] for row in rows[path]])
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (aside / "labels.json").write_text(text, encoding="utf-8")
    (folder / "labels.json").unlink(missing_ok=True)
    for path in paths:
        (aside / path.name).replace(path)
    stamp_card(folder)
    (aside / "labels.json").replace(folder / "labels.json")
    aside.rmdir()


def _write_labels(source: Path, target: Path, labels: list[AssignedLabel]) -> None:
    """Copy a Parquet file with new label columns, one row group at a time; schema and metadata stay as they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as reader, pq.ParquetWriter(target, reader.schema_arrow) as writer:
        start = 0
        for group in range(reader.num_row_groups):
            table = reader.read_row_group(group)
            part = labels[start : start + len(table)]
            start += len(table)
            for column in LABEL_COLUMNS:
                at = table.schema.get_field_index(column)
                field = table.schema.field(at)
                values = [getattr(label, column.removeprefix("label_")) for label in part]
                table = table.set_column(at, field, pa.array(values, type=field.type))
            writer.write_table(table, row_group_size=max(1, len(table)))


# --- the report -------------------------------------------------------------------------------------------------------


def count_donors(rows: Sequence[Mapping], leaky_donors: bool) -> dict:
    """field -> polarity -> number of rows that may give it."""

    def give(field, polarity):
        return sum(row["polarity"] == polarity and has_text(row) and _gives(row, field, leaky_donors) for row in rows)

    fields = ("emotion", "sentiment")
    return {field: {polarity: give(field, polarity) for polarity in DONOR_POLARITIES} for field in fields}


def summarize_labels(rows: Sequence[Mapping], labels: Mapping[str, AssignedLabel], texts: Mapping[str, str]) -> dict:
    """What a person reads to judge labels.

    Args:
        rows: the rows reported on.
        labels: id -> label, at least for `rows`.
        texts: id -> text, at least for `rows` and their donors.

    Returns:
        `datasets` (per data set: rows by source, and by polarity, emotion and rounded intensity), `similarity`
        (histogram in steps of 0.1), `pairs` (20 pairs of row and donor drawn with a fixed seed).
    """
    transferred = [row for row in rows if labels[row["id"]].donor is not None]
    counts, edges = np.histogram([labels[row["id"]].similarity for row in transferred], bins=20, range=(-1.0, 1.0))
    names = sorted({row["dataset"] for row in rows})
    return {
        "datasets": {name: _distribution([row for row in rows if row["dataset"] == name], labels) for name in names},
        "similarity": {"edges": edges.round(1).tolist(), "counts": counts.tolist()},
        "pairs": _random_pairs(transferred, labels, texts),
    }


def _distribution(rows, labels) -> dict:
    own = [labels[row["id"]] for row in rows]
    sources, emotions = Counter(label.source for label in own), Counter(label.emotion for label in own)
    polarities, intensities = Counter(row["polarity"] for row in rows), Counter(round(label.intensity) for label in own)
    return {
        "rows": len(rows),
        "source": {source: sources[source] for source in SOURCES},
        "polarity": {polarity: polarities[polarity] for polarity in POLARITIES},
        "emotion": dict(sorted(emotions.items())),
        "intensity": {str(value): intensities[value] for value in range(-3, 4)},
    }


def _random_pairs(rows, labels, texts) -> list[dict]:
    ordered = sorted(rows, key=lambda row: row["id"])
    pairs = []
    for row in random.Random(_PAIRS_SEED).sample(ordered, min(_PAIRS, len(ordered))):
        label = labels[row["id"]]
        pair = {"id": row["id"], "text": row["text"], "donor": label.donor, "donor_text": texts[label.donor]}
        taken = {"emotion": label.emotion} if row["emotion"] is None else {"intensity": label.intensity}
        pairs.append(pair | {"polarity": row["polarity"], "similarity": label.similarity, "taken": taken})
    return pairs
