"""The bootstrap intervals of both metrics, against draws scored one by one, scipy, and what intervals are for."""

import time
import tracemalloc

import numpy as np
import pytest
import scipy.stats

from trainer.metrics.erc_classification import erc_classification
from trainer.metrics.erc_classification.erc_classification import score_emotions
from trainer.metrics.msa_regression import msa_regression
from trainer.metrics.msa_regression.msa_regression import score_sentiment

SENTIMENT = ("mae", "corr", "acc7", "acc5", "acc2_has0", "acc2_non0", "f1_has0", "f1_non0")
EMOTION = ("accuracy", "weighted_f1", "macro_f1")
LABELS = ["neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"]


def sentiments(samples, seed=0, noise=0.6):
    """(predictions, references), as of a model that errs by `noise` on MOSEI's thirds."""
    generator = np.random.default_rng(seed)
    references = generator.integers(-9, 10, samples) / 3
    return np.round(references + generator.normal(0, noise, samples), 1).tolist(), references.tolist()


def emotions(samples, seed=0, skill=0.6):
    """(predictions, references); some predictions are failures or no label of the set."""
    generator = np.random.default_rng(seed)
    references = generator.choice(LABELS, samples, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.06, 0.04])
    guesses = generator.choice([*LABELS, "excited", None], samples)
    return np.where(generator.random(samples) < skill, references, guesses).tolist(), references.tolist()


# --- against the plain way: draw samples, score each draw by the ordinary path, take percentiles ----------------------


@pytest.mark.parametrize("failures", [0, 4])
def test_msa_intervals_are_percentiles_of_the_scores_of_each_draw(failures):
    predictions, references = sentiments(60)
    predictions[:failures] = [None] * failures
    found = score_sentiment(predictions, references, 6.0, resamples=200, confidence_level=0.9, seed=3)
    draws = np.random.default_rng(3).integers(60, size=(200, 60))
    each = [score_sentiment([predictions[i] for i in draw], [references[i] for i in draw], 6.0) for draw in draws]
    for name in SENTIMENT:
        if name == "corr" and failures:
            assert found["intervals"]["corr"] is None
            assert found["reasons"]["intervals/corr"] == "corr has no value"
        else:
            expected = np.percentile([scores[name] for scores in each], [5, 95])
            assert found["intervals"][name] == pytest.approx(expected, abs=1e-12), name
    assert list(found["intervals"]) == list(SENTIMENT)


def test_erc_intervals_are_percentiles_of_the_scores_of_each_draw():
    predictions, references = emotions(60)
    found = score_emotions(predictions, references, LABELS, resamples=200, confidence_level=0.9, seed=3)
    cells = [(gold, predicted) for gold in LABELS for predicted in [*LABELS, None]]
    known = [one if one in LABELS else None for one in predictions]
    shares = [sum(pair == cell for pair in zip(references, known, strict=True)) / 60 for cell in cells]
    each = []
    for counts in np.random.default_rng(3).multinomial(60, shares, size=200):
        drawn = [cell for cell, count in zip(cells, counts, strict=True) for _ in range(count)]
        each.append(score_emotions([predicted for _, predicted in drawn], [gold for gold, _ in drawn], LABELS))
    for name in EMOTION:
        expected = np.percentile([scores[name] for scores in each], [5, 95])
        assert found["intervals"][name] == pytest.approx(expected, abs=1e-12), name
    assert list(found["intervals"]) == list(EMOTION)


def test_chunks_do_not_change_the_intervals(monkeypatch):
    whole = [score_sentiment(*sentiments(50), resamples=40), score_emotions(*emotions(50), LABELS, resamples=40)]
    monkeypatch.setattr(msa_regression, "_CELLS", 150)  # three resamples at once
    monkeypatch.setattr(erc_classification, "_CELLS", 150)
    parts = [score_sentiment(*sentiments(50), resamples=40), score_emotions(*emotions(50), LABELS, resamples=40)]
    assert parts == whole


# --- against scipy ----------------------------------------------------------------------------------------------------


def test_intervals_agree_with_scipy():
    """Other draws than ours, so only up to the Monte Carlo error of 4,000 resamples, a few hundredths of the width."""
    predictions, references = map(np.array, sentiments(300))
    codes = [np.array([LABELS.index(one) if one in LABELS else 7 for one in side]) for side in emotions(300)]
    found = score_sentiment(predictions, references, resamples=4000)["intervals"]
    found |= score_emotions(*emotions(300), LABELS, resamples=4000)["intervals"]
    statistics = {
        "mae": lambda p, y, axis: np.abs(p - y).mean(axis=axis),
        "acc2_has0": lambda p, y, axis: ((p >= 0) == (y >= 0)).mean(axis=axis),
        "corr": lambda p, y, axis: scipy.stats.pearsonr(p, y, axis=axis).statistic,
        "accuracy": lambda p, y, axis: (p == y).mean(axis=axis),
        "weighted_f1": lambda p, y, axis: weighted_f1(p, y),
    }
    for name, statistic in statistics.items():
        data = codes if name in EMOTION else (predictions, references)
        options = {"paired": True, "method": "percentile", "n_resamples": 4000, "rng": np.random.default_rng(1)}
        low, high = scipy.stats.bootstrap(data, statistic, **options).confidence_interval
        assert found[name] == pytest.approx([low, high], abs=0.08 * (high - low)), name


