"""Predictions beside a results file: one row a sample as Parquet, and the results made from them once more."""

from collections.abc import Sequence
from pathlib import Path

from trainer.parquet_columns import read_columns
from trainer.results_file import Results
from trainer.scoring import score

CHECKED, ABSENT = "recomputed", "no predictions"
_SCORED = ("metrics", "intervals", "per_class", "confusion", "reasons")
_PROBABILITIES = ("emotion_probabilities", "polarity_probabilities")


def _schema():
    import pyarrow

    text, number = pyarrow.string(), pyarrow.float64()
    shares = pyarrow.list_(pyarrow.struct([("label", text), ("probability", number)]))
    return pyarrow.schema(
        [
            *((name, text) for name in ("id", "dataset")),
            *(("sentiment", number), ("emotion", text)),
            *(("prediction", text), ("predicted_sentiment", number), ("predicted_emotion", text)),
            ("label_probability", number),
            *((name, shares) for name in _PROBABILITIES),
        ]
    )


def write_predictions(path: Path, rows: Sequence[dict]) -> None:
    """Write prediction rows.

    Args:
        rows: `id`, `dataset`; `sentiment`, `emotion` (gold or `None`); `prediction` (label text, `None` where the
            output is no label), `predicted_sentiment`, `predicted_emotion`; `label_probability`,
            `emotion_probabilities` and `polarity_probabilities` (label -> probability), each `None` where the
            decoding gives none.
    """
    import pyarrow
    import pyarrow.parquet

    columns = {name: [row[name] for row in rows] for name in _schema().names}
    for name in _PROBABILITIES:
        columns[name] = [_as_list(shares) for shares in columns[name]]
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=_schema()), path)


def _as_list(shares: dict[str, float] | None) -> list[dict] | None:
    return shares and [{"label": label, "probability": share} for label, share in shares.items()]


def read_predictions(results: Results) -> list[dict] | None:
    """The prediction rows of a results file, as `write_predictions` takes them; `None` where they are not beside it.

    Raises:
        ValueError: the file is not the one that was written with the results, is no Parquet file, lacks a column or
            has one of another type, or has more or fewer rows than were scored.
    """
    path = results.beside("predictions")
    if path is None:
        return None
    rows = read_columns(path, _schema(), results.rows, results.rows).to_pylist()
    for row in rows:
        for name in _PROBABILITIES:
            row[name] = row[name] and {part["label"]: part["probability"] for part in row[name] if part}
    return rows


def check_predictions(results: Results) -> str:
    """Make every number of a results file again from its predictions: `recomputed`, or `no predictions` without them.

    Raises:
        ValueError: a number, or how many rows there are, differs; names the first.
    """
    rows = read_predictions(results)
    if rows is None:
        return ABSENT
    content = results.content
    for name, part in content["data"].items():
        found = sum(row["dataset"] == name for row in rows)
        if found != part["rows"]:
            raise ValueError(
                f"{results.path}: data.{name}.rows: expected {found} as in the predictions, got {part['rows']}"
            )
    sets = {name: confusion["labels"] for name, confusion in content["confusion"].items()}
    made = score(rows, sets, content["bootstrap"])
    for field in _SCORED:
        for key in sorted({*made[field], *content[field]}):
            if made[field].get(key) != content[field].get(key):
                raise ValueError(
                    f"{results.path}: {field}.{key}: expected {made[field].get(key)} as the predictions give, got "
                    f"{content[field].get(key)}; evaluate the model again"
                )
    return CHECKED
