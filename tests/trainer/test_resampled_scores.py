"""Metrics as functions of sums: of all samples and of every resample they are what trainer/metrics give."""

import numpy as np
import pytest

from trainer import resampled_scores
from trainer.metrics.erc_classification.erc_classification import score_emotions
from trainer.metrics.msa_regression.msa_regression import score_sentiment
from trainer.resampled_scores import (
    emotion_columns,
    emotion_scores,
    resampled_sums,
    sentiment_columns,
    sentiment_scores,
    total_sums,
)


def sentiments(generator, count, failures=True):
    """Gold and predicted scores full of ties, zeros and, where asked, outputs that are no label."""
    gold = (generator.integers(-9, 10, count) / 3).tolist()
    predicted = (generator.integers(-8, 9, count) / 2).tolist()
    lost = generator.random(count) < (0.1 if failures else 0)
    return gold, [None if gone else value for gone, value in zip(lost, predicted, strict=True)]


def assert_equal_scores(found, expected):
    for name, value in expected.items():
        if value is None:
            assert np.isnan(found[name]), name
        else:
            assert found[name] == pytest.approx(value, abs=1e-12), name


def msa(gold, predicted):
    names = ("mae", "corr", "acc7", "acc5", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0")
    scores = score_sentiment(predicted, gold)
    return {name: scores[name] for name in names}


def erc(gold, predicted, labels):
    scores = score_emotions(predicted, gold, labels)
    names = ("accuracy", "weighted_f1", "macro_f1")
    per_class = {f"f1/{label}": part["f1"] for label, part in scores["per_class"].items()}
    return {name: scores[name] for name in names} | per_class


@pytest.mark.parametrize("seed", range(8))
def test_sentiment_of_each_resample_is_what_the_module_gives(seed):
    generator = np.random.default_rng(seed)
    count = 3 + 4 * seed  # tiny ones have constant and zero-only resamples
    gold, predicted = sentiments(generator, count, failures=seed % 2 == 1)
    columns = sentiment_columns(gold, predicted)
    totals = sentiment_scores(total_sums(columns))
    assert_equal_scores({name: values[0] for name, values in totals.items()}, msa(gold, predicted))
    resampled = sentiment_scores(resampled_sums(columns, 60, seed))
    drawn = np.random.default_rng(seed).integers(count, size=(60, count))
    for at, sample in enumerate(drawn):
        expected = msa([gold[i] for i in sample], [predicted[i] for i in sample])
        if None in predicted:  # a resample without the failure: not this model's score
            expected = {name: value for name, value in expected.items() if name not in ("mae", "corr")}
        assert_equal_scores({name: values[at] for name, values in resampled.items()}, expected)


def test_corr_of_a_resample_of_one_value_is_undefined_whatever_the_rounding():
    """One prediction differs, so a third of the resamples are constant; their sums of squares need not cancel to 0."""
    generator = np.random.default_rng(2)
    gold, predicted = (generator.integers(-9, 10, 40) / 3).tolist(), [0.7] * 39 + [-0.4]
    drawn = np.random.default_rng(4).integers(40, size=(400, 40))
    constant = ~(drawn == 39).any(axis=1)
    for sides in ((gold, predicted), (predicted, gold)):
        corr = sentiment_scores(resampled_sums(sentiment_columns(*sides), 400, 4))["corr"]
        assert np.array_equal(np.isnan(corr), constant) and 100 < constant.sum() < 200


@pytest.mark.parametrize("seed", range(6))
def test_emotion_of_each_resample_is_what_the_module_gives(seed):
    generator, labels, count = np.random.default_rng(seed), ["joy", "fear", "anger"], 4 + 5 * seed
    gold = generator.choice(labels, count).tolist()
    predicted = [generator.choice([*labels, "excited", None]) for _ in range(count)]
    columns = emotion_columns(gold, predicted, labels)
    totals = emotion_scores(total_sums(columns), labels)
    assert_equal_scores({name: values[0] for name, values in totals.items()}, erc(gold, predicted, labels))
    resampled = emotion_scores(resampled_sums(columns, 60, seed), labels)
    for at, sample in enumerate(np.random.default_rng(seed).integers(count, size=(60, count))):
        expected = erc([gold[i] for i in sample], [predicted[i] for i in sample], labels)
        assert_equal_scores({name: values[at] for name, values in resampled.items()}, expected)


def test_drawing_in_parts_changes_nothing(monkeypatch):
    columns = {"error": np.arange(7) / 3}
    whole = resampled_sums(columns, 50, 3)["error"]
    monkeypatch.setattr(resampled_scores, "_CELLS", 40)
    assert np.array_equal(resampled_sums(columns, 50, 3)["error"], whole)


def test_polarities_by_hand():
    sums = total_sums(sentiment_columns([-1.0, -2.0, 0.0, 1.0], [-1.0, -1.0, 2.0, None]))
    scores = {name: values[0] for name, values in sentiment_scores(sums).items()}
    assert (scores["mae/negative"], scores["acc7/negative"]) == (0.5, 0.5)
    assert (scores["mae/neutral"], scores["acc7/neutral"]) == (2.0, 0.0)
    assert np.isnan(scores["mae/positive"]) and scores["acc7/positive"] == 0.0