def weighted_f1(predicted, gold):
    """Along the last axis, from precision and recall of each class."""
    total = 0.0
    for label in range(len(LABELS)):
        hits = ((predicted == label) & (gold == label)).sum(axis=-1)
        support = (gold == label).sum(axis=-1)
        precision, recall = (hits / np.maximum(side, 1) for side in ((predicted == label).sum(axis=-1), support))
        total = total + support * 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    return total / gold.shape[-1]


# --- what intervals are for -------------------------------------------------------------------------------------------


def test_the_seed_decides_and_the_scores_do_not_change():
    for score, data, names in (
        (score_sentiment, sentiments(80), SENTIMENT),
        (lambda *sides, **options: score_emotions(*sides, LABELS, **options), emotions(80), EMOTION),
    ):
        first, again, other = (score(*data, resamples=100, seed=seed) for seed in (0, 0, 1))
        assert first == again and first["intervals"] != other["intervals"]
        plain = score(*data)
        assert plain["intervals"] == {} and not any(key.startswith("intervals/") for key in plain["reasons"])
        assert [plain[name] for name in names] == [first[name] for name in names]


def test_an_interval_holds_its_score_shrinks_with_samples_and_grows_with_confidence():
    for score, data in (
        (score_sentiment, sentiments),
        (lambda *sides, **options: score_emotions(*sides, LABELS, **options), emotions),
    ):
        few, many = (score(*data(samples), resamples=1000) for samples in (250, 4000))
        surer = score(*data(250), resamples=1000, confidence_level=0.99)
        for name, (low, high) in few["intervals"].items():
            assert low < few[name] < high, name
            narrow, wide = (scores["intervals"][name] for scores in (many, surer))
            assert 2.5 < (high - low) / (narrow[1] - narrow[0]) < 6, name  # sixteen times the samples: a quarter
            assert wide[0] < low < high < wide[1], name


def test_nine_in_ten_intervals_hold_the_true_value():
    """250 test sets drawn from a known law: how many 90 % intervals hold its value, within three deviations."""
    held = {"mae": 0, "acc2_has0": 0, "accuracy": 0}
    for seed in range(250):
        generator = np.random.default_rng(seed)
        errors, right = generator.normal(0, 1, 150), generator.random(150) < 0.7
        references = np.where(generator.random(150) < 0.5, 20.0, -20.0)
        predictions = np.where(right, references, -references) + errors
        found = score_sentiment(predictions, references, resamples=300, confidence_level=0.9, seed=seed)["intervals"]
        found["mae"] = score_sentiment(errors, np.zeros(150), resamples=300, confidence_level=0.9)["intervals"]["mae"]
        words = np.where(right, "joy", "fear").tolist()
        found |= score_emotions(words, ["joy"] * 150, resamples=300, confidence_level=0.9, seed=seed)["intervals"]
        for name, truth in (("mae", np.sqrt(2 / np.pi)), ("acc2_has0", 0.7), ("accuracy", 0.7)):
            held[name] += found[name][0] <= truth <= found[name][1]
    assert all(0.84 < count / 250 < 0.96 for count in held.values()), held


def test_a_score_that_some_resamples_lack_has_no_interval():
    predictions, references = [1.0, -1.0, 0.5], [0.0, 0.0, 2.0]
    found = score_sentiment(predictions, references, resamples=100, seed=5)
    draws = np.random.default_rng(5).integers(3, size=(100, 3))
    without = int((~(draws == 2).any(axis=1)).sum())  # no gold score other than 0
    one_gold = without + int((draws == 2).all(axis=1).sum())  # or 2.0 alone: constant gold, no correlation
    assert 0 < without < one_gold < 100
    for name, count in (("acc2_non0", without), ("f1_non0", without), ("corr", one_gold)):
        assert found[name] is not None and found["intervals"][name] is None
        assert found["reasons"][f"intervals/{name}"] == f"undefined in {count} of 100 resamples"
    assert all(found["intervals"][name] for name in ("mae", "acc7", "acc5", "acc2_has0", "f1_has0"))


def test_nothing_to_resample_is_said():
    single = score_sentiment([1.0], [0.5], resamples=10)
    assert set(single["intervals"].values()) == {None}
    assert single["reasons"]["intervals/mae"] == "fewer than two samples"
    assert score_emotions(["joy"], ["joy"], resamples=10)["reasons"]["intervals/accuracy"] == "fewer than two samples"
    failed = score_sentiment([None, 1.0], [1.0, 2.0], resamples=10)
    assert failed["intervals"]["mae"] is None and failed["reasons"]["intervals/mae"] == "mae has no value"
    assert failed["intervals"]["acc7"] is not None
    for empty in (score_sentiment([], [], resamples=10), score_emotions([], [], resamples=10)):
        assert set(empty["intervals"].values()) == {None}
        assert all(empty["reasons"][f"intervals/{name}"] == f"{name} has no value" for name in empty["intervals"])


def test_a_whole_test_set_takes_little_time_and_memory():
    """MOSEI's 4,659 samples 1,000 times: 37 MB for each array of all draws at once, of which there would be a dozen."""
    data, words = sentiments(4659), emotions(4659)
    began = time.process_time()
    score_sentiment(*data, resamples=1000)
    score_emotions(*words, LABELS, resamples=1000)
    assert time.process_time() - began < 3
    tracemalloc.start()
    try:
        score_sentiment(*data, resamples=1000)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
