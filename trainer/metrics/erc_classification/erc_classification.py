"""Scores of emotion recognition in conversation: accuracy, weighted and macro F1, per class, confusion matrix.

All over the label set of the benchmark (MELD's seven, IEMOCAP's six). The README beside this file is the card. A
prediction is None where the model's output could not be parsed: it is counted and wrong, never `neutral`.
"""

from collections import Counter

import datasets
import evaluate
import numpy as np

_CELLS = 2**20  # numbers in each array of a chunk of resamples: 8 MiB
_DESCRIPTION = "Accuracy, weighted F1, macro F1, per-class precision, recall and F1, and the confusion matrix."
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
    predictions (list of str or None): predicted emotion; None where the output could not be parsed. A word outside
        `labels` is wrong and counted under `out_of_set`.
    references (list of str): gold emotion; each must be one of `labels`.
    labels (list of str, optional): the benchmark's label set, in the order of the confusion matrix. Default: all
        that are gold or predicted, sorted, as scikit-learn has it.
    resamples (int): bootstrap resamples for `intervals`; 0 for none.
    confidence_level (float): share of the resampled values inside an interval, in (0, 1).
    seed (int): of the resampling; the same seed gives the same intervals.
Returns:
    dict: accuracy, weighted_f1, macro_f1 (float or None), per_class (label -> precision, recall, f1, support),
    confusion (labels, matrix with one row per gold label, other: per gold label the predictions without a column),
    samples, parse_failures, out_of_set (int), intervals (dict: accuracy, weighted_f1, macro_f1 -> [low, high] or None;
    empty without resamples), reasons (dict: what is None or left out, `intervals/<score>` for an interval -> why).
