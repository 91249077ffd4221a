"""The label columns of prepared Parquet files: those of every file, and those of each data set's own emotions.

label_intensity, label_emotion, label_donor, label_similarity         the universal label; always there
label_emotion_meld, label_donor_meld, label_similarity_meld           with per-dataset emotions only
label_emotion_iemocap, label_donor_iemocap, label_similarity_iemocap  with per-dataset emotions only
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_scripts.donors import AssignedLabel, DonatedEmotion

ROW_COLUMNS = ("id", "dataset", "split", "text", "sentiment", "emotion", "polarity")
LABEL_COLUMNS = ("label_intensity", "label_emotion", "label_donor", "label_similarity")
EMOTION_DATASETS = ("meld", "iemocap")
_PARTS = {"emotion": "string", "donor": "string", "similarity": "float64"}
OPTIONAL_COLUMNS = {f"label_{part}_{name}": kind for name in EMOTION_DATASETS for part, kind in _PARTS.items()}


def label_cells(label: AssignedLabel, emotions: Mapping[str, DonatedEmotion] | None = None) -> dict[str, Any]:
    """Column -> cell of one row; `emotions` by data set where the optional columns are wanted."""
    cells = {column: getattr(label, column.removeprefix("label_")) for column in LABEL_COLUMNS}
    for name, emotion in (emotions or {}).items():
        cells.update({f"label_{part}_{name}": getattr(emotion, part) for part in _PARTS})
    return cells


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a prepared file without features and labels.

    Raises:
        ValueError: when it lacks a column of a prepared file.
    """
    import pyarrow.parquet as pq

    lacking = {*ROW_COLUMNS, *LABEL_COLUMNS} - set(pq.read_schema(path).names)
    if lacking:
        raise ValueError(f"{path}: expected the columns of a prepared folder, lacks {', '.join(sorted(lacking))}")
    return pq.read_table(path, columns=list(ROW_COLUMNS)).to_pylist()


def read_ids(paths: Sequence[Path]) -> list[str]:
    """The ids of the rows of several files, in order."""
    import pyarrow.parquet as pq

    return [name for path in paths for name in pq.read_table(path, columns=["id"]).column("id").to_pylist()]


def write_labels(source: Path, target: Path, cells: Mapping[str, Mapping[str, Any]], optional: bool) -> None:
    """Copy a Parquet file with new label columns, one row group at a time; everything else stays as it is.

    Args:
        source, target: Parquet files.
        cells: id -> column -> cell, see `label_cells`.
        optional: whether `target` has the optional columns; those of `source` are not carried over.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as reader:
        schema = _schema_with(reader.schema_arrow, OPTIONAL_COLUMNS if optional else {})
        columns = [*LABEL_COLUMNS, *(OPTIONAL_COLUMNS if optional else ())]
        with pq.ParquetWriter(target, schema) as writer:
            for group in range(reader.num_row_groups):
                table = reader.read_row_group(group)
                rows = [cells[name] for name in table.column("id").to_pylist()]
                fresh = {name: pa.array([row[name] for row in rows], schema.field(name).type) for name in columns}
                arrays = [fresh[name] if name in fresh else table.column(name) for name in schema.names]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=max(1, len(table)))


def _schema_with(schema, optional: Mapping[str, str]):
    """`schema` with exactly these optional columns, last, also in the metadata by which `datasets` reads the file."""
    from datasets import Features, Value

    if [name for name in schema.names if name in OPTIONAL_COLUMNS] == list(optional):
        return schema
    features = Features.from_arrow_schema(schema)
    features = Features({name: kind for name, kind in features.items() if name not in OPTIONAL_COLUMNS})
    features.update({name: Value(kind) for name, kind in optional.items()})
    fresh = features.arrow_schema
    return fresh.with_metadata({**(schema.metadata or {}), **fresh.metadata})
