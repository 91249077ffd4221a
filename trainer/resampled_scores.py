"""The metrics of trainer/metrics as functions of sums over samples, so that thousands of resamples cost one product.

A model's predictions become named columns with one number a sample; a metric is computed from the sums of columns. The
sums over a resample are its draw counts times the columns. A value that does not exist (0 / 0, Corr of constants, MAE
with an output that was no label) is NaN in here and never leaves as such.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Columns = dict[str, np.ndarray]
Scores = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
POLARITIES = {"negative": np.less, "neutral": np.equal, "positive": np.greater}
_CONVENTIONS = ("has0", "non0")
_CELLS = 2**21  # draw counts held at once: 16 MiB
_CONSTANT = 1e-12  # a resample with this share of the whole variance is one value drawn again and again


def total_sums(columns: Mapping[str, np.ndarray]) -> Columns:
    """Sums over all samples, as one resample: arrays of shape (1,)."""
    return {name: np.atleast_1d(column.sum(dtype=np.float64)) for name, column in columns.items()}


def resampled_sums(columns: Mapping[str, np.ndarray], resamples: int, seed: int) -> Columns:
    """Sums over resamples: as many samples as there are, drawn with replacement, the same ones for every column.

    Args:
        columns: name -> (samples,) numbers or flags.

    Returns:
        name -> (resamples,) sums.
    """
    table = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    samples, generator, parts = len(table), np.random.default_rng(seed), []
    at_once = max(1, _CELLS // samples)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = generator.integers(samples, size=(size, samples)) + samples * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * samples).reshape(size, samples)
        with np.errstate(invalid="ignore"):  # NaN stands for an output that was no label
            parts.append(counts.astype(np.float64) @ table)
    return dict(zip(columns, np.concatenate(parts).T, strict=True))


def resampled_differences(a: Columns, b: Columns, scores: Scores, resamples: int, seed: int) -> Columns:
    """score -> (resamples,) values of B - A, both computed from the same draws; NaN where either does not exist."""
    both = {f"a {name}": column for name, column in a.items()} | {f"b {name}": column for name, column in b.items()}
    sums = resampled_sums(both, resamples, seed)
    of_a, of_b = (scores({name: sums[f"{side} {name}"] for name in a}) for side in "ab")
    return {name: of_b[name] - of_a[name] for name in of_a}


# --- sentiment --------------------------------------------------------------------------------------------------------


def sentiment_columns(gold: Sequence[float], predicted: Sequence[float | None]) -> Columns:
    """Columns of one model for `sentiment_scores`; definitions as in trainer/metrics/msa_regression.

    Args:
        gold: finite scores, nominally in [-3, 3].
        predicted: finite scores, `None` where the output was no label.
    """
    y, x = np.array(gold, dtype=np.float64), np.array(predicted, dtype=np.float64)
    errors, read = np.abs(x - y), ~np.isnan(x)
    columns = {"samples": np.ones(len(y)), "error": errors}
    columns |= {f"acc{2 * limit + 1}": _class_of(x, limit) == _class_of(y, limit) for limit in (3, 2)}
    dx, dy = x - x.mean(), y - y.mean()  # else the sums of squares would lose digits
    columns |= {"x": dx, "y": dy, "xx": dx * dx, "yy": dy * dy, "xy": dx * dy}
    columns |= _two_class_columns("has0", y >= 0, x >= 0, read)
    columns |= _two_class_columns("non0", y > 0, x > 0, read, y != 0)
    for name, relation in POLARITIES.items():
        members = relation(y, 0)
        columns |= {f"support/{name}": members, f"acc7/{name}": members & columns["acc7"]}
        columns[f"error/{name}"] = np.where(members, errors, 0.0)
    return columns


def _class_of(values: np.ndarray, limit: int) -> np.ndarray:
    """Classes of Acc-7 (limit 3) and Acc-5 (limit 2): clipped, then rounded half to even."""
    return np.round(np.clip(values, -limit, limit))


def _two_class_columns(convention: str, gold, predicted, read, kept=True) -> Columns:
    columns = {f"acc2_{convention}": kept & read & (gold == predicted)}
    for value in (False, True):
        name = f"{convention}/{value}"
        columns |= _class_columns(name, kept & (gold == value), kept & read & (predicted == value))
    return columns


def _class_columns(name: str, gold: np.ndarray, predicted: np.ndarray) -> Columns:
    return {f"support/{name}": gold, f"claims/{name}": predicted, f"hits/{name}": gold & predicted}


def sentiment_scores(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The metrics of `msa_regression`, and `mae/<polarity>` and `acc7/<polarity>` by the sign of the gold score."""
    samples = sums["samples"]
    scores = {"mae": sums["error"] / samples, "corr": _corr(sums)}
    scores |= {name: sums[name] / samples for name in ("acc7", "acc5")}
    for convention in _CONVENTIONS:
        names = [f"{convention}/{value}" for value in (False, True)]
        kept = sum(sums[f"support/{name}"] for name in names)
        scores[f"acc2_{convention}"] = _ratio(sums[f"acc2_{convention}"], kept)
        scores[f"f1_{convention}"] = _weighted_f1(sums, names)
    for name in POLARITIES:
        scores[f"mae/{name}"] = _ratio(sums[f"error/{name}"], sums[f"support/{name}"])
        scores[f"acc7/{name}"] = _ratio(sums[f"acc7/{name}"], sums[f"support/{name}"])
    return scores