Examples:
    >>> metric = evaluate.load("trainer/metrics/erc_classification")
    >>> metric.compute(predictions=["joy", None, "anger"], references=["joy", "fear", "anger"])["accuracy"]
    0.6666666666666666
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ERCClassification(evaluate.Metric):
    """The `evaluate` module around `score_emotions`."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            # large_string, not string: of a string column evaluate refuses a None that stands first.
            features=datasets.Features(
                {"predictions": datasets.Value("large_string"), "references": datasets.Value("large_string")}
            ),
        )

    # `add` and `add_batch` look first, since evaluate turns whatever it gets into text: NaN would become "nan".

    def add(self, *, prediction=None, reference=None):
        """Add one prediction and reference; see `evaluate.Metric.add`."""
        _check_texts([prediction], [reference])
        super().add(prediction=prediction, reference=reference)

    def add_batch(self, *, predictions=None, references=None):
        """Add a batch of predictions and references; see `evaluate.Metric.add_batch`."""
        _check_texts(predictions, references)
        super().add_batch(predictions=predictions, references=references)

    def _compute(self, predictions, references, labels=None, resamples=0, confidence_level=0.95, seed=0):
        options = {"resamples": resamples, "confidence_level": confidence_level, "seed": seed}
        return score_emotions(predictions, references, labels, **options)


def score_emotions(predictions, references, labels=None, *, resamples=0, confidence_level=0.95, seed=0) -> dict:
    """All scores of one list of predictions; see `_KWARGS_DESCRIPTION` for arguments and returned keys.

    Raises:
        ValueError: on lists of different lengths, a prediction that is neither a non-empty string nor None, a missing
            gold label, one outside `labels`, a label set that is empty or names a label twice, or resampling options
            out of range.
    """
    predictions, references = list(predictions), list(references)
    _check_texts(predictions, references)
    labels = sorted({*references, *predictions} - {None}) if labels is None else list(labels)
    _check(predictions, references, labels)
    _check_resampling(resamples, confidence_level, seed)
    counts = {
        "samples": len(references),
        "parse_failures": predictions.count(None),
        "out_of_set": sum(prediction is not None and prediction not in labels for prediction in predictions),
    }
    confusion = _confusion(predictions, references, labels)
    per_class, reasons = _per_class(confusion)
    scores = dict.fromkeys(("accuracy", "weighted_f1", "macro_f1"))
    if references:
        defined = [values for values in per_class.values() if values["f1"] is not None]
        scores["accuracy"] = float(np.trace(confusion["matrix"]) / len(references))
        scores["weighted_f1"] = float(sum(values["f1"] * values["support"] for values in defined) / len(references))
        scores["macro_f1"] = float(np.mean([values["f1"] for values in defined]))
    else:
        reasons = dict.fromkeys(scores, "no samples") | reasons
    intervals = {}
    if resamples:
        resampled = _resampled_scores(confusion, resamples, seed)
        intervals = _intervals(scores, resampled, len(references), confidence_level, reasons)
    details = {"per_class": per_class, "confusion": confusion, **counts, "intervals": intervals, "reasons": reasons}
    return scores | details


def _check_texts(predictions, references) -> None:
    for at, prediction in enumerate(predictions):
        if prediction is not None and not (isinstance(prediction, str) and prediction):
            raise ValueError(
                f"predictions[{at}]: expected a non-empty string, or None for an unparsed output, got {prediction!r}"
            )
    for at, gold in enumerate(references):
        if not (isinstance(gold, str) and gold):
            raise ValueError(f"references[{at}]: expected a non-empty string, got {gold!r}")


def _check(predictions, references, labels) -> None:
    if len(predictions) != len(references):
        raise ValueError(f"expected as many predictions as references, got {len(predictions)} and {len(references)}")
    if references and not labels or len(set(labels)) != len(labels) or not all(labels):
        raise ValueError(f"labels: expected a list of different, non-empty names, got {labels}")
    for at, gold in enumerate(references):
        if gold not in labels:
            raise ValueError(f"references[{at}]: expected one of {', '.join(labels)}, got {gold!r}")


def _check_resampling(resamples, confidence_level, seed) -> None:
    for name, value in (("resamples", resamples), ("seed", seed)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{name}: expected a whole number >= 0, got {value!r}")
    if not (isinstance(confidence_level, int | float) and 0 < confidence_level < 1):
        raise ValueError(f"confidence_level: expected a number between 0 and 1, got {confidence_level!r}")


def _confusion(predictions, references, labels) -> dict:
    """Rows are gold, columns predicted, both in the order of `labels`; `other` completes each row to its support."""
    pairs = Counter(zip(references, predictions, strict=True))
    matrix = [[pairs[gold, predicted] for predicted in labels] for gold in labels]
    support = Counter(references)
    other = [support[gold] - sum(row) for gold, row in zip(labels, matrix, strict=True)]
    return {"labels": labels, "matrix": matrix, "other": other}


def _per_class(confusion) -> tuple[dict, dict]:
    """({label: precision, recall, f1, support}, reasons). A class neither gold nor predicted has no F1 (0 / 0)."""
    per_class, reasons = {}, {}
    matrix, predicted = confusion["matrix"], np.sum(confusion["matrix"], axis=0)
    for at, label in enumerate(confusion["labels"]):
        hits, support, claims = matrix[at][at], sum(matrix[at]) + confusion["other"][at], int(predicted[at])
        scores = {"precision": None, "recall": None, "f1": None, "support": support}
        if support + claims == 0:
            reasons[f"per_class/{label}"] = "neither gold nor predicted; left out of macro_f1"
        else:
            scores["precision"] = hits / claims if claims else 0.0
            scores["recall"] = hits / support if support else 0.0
            scores["f1"] = 2 * hits / (support + claims)
        per_class[label] = scores
    return per_class, reasons


# --- bootstrap --------------------------------------------------------------------------------------------------------
# How often each cell of the confusion table is drawn, when as many samples are drawn with replacement, is multinomial:
# drawing the counts is the same bootstrap as drawing samples (as scipy.stats.bootstrap would), only faster.


def _resampled_scores(confusion, resamples: int, seed: int) -> dict:
    """Each score -> its values over `resamples` tables drawn from `confusion`."""
    table = np.array([[*row, other] for row, other in zip(confusion["matrix"], confusion["other"], strict=True)])
    if not table.sum():
        return {}
    generator, parts = np.random.default_rng(seed), []
    at_once = max(1, _CELLS // table.size)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = generator.multinomial(table.sum(), table.ravel() / table.sum(), size=size)
        parts.append(_drawn_scores(drawn.reshape(size, *table.shape)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _drawn_scores(tables: np.ndarray) -> dict:
    """The scores of each table; (tables, gold, predicted or other)."""
    support, hits = tables.sum(axis=2), np.diagonal(tables, axis1=1, axis2=2)
    either = support + tables[:, :, :-1].sum(axis=1)
    f1 = 2 * hits / np.maximum(either, 1)  # a class neither gold nor predicted adds 0 and does not count
    return {
        "accuracy": hits.sum(axis=1) / support.sum(axis=1),
        "weighted_f1": (f1 * support).sum(axis=1) / support.sum(axis=1),
        "macro_f1": f1.sum(axis=1) / (either > 0).sum(axis=1),
    }


def _intervals(scores, resampled, samples: int, confidence_level: float, reasons) -> dict:
    """Each score -> [low, high], the percentiles of its resampled values, or None with a reason."""
    found = dict.fromkeys(scores)
    tail = (1 - confidence_level) / 2
    for name, value in scores.items():
        if value is None:
            reasons[f"intervals/{name}"] = f"{name} has no value"
        elif samples < 2:
            reasons[f"intervals/{name}"] = "fewer than two samples"
        else:
            found[name] = np.quantile(resampled[name], [tail, 1 - tail]).tolist()
    return found
