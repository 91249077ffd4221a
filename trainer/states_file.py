"""Text states beside a results file: for each sample the pooled text state before and after the fusion layers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.parquet_columns import read_columns
from trainer.results_file import Results


def write_states(path: Path, ids: Sequence[str], before: np.ndarray, after: np.ndarray) -> None:
    """Write Parquet with the columns `id`, `before`, `after`.

    Args:
        ids: ids of the samples, as in the predictions.
        before, after: (samples, d) each, finite; kept as float32.

    Raises:
        ValueError: on other shapes, or a value that is not finite.
    """
    import pyarrow
    import pyarrow.parquet

    columns = {"id": pyarrow.array(list(ids), pyarrow.string())}
    for name, states in (("before", before), ("after", after)):
        array = np.asarray(states, dtype=np.float32)
        if array.ndim != 2 or len(array) != len(columns["id"]):
            raise ValueError(f"{path}: {name}: expected shape ({len(columns['id'])}, d), got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: {name}: expected finite numbers, got NaN or infinity")
        columns[name] = pyarrow.array(list(array), pyarrow.list_(pyarrow.float32()))
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def read_states(results: Results) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """(ids, before, after) of a results file, the states as float32 (samples, d); `None` where there are none.

    Raises:
        ValueError: the file is not the one that was written with the results, is no Parquet file, lacks a column or
            has one of another type, has more rows than were scored, or its states are not of one length.
    """
    import pyarrow

    path = results.beside("states")
    if path is None:
        return None
    states = pyarrow.list_(pyarrow.float32())
    schema = pyarrow.schema([("id", pyarrow.string()), ("before", states), ("after", states)])
    table = read_columns(path, schema, 0, results.rows)
    return table["id"].to_pylist(), _matrix(path, table, "before"), _matrix(path, table, "after")


def _matrix(path: Path, table, name: str) -> np.ndarray:
    rows = table[name].to_pylist()
    lengths = sorted({-1 if row is None else len(row) for row in rows})
    if len(lengths) != 1 or lengths[0] < 1:
        raise ValueError(f"{path}: {name}: expected lists of one length, got lengths {lengths}")
    return np.array(rows, dtype=np.float32)