def _corr(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pearson's r from sums of centred values and their products."""
    samples = sums["samples"]
    xx, yy = (sums[2 * name] - sums[name] ** 2 / samples for name in "xy")
    xy = sums["xy"] - sums["x"] * sums["y"] / samples
    varies = (xx > _CONSTANT * sums["xx"].mean()) & (yy > _CONSTANT * sums["yy"].mean())
    return np.where(varies, np.clip(_ratio(xy, np.sqrt(np.where(varies, xx * yy, 0.0))), -1, 1), np.nan)


# --- emotion ----------------------------------------------------------------------------------------------------------


def emotion_columns(gold: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]) -> Columns:
    """Columns of one model for `emotion_scores`; definitions as in trainer/metrics/erc_classification.

    Args:
        predicted: emotions, `None` where the output was no label.
        labels: the benchmark's emotions; a prediction outside them is wrong and claims no class.
    """
    y, x = np.array(gold, dtype=object), np.array(predicted, dtype=object)
    columns = {"samples": np.ones(len(y)), "accuracy": y == x}
    for label in labels:
        columns |= _class_columns(label, y == label, x == label)
    return columns


def emotion_scores(sums: Mapping[str, np.ndarray], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """The metrics of `erc_classification`, and `f1/<label>`; without labels accuracy alone."""
    scores = {"accuracy": sums["accuracy"] / sums["samples"]}
    if not labels:
        return scores
    f1 = np.array([_f1(sums, label) for label in labels])
    defined = ~np.isnan(f1)  # a class neither gold nor predicted does not count
    scores["weighted_f1"] = _weighted_f1(sums, labels)
    scores["macro_f1"] = np.where(defined, f1, 0.0).sum(axis=0) / defined.sum(axis=0)
    return scores | {f"f1/{label}": values for label, values in zip(labels, f1, strict=True)}


def _f1(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return _ratio(2 * sums[f"hits/{name}"], sums[f"support/{name}"] + sums[f"claims/{name}"])


def _weighted_f1(sums: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    supports = [sums[f"support/{name}"] for name in names]
    weighted = [support * np.nan_to_num(_f1(sums, name)) for name, support in zip(names, supports, strict=True)]
    return _ratio(sum(weighted), sum(supports))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return above / np.where(below == 0, np.nan, below)
