"""Scores of sentiment regression in [-3, 3], as MMSA and the authors of UniMSE compute them for MOSI and MOSEI.

Accuracies and F1 are fractions in [0, 1]. The README beside this file is the card: definitions, conventions, examples.
A prediction is None where the model's output could not be parsed. It is never dropped: every accuracy counts it as
wrong, and MAE and Corr, which have no value for it, become None with the reason (MAE may charge a penalty instead).
"""

import datasets
import evaluate
import numpy as np

_LARGEST = 1e100  # of a number that is scored, so that no square or sum overflows
_CELLS = 2**20  # numbers in each array of a chunk of resamples: 8 MiB
_DESCRIPTION = (
    "MAE, Pearson correlation, Acc-7, Acc-5, and two-class accuracy and weighted F1 in both named conventions "
    "(negative / non-negative over all samples, negative / positive over the samples with a non-zero gold score)."
)
_CITATION = """\
@inproceedings{hu2022unimse,
  title = {{UniMSE}: Towards Unified Multimodal Sentiment Analysis and Emotion Recognition},
  author = {Hu, Guimin and Lin, Ting-En and Zhao, Yi and Lu, Guangming and Wu, Yuchuan and Li, Yongbin},
  booktitle = {Proceedings of EMNLP},
  year = {2022}
}
"""
_KWARGS_DESCRIPTION = """
Args:
    predictions (list of float or None): predicted sentiment; None where the output could not be parsed; any finite
        number is scored as it is, also outside [-3, 3].
    references (list of float): gold sentiment; must be finite.
    failure_penalty (float, optional): absolute error charged to MAE for each prediction that is None, for example 6.0,
        the widest distance inside [-3, 3]. Without it MAE is None as soon as one prediction is None.
    resamples (int): bootstrap resamples for `intervals`; 0 for none.
    confidence_level (float): share of the resampled values inside an interval, in (0, 1).
    seed (int): of the resampling; the same seed gives the same intervals.
Returns:
    dict: mae, corr, acc7, acc5, acc2_has0, acc2_non0, f1_has0, f1_non0 (float or None), samples (int),
    parse_failures (int), intervals (dict: each of those scores -> [low, high] or None; empty without resamples),
    reasons (dict: the key of each value that is None, `intervals/<score>` for an interval -> why).
Examples:
    >>> metric = evaluate.load("trainer/metrics/msa_regression")
    >>> metric.compute(predictions=[1.2, -0.4, 0.0], references=[1.0, -1.0, 0.5])["acc2_has0"]
    1.0
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class MSARegression(evaluate.Metric):
    """The `evaluate` module around `score_sentiment`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            # float64, not evaluate's usual float32: the gold score enters MAE and Corr as it stands in the data.
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(self, predictions, references, failure_penalty=None, resamples=0, confidence_level=0.95, seed=0):
        options = {"resamples": resamples, "confidence_level": confidence_level, "seed": seed}
        return score_sentiment(predictions, references, failure_penalty, **options)


def score_sentiment(
    predictions, references, failure_penalty=None, *, resamples=0, confidence_level=0.95, seed=0
) -> dict:
    """All scores of one list of predictions; see `_KWARGS_DESCRIPTION` for arguments and returned keys.

    Raises:
        ValueError: on lists of different lengths, a gold score or a prediction that is NaN or infinite, a gold score
            that is None, a penalty that is not a finite number of at least 0, or resampling options out of range.
    """
    predictions, failed = _as_vector(predictions, "predictions", "a finite number, or None for an unparsed output")
    references, unknown = _as_vector(references, "references", "a finite number")
    _check(predictions, references, unknown, failure_penalty)
    _check_resampling(resamples, confidence_level, seed)
    reasons = {}
    scores = {
        "mae": _mae(predictions, references, failed, failure_penalty, reasons),
        "corr": _corr(predictions, references, failed, reasons),
        "acc7": _rounded_accuracy(predictions, references, 3, "acc7", reasons),
        "acc5": _rounded_accuracy(predictions, references, 2, "acc5", reasons),
    }
    everything, non_zero = np.ones(len(references), dtype=bool), references != 0
    has0 = _two_classes(predictions >= 0, references >= 0, failed, everything, "has0", reasons)
    non0 = _two_classes(predictions > 0, references > 0, failed, non_zero, "non0", reasons)
    scores.update(acc2_has0=has0[0], acc2_non0=non0[0], f1_has0=has0[1], f1_non0=non0[1])
    intervals = {}
    if resamples:
        errors = _absolute_errors(predictions, references, failed, failure_penalty)
        resampled = _resampled_scores(predictions, references, failed, errors, resamples, seed)
        intervals = _intervals(scores, resampled, len(references), confidence_level, reasons)
    scores.update(samples=len(references), parse_failures=int(failed.sum()), intervals=intervals, reasons=reasons)
    return scores


