"""Feature cells of Arrow tables as arrays, straight from the buffers.

The numpy format of `datasets` builds types and copies for every cell anew, which is most of the time of reading a
single row; `benchmarks/loading_speed.py` measures both.
"""

import numpy as np


def feature_cells(column) -> list[np.ndarray | None]:
    """The cells of an `Array2D((None, d))` column.

    Args:
        column: a `pyarrow.ChunkedArray`, as `table.with_format("arrow")[...]` of a `datasets.Dataset` has it; or one of
            type null, of a modality without features.

    Returns:
        For each row a (T, d) array that reads the column's own memory and cannot be written to, or `None`.
    """
    return [cell for chunk in column.chunks for cell in _cells_of(chunk)]


def _cells_of(chunk) -> list[np.ndarray | None]:
    if chunk.null_count == len(chunk):
        return [None] * len(chunk)
    # list<list<value>>: `steps` bounds the time steps of each cell, `bounds` the values of each time step. Offsets are
    # those of this slice, while `values` is all that lies behind them.
    cells, width = chunk.storage, chunk.type.shape[1]
    steps, bounds = cells.offsets.to_numpy(), cells.values.offsets.to_numpy()
    values = cells.values.values.to_numpy(zero_copy_only=True)
    edges = bounds[steps]
    present = chunk.is_valid().to_numpy(zero_copy_only=False)
    return [
        values[edges[row] : edges[row + 1]].reshape(-1, width) if present[row] else None for row in range(len(chunk))
    ]
