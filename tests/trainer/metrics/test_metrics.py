"""The two `evaluate` modules: golden cases, what they refuse, and how `evaluate` loads, feeds and combines them."""

import ast
import json
import math
import re
from pathlib import Path

import evaluate
import numpy as np
import pytest

from trainer.metrics.erc_classification.erc_classification import score_emotions
from trainer.metrics.msa_regression.msa_regression import score_sentiment

METRICS = Path(__file__).parents[3] / "trainer" / "metrics"
CASES = Path(__file__).parent / "test_cases"
EMOTIONS = ["neutral", "joy", "surprise", "anger"]


def golden(name):
    """The cases of a file; JSON has no NaN, so there it is the string."""
    cases = json.loads((CASES / f"{name}.json").read_text("utf-8"))
    for case in cases:
        for side in ("predictions", "references"):
            case[side] = [math.nan if value == "NaN" else value for value in case[side]]
    return [pytest.param(case, id=case["name"]) for case in cases]


def assert_golden(case, compute):
    """What `compute` returns, or the one line of its refusal, is what the case says."""
    if "refused" in case:
        with pytest.raises(ValueError, match=f"^{re.escape(case['refused'])}$"):
            compute()
        return
    actual, expected = compute(), case["expected"]
    assert actual.pop("intervals") == {}
    if "per_class" in actual and "per_class" not in expected:
        assert list(actual.pop("per_class")) == expected["confusion"]["labels"]
    assert_same(actual, expected)


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
    arguments = case["predictions"], case["references"], case.get("failure_penalty")
    assert_golden(case, lambda: score_sentiment(*arguments))


@pytest.mark.parametrize("case", golden("erc_classification"))
def test_erc_golden(case):
    assert_golden(case, lambda: score_emotions(case["predictions"], case["references"], case["labels"]))


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resamples": -1}, "resamples: expected a whole number >= 0, got -1"),
        ({"resamples": 10.0}, r"resamples: expected a whole number >= 0, got 10\.0"),
        ({"resamples": 10, "seed": None}, "seed: expected a whole number >= 0, got None"),
        ({"resamples": 10, "confidence_level": 95}, "confidence_level: expected a number between 0 and 1, got 95"),
        ({"resamples": 10, "confidence_level": 1.0}, r"confidence_level: expected a number between 0 and 1, got 1\.0"),
    ],
)
def test_resampling_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        score_sentiment([1.0], [1.0], **options)
    with pytest.raises(ValueError, match=message):
        score_emotions(["joy"], ["joy"], **options)


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


# --- combined with others ---------------------------------------------------------------------------------------------

BIAS = """
import datasets
import evaluate
import numpy as np


class MeanBias(evaluate.Metric):
    def _info(self):
        features = datasets.Features({side: datasets.Value("float64") for side in ("predictions", "references")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"bias": float(np.mean(np.subtract(predictions, references))), "samples": len(references)}
"""


def test_combined_with_another_metric_only_what_both_name_is_prefixed(tmp_path):
    (tmp_path / "mean_bias").mkdir()
    (tmp_path / "mean_bias" / "mean_bias.py").write_text(BIAS)
    both = evaluate.combine([str(METRICS / "msa_regression"), str(tmp_path / "mean_bias")])
    arguments = {"predictions": [1.0, -0.5, 2.0], "references": [1.0, 0.5, 3.0]}
    expected = score_sentiment(**arguments)
    expected["msa_regression_samples"] = expected.pop("samples")
    found = both.compute(**arguments)
    assert found == expected | {"bias": pytest.approx(-2 / 3), "mean_bias_samples": 3}
    both.add_batch(predictions=arguments["predictions"][:2], references=arguments["references"][:2])
    both.add(prediction=2.0, reference=3.0)
    assert both.compute() == found


@pytest.mark.parametrize(
    ("name", "score", "predictions", "references"),
    [
        ("msa_regression", score_sentiment, [1.0, None, -0.5], [1.0, 2.0, 0.5]),
        ("erc_classification", score_emotions, ["joy", None, "fear"], ["joy", "fear", "joy"]),
    ],
)
def test_combined_by_name_every_value_is_prefixed_and_options_reach_all(name, score, predictions, references):
    folder = str(METRICS / name)
    pair = evaluate.combine({"first": evaluate.load(folder), "second": evaluate.load(folder)}, force_prefix=True)
    found = pair.compute(predictions=predictions, references=references, resamples=50)
    expected = score(predictions, references, resamples=50)
    assert found == {f"{one}_{key}": value for one in ("first", "second") for key, value in expected.items()}
