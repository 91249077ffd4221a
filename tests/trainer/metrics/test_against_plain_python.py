"""Both metrics against an independent computation in plain Python, from the definitions, and against scikit-learn."""

import math
import random
from collections import Counter
from statistics import mean

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from trainer.metrics.erc_classification.erc_classification import score_emotions
from trainer.metrics.msa_regression.msa_regression import score_sentiment

EMOTIONS = ["neutral", "joy", "surprise", "anger"]
FAILED = "(failed)"  # for scikit-learn, which takes no None


# --- the definitions, in plain Python; nothing of the modules is used -------------------------------------------------


def plain_class(label, predicted, gold):
    """(precision, recall, f1) of one class, by its name; `None` where the class is neither gold nor predicted."""
    hits = sum(p == label and y == label for p, y in zip(predicted, gold, strict=True))
    claims, support = predicted.count(label), gold.count(label)
    if claims == support == 0:
        return None
    precision, recall = hits / claims if claims else 0.0, hits / support if support else 0.0
    return precision, recall, 2 / (1 / precision + 1 / recall) if hits else 0.0


def plain_weighted_f1(predicted, gold):
    return mean(plain_class(label, predicted, gold)[2] for label in gold)  # each sample brings the F1 of its class


def plain_accuracy(predicted, gold):
    return mean(1.0 if p == y else 0.0 for p, y in zip(predicted, gold, strict=True))


def plain_nearest(value, limit):
    """The whole number nearest to `value` inside [-limit, limit]; of two equally near ones the even one."""
    if value is None:
        return None
    return min(range(-limit, limit + 1), key=lambda whole: (abs(max(-limit, min(limit, value)) - whole), whole % 2))


def plain_sentiment(predictions, references, penalty):
    has0 = [None if p is None else "negative" if p < 0 else "other" for p in predictions]
    gold_has0 = ["negative" if y < 0 else "other" for y in references]
    kept = [(p, y) for p, y in zip(predictions, references, strict=True) if y < 0 or y > 0]
    non0 = [None if p is None else "positive" if p > 0 else "other" for p, _ in kept]
    gold_non0 = ["positive" if y > 0 else "other" for _, y in kept]
    wholes = {k: [[plain_nearest(v, k) for v in side] for side in (predictions, references)] for k in (3, 2)}
    return {
        "mae": plain_mae(predictions, references, penalty),
        "corr": plain_corr(predictions, references),
        "acc7": plain_accuracy(*wholes[3]),
        "acc5": plain_accuracy(*wholes[2]),
        "acc2_has0": plain_accuracy(has0, gold_has0),
        "acc2_non0": plain_accuracy(non0, gold_non0) if kept else None,
        "f1_has0": plain_weighted_f1(has0, gold_has0),
        "f1_non0": plain_weighted_f1(non0, gold_non0) if kept else None,
    }


def plain_mae(predictions, references, penalty):
    if None in predictions and penalty is None:
        return None
    pairs = zip(predictions, references, strict=True)
    return math.fsum(penalty if p is None else abs(p - y) for p, y in pairs) / len(references)


def plain_corr(x, y):
    if None in x or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    covariance = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    spread = math.fsum((a - mean_x) ** 2 for a in x) * math.fsum((b - mean_y) ** 2 for b in y)
    return covariance / math.sqrt(spread)


# --- sentiment --------------------------------------------------------------------------------------------------------


def random_sentiments(generator, size):
    """Zeros of both signs, exact halves, MOSEI's thirds, values outside [-3, 3]; some arrays of one value only."""
    kinds = (
        lambda: 0.0,
        lambda: -0.0,
        lambda: generator.randint(-8, 8) / 2,
        lambda: generator.randint(-9, 9) / 3,
        lambda: round(generator.uniform(-4, 4), 1),
        lambda: generator.uniform(-4, 4),
    )
    if generator.random() < 0.1:
        return [generator.choice(kinds)()] * size
    return [generator.choice(kinds)() for _ in range(size)]


def test_msa_equals_plain_python_on_1000_random_arrays():
    generator, seen = random.Random(0), Counter()
    for _ in range(1000):
        size = generator.randint(1, 30)
        predictions, references = random_sentiments(generator, size), random_sentiments(generator, size)
        if generator.random() < 0.3:
            predictions = [None if generator.random() < 0.2 else value for value in predictions]
        penalty = generator.choice([None, 0.0, 6.0])
        actual, expected = (score(predictions, references, penalty) for score in (score_sentiment, plain_sentiment))
        for key, value in expected.items():
            assert actual[key] == (value if value is None else pytest.approx(value, abs=1e-9)), (key, predictions)
        assert actual["samples"] == size and actual["parse_failures"] == predictions.count(None)
        assert set(actual["reasons"]) == {key for key, value in expected.items() if value is None}
        seen.update(f"no {key}" for key in actual["reasons"])
        seen.update(outcomes(predictions, references, penalty))
    assert min(seen[what] for what in ("no mae", "no corr", "no acc2_non0", "a failure charged")) > 20, seen
    assert min(seen[what] for what in ("tie", "zero against zero", "outside")) > 500, seen


def outcomes(predictions, references, penalty):
    """The hard things that a pair of arrays holds, so that the test can tell that it met them."""
    for p, y in zip(predictions, references, strict=True):
        if p is None:
            yield "a failure charged" if penalty is not None else "a failure"
            continue
        yield from ["tie"] * (abs(p) % 1 == 0.5) + ["zero against zero"] * (p == y == 0) + ["outside"] * (abs(p) > 3)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-4, 4)), min_size=1, max_size=12))
