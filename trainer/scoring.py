"""Prediction rows -> metrics, by the `evaluate` modules of trainer/metrics; gold fields only.

What training, `unimse evaluate` and whoever makes a table again from its predictions call.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock

METRICS_FOLDER = Path(__file__).parent / "metrics"
# Percentile bootstrap over samples. Utterances of one dialogue are not independent: read intervals as a lower bound.
BOOTSTRAP = {"resamples": 1000, "confidence_level": 0.95, "seed": 0}
_ONE_AT_A_TIME = Lock()  # a loaded module keeps its batch in itself, and a server scores for several readers
_DETAILS = ("per_class", "confusion", "intervals", "reasons", "samples", "parse_failures", "out_of_set")


def score(rows: Sequence[Mapping], emotion_sets: Mapping[str, Sequence[str]], bootstrap: Mapping | None = None) -> dict:
    """Metrics of prediction rows.

    Args:
        rows: `dataset`, `sentiment` and `emotion` (gold or `None`), `prediction`, `predicted_sentiment` and
            `predicted_emotion` (`None` where the output is no label).
        emotion_sets: dataset -> its emotions, in the order of the confusion matrix; of others those that are gold or
            predicted, sorted.
        bootstrap: `resamples`, `confidence_level` and `seed` of the intervals; `None` = no intervals.

    Returns:
        `metrics`: `<dataset>/<metric>` for each dataset and its gold fields (definitions in the cards of
        trainer/metrics), `emotion_accuracy` over all samples with a gold emotion, `parse_failures`; and `intervals`,
        `bootstrap`, `per_class`, `confusion`, `reasons`.
    """
    found: dict = {"metrics": {}, "intervals": {}, "per_class": {}, "confusion": {}, "reasons": {}}
    settings = dict(bootstrap or {})
    for name in dict.fromkeys(row["dataset"] for row in rows):
        members = [row for row in rows if row["dataset"] == name]
        _score_sentiment(f"{name}/", [row for row in members if row["sentiment"] is not None], settings, found)
        with_emotion = [row for row in members if row["emotion"] is not None]
        if with_emotion:
            scores = _score_emotion(with_emotion, emotion_sets.get(name), settings)
            found["per_class"][name], found["confusion"][name] = scores["per_class"], scores["confusion"]
            _add(f"{name}/", scores, found)
    _score_all_emotions([row for row in rows if row["emotion"] is not None], settings, found)
    found["metrics"]["parse_failures"] = sum(row["prediction"] is None for row in rows)
    return found | {"bootstrap": settings or None}


def _score_sentiment(prefix: str, rows: Sequence[Mapping], settings: dict, found: dict) -> None:
    if rows:
        scores = _compute(
            "msa_regression",
            predictions=[row["predicted_sentiment"] for row in rows],
            references=[row["sentiment"] for row in rows],
            **settings,
        )
        _add(prefix, scores, found)


def _score_emotion(rows: Sequence[Mapping], labels: Sequence[str] | None, settings: dict) -> dict:
    return _compute(
        "erc_classification",
        predictions=[row["predicted_emotion"] for row in rows],
        references=[row["emotion"] for row in rows],
        labels=labels and list(labels),
        **settings,
    )


def _score_all_emotions(rows: Sequence[Mapping], settings: dict, found: dict) -> None:
    """The share of right emotions over all datasets together."""
    if rows:
        scores = _score_emotion(rows, None, settings)
        found["metrics"]["emotion_accuracy"] = scores["accuracy"]
        if settings:
            found["intervals"]["emotion_accuracy"] = scores["intervals"]["accuracy"]
        if "intervals/accuracy" in scores["reasons"]:
            found["reasons"]["intervals/emotion_accuracy"] = scores["reasons"]["intervals/accuracy"]


def _add(prefix: str, scores: dict, found: dict) -> None:
    """Enter the scores of one module under their dataset; `intervals/mae` becomes `intervals/mosi/mae`."""
    found["metrics"].update({f"{prefix}{key}": value for key, value in scores.items() if key not in _DETAILS})
    found["intervals"].update({f"{prefix}{key}": value for key, value in scores["intervals"].items()})
    for key, reason in scores["reasons"].items():
        kind, slash, metric = key.partition("/")
        name = f"intervals/{prefix}{metric}" if slash and kind == "intervals" else f"{prefix}{key}"
        found["reasons"][name] = reason


def _compute(name: str, **inputs) -> dict:
    with _ONE_AT_A_TIME:
        return _metric(name).compute(**inputs)


@cache
def _metric(name: str):
    import evaluate

    return evaluate.load(str(METRICS_FOLDER / name), keep_in_memory=True)
