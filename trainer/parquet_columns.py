"""Columns of a Parquet file of known types, which may come from anybody."""

from pathlib import Path

from dataset_scripts.hub_names import error_line


def read_columns(path: Path, schema, fewest: int, most: int):
    """The `pyarrow.Table` of the schema's columns; others are passed over.

    Rows are counted before any is read, since a small file may claim any number of them.

    Args:
        schema: `pyarrow.Schema`.
        fewest, most: how many rows there may be.

    Raises:
        ValueError: no Parquet file, more or fewer rows, a column that is missing or of another type.
    """
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_shape(path, schema, file.schema_arrow.names, file.metadata.num_rows, (fewest, most))
            return file.read(columns=schema.names).select(schema.names).cast(schema)
    except (OSError, pyarrow.ArrowException) as error:
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise ValueError(f"{path}: expected Parquet with {columns}; it cannot be read ({error_line(error)})") from error


def _check_shape(path: Path, schema, names: list[str], rows: int, allowed: tuple[int, int]) -> None:
    missing = [name for name in schema.names if name not in names]
    if missing:
        raise ValueError(f"{path}: expected the columns {', '.join(schema.names)}; {', '.join(missing)} missing")
    fewest, most = allowed
    if not fewest <= rows <= most:
        expected = f"{most}" if fewest == most else f"{fewest} to {most}"
        raise ValueError(f"{path}: expected {expected} rows, as data of the results says, got {rows}")
