"""Scores of sentiment regression in [-3, 3], as MMSA and the authors of UniMSE compute them for MOSI and MOSEI.

Accuracies and F1 are fractions in [0, 1]. The README beside this file is the card: definitions, conventions, examples.
A prediction is NaN where the model's output could not be parsed. It is never dropped: every accuracy counts it as
wrong, and MAE and Corr, which have no value for it, become None with the reason (MAE may charge a penalty instead).
"""

import datasets
import evaluate
import numpy as np

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
    predictions (list of float): predicted sentiment; NaN where the output could not be parsed; any other value is
        scored as it is, also outside [-3, 3].
    references (list of float): gold sentiment; must be finite.
    failure_penalty (float, optional): absolute error charged to MAE for each NaN prediction, for example 6.0, the
        widest distance inside [-3, 3]. Without it MAE is None as soon as one prediction is NaN.
Returns:
    dict: mae, corr, acc7, acc5, acc2_has0, acc2_non0, f1_has0, f1_non0 (float or None), samples (int),
    parse_failures (int), reasons (dict: the key of each value that is None -> why).
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

    def _compute(self, predictions, references, failure_penalty=None):
        return score_sentiment(predictions, references, failure_penalty)


def score_sentiment(predictions, references, failure_penalty=None) -> dict:
    """All scores of one list of predictions; see `_KWARGS_DESCRIPTION` for arguments and returned keys.

    Raises:
        ValueError: on lists of different lengths, a gold score that is not finite, an infinite prediction, or a penalty
            that is not a finite number of at least 0.
    """
    predictions, references = _as_vector(predictions, "predictions"), _as_vector(references, "references")
    _check(predictions, references, failure_penalty)
    failed = np.isnan(predictions)
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
    scores.update(samples=len(references), parse_failures=int(failed.sum()), reasons=reasons)
    return scores


def _as_vector(values, name: str) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name}: expected a flat list of numbers, got shape {vector.shape}")
    return vector


def _check(predictions, references, failure_penalty) -> None:
    if len(predictions) != len(references):
        raise ValueError(f"expected as many predictions as references, got {len(predictions)} and {len(references)}")
    if not np.isfinite(references).all():
        at = int(np.flatnonzero(~np.isfinite(references))[0])
        raise ValueError(f"references[{at}]: expected a finite gold sentiment, got {references[at]}")
    if np.isinf(predictions).any():
        at = int(np.flatnonzero(np.isinf(predictions))[0])
        raise ValueError(f"predictions[{at}]: expected a number, or NaN for an unparsed output, got {predictions[at]}")
    if failure_penalty is not None and not (np.isfinite(failure_penalty) and failure_penalty >= 0):
        raise ValueError(f"failure_penalty: expected a finite number >= 0, got {failure_penalty}")


def _mae(predictions, references, failed, failure_penalty, reasons):
    """Mean absolute error, unclipped; a failure costs `failure_penalty`."""
    if not len(references):
        reasons["mae"] = "no samples"
        return None
    if failed.any() and failure_penalty is None:
        reasons["mae"] = f"{int(failed.sum())} parse failures and no failure_penalty"
        return None
    errors = np.abs(predictions - references)
    errors[failed] = failure_penalty if failure_penalty is not None else np.nan
    return float(errors.mean())


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
        x, y = _unit_deviations(predictions), _unit_deviations(references)
        return float(np.clip(x @ y, -1.0, 1.0))
    return None


def _unit_deviations(values: np.ndarray) -> np.ndarray:
    """Deviations from the mean, scaled to length 1; scaled by the largest first, so that tiny ones do not underflow."""
    deviations = values - values.mean()
    deviations /= np.abs(deviations).max()
    return deviations / np.linalg.norm(deviations)


def _rounded_accuracy(predictions, references, limit: int, key: str, reasons):
    """Share of equal classes after clipping to [-limit, limit] and rounding half to even (numpy's rule)."""
    if not len(references):
        reasons[key] = "no samples"
        return None
    right = np.round(np.clip(predictions, -limit, limit)) == np.round(np.clip(references, -limit, limit))
    return float(right.mean())  # NaN equals nothing, so a failure is wrong


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
