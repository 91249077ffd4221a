"""The two `evaluate` modules: golden cases, an independent computation in plain Python, and scikit-learn."""

import ast
import json
import math
import random
from pathlib import Path

import evaluate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from trainer.metrics.erc_classification.erc_classification import score_emotions
from trainer.metrics.msa_regression.msa_regression import score_sentiment

METRICS = Path(__file__).parents[3] / "trainer" / "metrics"
CASES = Path(__file__).parent / "test_cases"
EMOTIONS = ["neutral", "joy", "surprise", "anger"]


def golden(name):
    return [pytest.param(case, id=case["name"]) for case in json.loads((CASES / f"{name}.json").read_text("utf-8"))]


def assert_same(actual, expected):
    """Equal keys and values; numbers within 1e-12; None only where None is expected."""
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, float):
            assert actual[key] == pytest.approx(value, abs=1e-12), key
        else:
            assert actual[key] == value, key


# --- golden cases -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", golden("msa_regression"))
def test_msa_golden(case):
    actual = score_sentiment(case["predictions"], case["references"], case.get("failure_penalty"))
    assert actual.pop("intervals") == {}
    assert_same(actual, case["expected"])


@pytest.mark.parametrize("case", golden("erc_classification"))
def test_erc_golden(case):
    actual = score_emotions(case["predictions"], case["references"], case["labels"])
    assert actual.pop("intervals") == {}
    assert actual.pop("per_class").keys() <= set(case["expected"]["confusion"]["labels"])
    assert_same(actual, case["expected"])


# --- an independent computation in plain Python -----------------------------------------------------------------------


def plain_weighted_f1(predicted, gold):
    """Sum over the classes of support / n times 2 tp / (2 tp + fp + fn), from the definition."""
    total = 0.0
    for label in set(gold):
        hits = sum(p == y == label for p, y in zip(predicted, gold, strict=True))
        misses = sum((p == label) != (y == label) for p, y in zip(predicted, gold, strict=True))
        total += gold.count(label) * 2 * hits / (2 * hits + misses)
    return total / len(gold)


def plain_share(pairs):
    return sum(p == y for p, y in pairs) / len(pairs) if pairs else None


def plain_scores(predictions, references):
    def clipped(value, limit):
        return "failed" if value is None else round(max(-limit, min(limit, value)))

    def sign(value, is_upper):
        return "failed" if value is None else is_upper(value)

    pairs = list(zip(predictions, references, strict=True))
    has0 = [(sign(p, lambda x: x >= 0), y >= 0) for p, y in pairs]
    non0 = [(sign(p, lambda x: x > 0), y > 0) for p, y in pairs if y != 0]
    return {
        "mae": None if None in predictions else math.fsum(abs(p - y) for p, y in pairs) / len(pairs),
        "corr": plain_corr(predictions, references),
        "acc7": plain_share([(clipped(p, 3), clipped(y, 3)) for p, y in pairs]),
        "acc5": plain_share([(clipped(p, 2), clipped(y, 2)) for p, y in pairs]),
        "acc2_has0": plain_share(has0),
        "acc2_non0": plain_share(non0),
        "f1_has0": plain_weighted_f1(*map(list, zip(*has0, strict=True))),
        "f1_non0": plain_weighted_f1(*map(list, zip(*non0, strict=True))) if non0 else None,
    }


def plain_corr(x, y):
    if None in x or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    covariance = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    spread = math.fsum((a - mean_x) ** 2 for a in x) * math.fsum((b - mean_y) ** 2 for b in y)
    return covariance / math.sqrt(spread)


def random_scores(generator, size):
    """Full of ties, zeros, exact halves, MOSEI's thirds and values outside [-3, 3]."""
    kinds = (
        lambda: 0.0,
        lambda: generator.randint(-8, 8) / 2,
        lambda: generator.randint(-9, 9) / 3,
        lambda: round(generator.uniform(-4, 4), 1),
        lambda: generator.uniform(-4, 4),
    )
    return [generator.choice(kinds)() for _ in range(size)]


