"""Scores of emotion recognition in conversation: accuracy, weighted and macro F1, per class, confusion matrix.

All over the label set of the benchmark (MELD's seven, IEMOCAP's six). The README beside this file is the card. A
prediction is the empty string where the model's output could not be parsed: it is counted and wrong, never `neutral`.
"""

from collections import Counter

import datasets
import evaluate
import numpy as np

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
    predictions (list of str): predicted emotion; "" where the output could not be parsed. A word outside `labels` is
        wrong and counted under `out_of_set`.
    references (list of str): gold emotion; each must be one of `labels`.
    labels (list of str, optional): the benchmark's label set, in the order of the confusion matrix. Default: the gold
        labels, sorted.
Returns:
    dict: accuracy, weighted_f1, macro_f1 (float or None), per_class (label -> precision, recall, f1, support),
    confusion (labels, matrix with one row per gold label, other: per gold label the predictions without a column),
    samples, parse_failures, out_of_set (int), reasons (dict: what is None or left out -> why).
Examples:
    >>> metric = evaluate.load("trainer/metrics/erc_classification")
    >>> metric.compute(predictions=["joy", "", "anger"], references=["joy", "fear", "anger"])["accuracy"]
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
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references, labels=None):
        return score_emotions(predictions, references, labels)


def score_emotions(predictions, references, labels=None) -> dict:
    """All scores of one list of predictions; see `_KWARGS_DESCRIPTION` for arguments and returned keys.

    Raises:
        ValueError: on lists of different lengths, a missing prediction or gold label, a gold label outside `labels`, or
            a label set that is empty or names a label twice.
    """
    predictions, references = list(predictions), list(references)
    labels = sorted(set(references)) if labels is None else list(labels)
    _check(predictions, references, labels)
    counts = {
        "samples": len(references),
        "parse_failures": predictions.count(""),
        "out_of_set": sum(prediction != "" and prediction not in labels for prediction in predictions),
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
    return scores | {"per_class": per_class, "confusion": confusion} | counts | {"reasons": reasons}


def _check(predictions, references, labels) -> None:
    if len(predictions) != len(references):
        raise ValueError(f"expected as many predictions as references, got {len(predictions)} and {len(references)}")
    if references and not labels or len(set(labels)) != len(labels) or not all(labels):
        raise ValueError(f"labels: expected a list of different, non-empty names, got {labels}")
    for at, (prediction, gold) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(prediction, str):
            raise ValueError(f"predictions[{at}]: expected a string ('' for an unparsed output), got {prediction!r}")
        if gold not in labels:
            raise ValueError(f"references[{at}]: expected one of {', '.join(labels)}, got {gold!r}")


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