def _as_vector(values, name: str, expected: str) -> tuple[np.ndarray, np.ndarray]:
    """(numbers, NaN for None; which are None). Refuses NaN and infinity, so that only None can mean a failure."""
    missing = np.array([value is None for value in values], dtype=bool)
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected a flat list of numbers ({error})") from None
    if vector.ndim != 1:
        raise ValueError(f"{name}: expected a flat list of numbers, got shape {vector.shape}")
    wrong = np.flatnonzero(~(np.abs(vector) <= _LARGEST) & ~missing)  # so that no sum of them overflows
    if len(wrong):
        raise ValueError(f"{name}[{wrong[0]}]: expected {expected}, got {vector[wrong[0]]}")
    return vector, missing


def _check(predictions, references, unknown, failure_penalty) -> None:
    if len(predictions) != len(references):
        raise ValueError(f"expected as many predictions as references, got {len(predictions)} and {len(references)}")
    if unknown.any():
        raise ValueError(f"references[{np.flatnonzero(unknown)[0]}]: expected a finite number, got None")
    if failure_penalty is not None and not (
        isinstance(failure_penalty, int | float) and 0 <= failure_penalty <= _LARGEST
    ):
        raise ValueError(f"failure_penalty: expected a finite number >= 0, got {failure_penalty}")


def _check_resampling(resamples, confidence_level, seed) -> None:
    for name, value in (("resamples", resamples), ("seed", seed)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name}: expected a whole number >= 0, got {value!r}")
    if not (isinstance(confidence_level, int | float) and 0 < confidence_level < 1):
        raise ValueError(f"confidence_level: expected a number between 0 and 1, got {confidence_level!r}")


def _mae(predictions, references, failed, failure_penalty, reasons):
    """Mean absolute error, unclipped; a failure costs `failure_penalty`."""
    if not len(references):
        reasons["mae"] = "no samples"
        return None
    if failed.any() and failure_penalty is None:
        reasons["mae"] = f"{int(failed.sum())} parse failures and no failure_penalty"
        return None
    return float(_absolute_errors(predictions, references, failed, failure_penalty).mean())


def _absolute_errors(predictions, references, failed, failure_penalty) -> np.ndarray:
    errors = np.abs(predictions - references)
    errors[failed] = failure_penalty if failure_penalty is not None else np.nan
    return errors