def test_msa_equals_plain_python_on_1000_random_arrays():
    generator = random.Random(0)
    for _ in range(1000):
        size = generator.randint(1, 30)
        predictions, references = random_scores(generator, size), random_scores(generator, size)
        if generator.random() < 0.3:
            predictions = [None if generator.random() < 0.2 else value for value in predictions]
        actual, expected = score_sentiment(predictions, references), plain_scores(predictions, references)
        for key, value in expected.items():
            assert (actual[key] is None) == (value is None), (key, predictions, references)
            assert actual[key] == (None if value is None else pytest.approx(value, abs=1e-9)), key
        assert actual["parse_failures"] == predictions.count(None)
        assert set(actual["reasons"]) == {key for key, value in expected.items() if value is None}


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-4, 4)), min_size=1, max_size=12))
def test_msa_never_returns_nan_or_leaves_a_range(pairs):
    scores = score_sentiment(*zip(*pairs, strict=True))
    for key in ("acc7", "acc5", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0"):
        assert scores[key] is None or 0 <= scores[key] <= 1
    assert scores["mae"] >= 0
    assert scores["corr"] is None or -1 <= scores["corr"] <= 1


def test_msa_equals_scikit_learn_and_numpy():
    generator = np.random.default_rng(0)
    predictions, references = generator.uniform(-4, 4, 500), generator.integers(-9, 10, 500) / 3
    scores, non_zero = score_sentiment(predictions, references), references != 0
    assert scores["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(references, predictions))
    assert scores["corr"] == pytest.approx(np.corrcoef(predictions, references)[0, 1])
    kept = (references > 0)[non_zero], (predictions > 0)[non_zero]
    assert scores["f1_non0"] == pytest.approx(sklearn_metrics.f1_score(*kept, average="weighted"))
    assert scores["acc2_non0"] == pytest.approx(sklearn_metrics.accuracy_score(*kept))
    whole = references >= 0, predictions >= 0
    assert scores["f1_has0"] == pytest.approx(sklearn_metrics.f1_score(*whole, average="weighted"))


@given(st.lists(st.tuples(st.sampled_from([*EMOTIONS, None, "excited"]), st.sampled_from(EMOTIONS)), min_size=1))
def test_erc_equals_plain_python(pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    scores = score_emotions(predictions, references, EMOTIONS)
    assert scores["accuracy"] == pytest.approx(plain_share(pairs))
    assert scores["weighted_f1"] == pytest.approx(plain_weighted_f1(predictions, references))
    present = [label for label in EMOTIONS if label in references or label in predictions]
    per_label = [scores["per_class"][label]["f1"] for label in present]
    assert scores["macro_f1"] == pytest.approx(sum(per_label) / len(present))
    assert scores["parse_failures"] == predictions.count(None)
    assert scores["out_of_set"] == predictions.count("excited")
    for row, other, label in zip(scores["confusion"]["matrix"], scores["confusion"]["other"], EMOTIONS, strict=True):
        assert sum(row) + other == references.count(label) == scores["per_class"][label]["support"]


@given(st.lists(st.tuples(st.sampled_from(EMOTIONS), st.sampled_from(EMOTIONS)), min_size=1))
def test_erc_equals_scikit_learn(pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    scores = score_emotions(predictions, references, EMOTIONS)
    assert scores["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(references, predictions))
    for average in ("weighted", "macro"):  # scikit-learn's default set, too, is what is gold or predicted
        expected = sklearn_metrics.f1_score(references, predictions, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(expected)
    parts = sklearn_metrics.precision_recall_fscore_support(references, predictions, labels=EMOTIONS, zero_division=0)
    for label, *expected in zip(EMOTIONS, *parts, strict=True):
        actual = scores["per_class"][label]
        assert [actual[key] or 0 for key in ("precision", "recall", "f1", "support")] == pytest.approx(expected)


# --- input that is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predictions", "references", "penalty", "message"),
    [
        ([1.0], [math.nan], None, r"references\[0\]: expected a finite number, got nan"),
        ([1.0, 1.0], [1.0, None], None, r"references\[1\]: expected a finite number, got None"),
        ([1.0, 1.0], [1.0, math.inf], None, r"references\[1\]: expected a finite number, got inf"),
        ([None, math.nan], [1.0, 1.0], None, r"predictions\[1\]: .* number, or None for an unparsed output, got nan"),
        ([1.0, -math.inf], [1.0, 1.0], None, r"predictions\[1\]: expected a finite number, .* got -inf"),
        ([1.0, 2.0], [1.0], None, "as many predictions as references, got 2 and 1"),
        ([[1.0]], [1.0], None, r"predictions: expected a flat list of numbers, got shape \(1, 1\)"),
        ([1.0], [1.0], -1.0, "failure_penalty: expected a finite number >= 0, got -1.0"),
        ([1.0], [1.0], math.nan, "failure_penalty: expected a finite number"),
    ],
)
def test_msa_refuses(predictions, references, penalty, message):
    with pytest.raises(ValueError, match=message):
        score_sentiment(predictions, references, penalty)


@pytest.mark.parametrize(
    ("predictions", "references", "labels", "message"),
    [
        (["joy"], ["joy", "fear"], None, "as many predictions as references, got 1 and 2"),
        (["joy"], ["excited"], ["joy", "fear"], r"references\[0\]: expected one of joy, fear, got 'excited'"),
        (["joy"], [""], None, r"references\[0\]: expected a non-empty string, got ''"),
        (["joy"], [None], None, r"references\[0\]: expected a non-empty string, got None"),
        (["joy", ""], ["joy", "joy"], None, r"predictions\[1\]: .* non-empty string, or None .*, got ''"),
        ([None, math.nan], ["joy", "joy"], None, r"predictions\[1\]: .* non-empty string, or None .*, got nan"),
        (["joy"], ["joy"], ["joy", ""], "labels: expected a list of different, non-empty names"),
        (["joy"], ["joy"], ["joy", "joy"], "labels: expected a list of different"),
        (["joy"], ["joy"], [], "labels: expected a list of different"),
    ],
)
def test_erc_refuses(predictions, references, labels, message):
    with pytest.raises(ValueError, match=message):
        score_emotions(predictions, references, labels)


# --- the modules as `evaluate` loads them -----------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[None, 1.0, 0.5], [1.0, None, 0.5], [None, None, None]])
def test_none_reaches_msa_by_every_way_into_evaluate(values):
    metric, gold = evaluate.load(str(METRICS / "msa_regression")), [1.0, -1.0, 1 / 3]
    expected = score_sentiment(values, gold, 6.0, resamples=20, seed=1)
    assert expected["parse_failures"] == values.count(None)
    options = {"failure_penalty": 6.0, "resamples": 20, "seed": 1}
    assert_added_equals(metric, values, gold, options, expected)
    assert metric.compute(predictions=[], references=[])["reasons"]["mae"] == "no samples"


@pytest.mark.parametrize("values", [[None, "joy", "fear"], ["joy", None, "fear"], [None, None, None]])
def test_none_reaches_erc_by_every_way_into_evaluate(values):
    metric, gold = evaluate.load(str(METRICS / "erc_classification")), ["joy", "anger", "joy"]
    expected = score_emotions(values, gold, EMOTIONS, resamples=20, seed=1)
    assert expected["parse_failures"] == values.count(None)
    options = {"labels": EMOTIONS, "resamples": 20, "seed": 1}
    assert_added_equals(metric, values, gold, options, expected)
    assert metric.compute(predictions=[], references=[])["reasons"]["accuracy"] == "no samples"


def assert_added_equals(metric, values, gold, options, expected):
    """`compute` of lists, `add` of each sample, and `add_batch` before and after an `add` all give `expected`."""
    assert metric.compute(predictions=values, references=gold, **options) == expected
    for value, reference in zip(values, gold, strict=True):
        metric.add(prediction=value, reference=reference)
    assert metric.compute(**options) == expected
    metric.add_batch(predictions=values[:1], references=gold[:1])
    metric.add(prediction=values[1], reference=gold[1])
    metric.add_batch(predictions=values[2:], references=gold[2:])
    assert metric.compute(**options) == expected


def test_evaluate_passes_nan_to_nobody():
    msa, erc = (evaluate.load(str(METRICS / name)) for name in ("msa_regression", "erc_classification"))
    with pytest.raises(ValueError, match=r"predictions\[1\]: expected a finite number"):
        msa.compute(predictions=np.array([1.0, math.nan]), references=[1.0, 1.0])
    for act in (
        lambda: erc.compute(predictions=["joy", math.nan], references=["joy", "joy"]),
        lambda: erc.add_batch(predictions=["joy", ""], references=["joy", "joy"]),
    ):
        with pytest.raises(ValueError, match=r"predictions\[1\]: expected a non-empty string, or None"):
            act()
    with pytest.raises(ValueError, match=r"references\[0\]: expected a non-empty string, got None"):
        erc.add(prediction="joy", reference=None)


@pytest.mark.parametrize("name", ["msa_regression", "erc_classification"])
def test_module_imports_one_name_a_line_and_nothing_of_ours(name):
    """`evaluate.load` finds a module's imports line by line, and copies the file alone into its cache."""
    tree = ast.parse((METRICS / name / f"{name}.py").read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(len(node.names) == 1 for node in imports)
    modules = {(getattr(node, "module", None) or node.names[0].name).split(".")[0] for node in imports}
    assert modules <= {"collections", "datasets", "evaluate", "numpy"}


@pytest.mark.parametrize(
    ("name", "scores"),
    [("msa_regression", score_sentiment([1.0], [1.0])), ("erc_classification", score_emotions(["joy"], ["joy"]))],
)
def test_card_names_every_key(name, scores):
    card = (METRICS / name / "README.md").read_text("utf-8")
    assert [key for key in scores if f"`{key}`" not in card] == []