def test_msa_never_returns_nan_or_leaves_a_range(pairs):
    scores = score_sentiment(*zip(*pairs, strict=True), resamples=5)
    for key in ("acc7", "acc5", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0"):
        assert scores[key] is None or 0 <= scores[key] <= 1
    assert scores["mae"] >= 0
    assert scores["corr"] is None or -1 <= scores["corr"] <= 1
    assert not any(math.isnan(bound) for interval in scores["intervals"].values() for bound in interval or [])


def test_msa_equals_scikit_learn_and_scipy():
    generator = np.random.default_rng(0)
    predictions, references = np.round(generator.uniform(-4, 4, 500), 1), generator.integers(-9, 10, 500) / 3
    scores, non_zero = score_sentiment(predictions, references), references != 0
    assert scores["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(references, predictions))
    assert scores["corr"] == pytest.approx(np.corrcoef(predictions, references)[0, 1])
    assert scores["corr"] == pytest.approx(scipy.stats.pearsonr(predictions, references).statistic)
    for key, limit in (("acc7", 3), ("acc5", 2)):
        classes = [np.rint(np.clip(side, -limit, limit)) for side in (references, predictions)]
        assert scores[key] == pytest.approx(sklearn_metrics.accuracy_score(*classes))
    sides = {"has0": (references >= 0, predictions >= 0), "non0": (references[non_zero] > 0, predictions[non_zero] > 0)}
    for convention, classes in sides.items():
        expected = sklearn_metrics.f1_score(*classes, average="weighted")
        assert scores[f"f1_{convention}"] == pytest.approx(expected)
        assert scores[f"acc2_{convention}"] == pytest.approx(sklearn_metrics.accuracy_score(*classes))


# --- emotions ---------------------------------------------------------------------------------------------------------


def plain_emotions(predictions, references, labels):
    classes = {label: plain_class(label, predictions, references) for label in labels}
    known = [scores[2] for scores in classes.values() if scores]
    pairs = Counter(zip(references, predictions, strict=True))
    return {
        "accuracy": plain_accuracy(predictions, references),
        "weighted_f1": plain_weighted_f1(predictions, references),
        "macro_f1": sum(known) / len(known),
        "per_class": {
            label: dict(zip(("precision", "recall", "f1"), scores or (None,) * 3, strict=True))
            | {"support": references.count(label)}
            for label, scores in classes.items()
        },
        "confusion": {
            "labels": labels,
            "matrix": [[pairs[gold, predicted] for predicted in labels] for gold in labels],
            "other": [sum(pairs[gold, one] for one in {*predictions} - {*labels}) for gold in labels],
        },
        "samples": len(references),
        "parse_failures": sum(prediction is None for prediction in predictions),
        "out_of_set": sum(prediction is not None and prediction not in labels for prediction in predictions),
    }


def test_erc_equals_plain_python_on_1000_random_arrays():
    generator, seen = random.Random(0), Counter()
    for _ in range(1000):
        size, gold = generator.randint(1, 30), generator.sample(EMOTIONS, generator.randint(1, 4))
        predicted = generator.sample([*EMOTIONS, None, "excited"], generator.randint(1, 6))
        references, predictions = generator.choices(gold, k=size), generator.choices(predicted, k=size)
        labels = generator.choice([None, EMOTIONS, EMOTIONS[::-1]])
        actual = score_emotions(predictions, references, labels)
        reasons, _ = actual.pop("reasons"), actual.pop("intervals")
        labels = sorted({*references, *predictions} - {None}) if labels is None else labels
        expected = plain_emotions(predictions, references, labels)
        assert actual.pop("confusion") == expected.pop("confusion")
        per_class, others = actual.pop("per_class"), expected.pop("per_class")
        assert list(per_class) == labels
        assert all(per_class[label] == pytest.approx(others[label]) for label in labels)
        assert actual == pytest.approx(expected)
        absent = [label for label in labels if label not in references + predictions]
        assert list(reasons) == [f"per_class/{label}" for label in absent]
        seen.update(absent=len(absent), failed=actual["parse_failures"], outside=actual["out_of_set"])
    assert min(seen.values()) > 200, seen


@given(st.lists(st.tuples(st.sampled_from([*EMOTIONS, None]), st.sampled_from(EMOTIONS)), min_size=1))
def test_erc_equals_scikit_learn(pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    scores = score_emotions(predictions, references, EMOTIONS)
    predictions = [FAILED if prediction is None else prediction for prediction in predictions]
    assert scores["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(references, predictions))
    present = sorted({*references, *predictions} - {FAILED})  # what is gold or predicted, scikit-learn's default too
    for average in ("weighted", "macro"):
        options = {"labels": present, "average": average, "zero_division": 0}
        assert scores[f"{average}_f1"] == pytest.approx(sklearn_metrics.f1_score(references, predictions, **options))
    parts = sklearn_metrics.precision_recall_fscore_support(references, predictions, labels=EMOTIONS, zero_division=0)
    for label, *expected in zip(EMOTIONS, *parts, strict=True):
        actual = scores["per_class"][label]
        assert [actual[key] or 0 for key in ("precision", "recall", "f1", "support")] == pytest.approx(expected)
    matrix = sklearn_metrics.confusion_matrix(references, predictions, labels=[*EMOTIONS, FAILED])[:-1]
    assert scores["confusion"]["matrix"] == matrix[:, :-1].tolist()
    assert scores["confusion"]["other"] == matrix[:, -1].tolist()