def _corr(predictions, references, failed, reasons):
    """Pearson's r, or None where it is not defined."""
    if len(references) < 2:
        reasons["corr"] = "fewer than two samples"
    elif failed.any():
        reasons["corr"] = f"{int(failed.sum())} parse failures"
    elif np.ptp(predictions) == 0:
        reasons["corr"] = "predictions are constant"
    elif np.ptp(references) == 0:
        reasons["corr"] = "references are constant"
    else:
        return float(_pearson(predictions, references))
    return None


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r along the last axis."""
    return np.clip((_unit_deviations(x) * _unit_deviations(y)).sum(axis=-1), -1.0, 1.0)


def _unit_deviations(values: np.ndarray) -> np.ndarray:
    """Deviations from the mean, scaled to length 1; scaled by the largest first, so that tiny ones do not underflow."""
    deviations = values - values.mean(axis=-1, keepdims=True)
    deviations /= np.abs(deviations).max(axis=-1, keepdims=True)
    return deviations / np.linalg.norm(deviations, axis=-1, keepdims=True)


def _rounded_accuracy(predictions, references, limit: int, key: str, reasons):
    """Share of equal classes after clipping to [-limit, limit] and rounding half to even (numpy's rule)."""
    if not len(references):
        reasons[key] = "no samples"
        return None
    return float(_equal_rounded(predictions, references, limit).mean())


def _equal_rounded(predictions, references, limit: int) -> np.ndarray:
    """NaN equals nothing, so a failure is wrong."""
    return np.round(np.clip(predictions, -limit, limit)) == np.round(np.clip(references, -limit, limit))


def _two_classes(predicted, gold, failed, kept, convention: str, reasons):
    """(accuracy, weighted F1) over the samples in `kept`; a failure belongs to no class, so it is wrong for either."""
    if not kept.any():
        why = "no samples" if not len(gold) else "no gold score other than 0"
        reasons[f"acc2_{convention}"] = reasons[f"f1_{convention}"] = why
        return None, None
    predicted = np.where(failed, -1, predicted.astype(int))[kept]
    gold = gold.astype(int)[kept]
    return float((predicted == gold).mean()), _weighted_f1(predicted, gold)


def _weighted_f1(predicted, gold) -> float:
    """F1 = 2 tp / (gold + predicted) of each gold class, weighted by its share of the gold labels."""
    f1 = 0.0
    for label in np.unique(gold):
        support, hits = (gold == label).sum(), ((gold == label) & (predicted == label)).sum()
        f1 += support / len(gold) * 2 * hits / (support + (predicted == label).sum())
    return float(f1)


# --- bootstrap --------------------------------------------------------------------------------------------------------
# scipy.stats.bootstrap is not used: it would be the module's only need for scipy, would draw anew for each of the eight
# scores, and returns NaN without saying in how many resamples a score did not exist. The little that erc_classification
# does alike stands there too: each module is one file, as `evaluate` loads it.


def _resampled_scores(predictions, references, failed, errors, resamples: int, seed: int) -> dict:
    """Each score -> its values over `resamples` draws of as many samples, with replacement; NaN where undefined."""
    if not len(references):
        return {}
    generator, parts = np.random.default_rng(seed), []
    at_once = max(1, _CELLS // len(references))
    cells = {
        "has0": _two_class_cells(predictions >= 0, references >= 0, failed, np.ones(len(references), dtype=bool)),
        "non0": _two_class_cells(predictions > 0, references > 0, failed, references != 0),
    }
    right = {f"acc{2 * limit + 1}": _equal_rounded(predictions, references, limit) for limit in (3, 2)}
    for start in range(0, resamples, at_once):
        drawn = generator.integers(len(references), size=(min(at_once, resamples - start), len(references)))
        part = {"mae": errors[drawn].mean(axis=1), "corr": _drawn_corr(predictions[drawn], references[drawn])}
        part |= {name: values[drawn].mean(axis=1) for name, values in right.items()}
        for convention, codes in cells.items():
            part[f"acc2_{convention}"], part[f"f1_{convention}"] = _drawn_two_classes(codes[drawn])
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _two_class_cells(predicted, gold, failed, kept) -> np.ndarray:
    """Per sample its cell of the (gold: 0, 1) x (predicted: 0, 1, failed) table, row by row; 6 where it is not kept."""
    return np.where(kept, 3 * gold + np.where(failed, 2, predicted), 6)


def _drawn_two_classes(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(accuracy, weighted F1) of each row of drawn cells."""
    rows = np.arange(len(cells))[:, None]
    counts = np.bincount((7 * rows + cells).ravel(), minlength=7 * len(cells)).reshape(-1, 7)
    tables = counts[:, :6].reshape(-1, 2, 3)
    support, hits = tables.sum(axis=2), tables[:, (0, 1), (0, 1)]
    f1 = 2 * hits / np.maximum(support + tables[:, :, :2].sum(axis=1), 1)  # without gold and predicted: weight 0
    with np.errstate(invalid="ignore"):  # 0 / 0 where no drawn sample is kept
        return hits.sum(axis=1) / support.sum(axis=1), (support * f1).sum(axis=1) / support.sum(axis=1)


def _drawn_corr(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r of each row; NaN where either side is constant."""
    defined = (np.ptp(x, axis=1) > 0) & (np.ptp(y, axis=1) > 0)  # not so with NaN
    found = np.full(len(x), np.nan)
    found[defined] = _pearson(x[defined], y[defined])
    return found


def _intervals(scores, resampled, samples: int, confidence_level: float, reasons) -> dict:
    """Each score -> [low, high], the percentiles of its resampled values, or None with a reason."""
    found = dict.fromkeys(scores)
    tail = (1 - confidence_level) / 2
    for name, value in scores.items():
        if value is None:
            reasons[f"intervals/{name}"] = f"{name} has no value"
        elif samples < 2:
            reasons[f"intervals/{name}"] = "fewer than two samples"
        elif undefined := int(np.isnan(resampled[name]).sum()):
            reasons[f"intervals/{name}"] = f"undefined in {undefined} of {len(resampled[name])} resamples"
        else:
            found[name] = np.quantile(resampled[name], [tail, 1 - tail]).tolist()
    return found
