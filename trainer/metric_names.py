"""What is measured, by name: how a metric is shown and ranked, and which test sets are the official ones."""

import math
from dataclasses import dataclass

MODALITIES = ("text", "audio", "visual")
# The whole run, next to the benchmarks: metrics without a "benchmark/" prefix.
OVERALL = "overall"
# Rows of the official test splits. IEMOCAP: 1650 in the UniMSE authors' files, 1623 of them in the six classes.
OFFICIAL_TEST_ROWS = {"mosi": (686,), "mosei": (4659,), "meld": (2610,), "iemocap": (1650, 1623)}


@dataclass(frozen=True)
class Metric:
    """How one metric is shown: `kind` is `percent`, `number` or `count`."""

    key: str
    title: str
    kind: str
    lower_is_better: bool = False


METRICS = {
    metric.key: metric
    for metric in (
        Metric("mae", "MAE", "number", lower_is_better=True),
        Metric("corr", "Corr", "number"),
        Metric("acc7", "Acc-7", "percent"),
        Metric("acc5", "Acc-5", "percent"),
        Metric("acc2_has0", "Acc-2 has0", "percent"),
        Metric("acc2_non0", "Acc-2 non0", "percent"),
        Metric("f1_has0", "F1 has0", "percent"),
        Metric("f1_non0", "F1 non0", "percent"),
        Metric("accuracy", "Accuracy", "percent"),
        Metric("weighted_f1", "Weighted F1", "percent"),
        Metric("macro_f1", "Macro F1", "percent"),
        Metric("emotion_accuracy", "Emotion accuracy", "percent"),
        Metric("parse_failures", "Parse failures", "count", lower_is_better=True),
    )
}
# A benchmark is ranked by the first of these that any of its runs has.
PRIMARY_METRICS = ("weighted_f1", "mae", "emotion_accuracy")


def benchmark_of(key: str) -> str:
    """`mosi/mae` -> `mosi`; a key without a prefix belongs to `overall`."""
    return key.split("/")[0] if "/" in key else OVERALL


def benchmark_order(name: str) -> tuple[int, str]:
    """Sort key: overall, MOSI, MOSEI, MELD, IEMOCAP, then data sets of one's own by name."""
    order = [OVERALL, *OFFICIAL_TEST_ROWS]
    return (order.index(name) if name in order else len(order)), name


def is_official(benchmark: str, data: dict) -> bool:
    """Whether the number of rows is that of the benchmark's official test split."""
    return data["split"] == "test" and data["rows"] in OFFICIAL_TEST_ROWS.get(benchmark, ())


def value_range(name: str) -> tuple[float, float]:
    """Lowest and highest value that a metric, named without its benchmark, can have."""
    if name == "corr":
        return -1, 1
    return (0, 1) if name in METRICS and METRICS[name].kind == "percent" else (0, math.inf)
