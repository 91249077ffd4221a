"""p-values by hand, with ties, and under the hypothesis that they test."""

import random
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from trainer.resampled_scores import resampled_differences, sentiment_columns, sentiment_scores, total_sums
from trainer.significance import bootstrap_p_value, holm, mcnemar_p_value


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (3, 3, 1.0), (1, 5, 14 / 64), (5, 1, 14 / 64), (0, 6, 2 / 64), (2, 8, 112 / 1024)],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    assert mcnemar_p_value(only_a, only_b) == pytest.approx(p)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_bootstrap_by_hand():
    """Errors change by 0 and 1: of the four equally likely draws, two have a mean at least 0.5 away from 0.5."""
    assert bootstrap_p_value(0.5, np.array([0.0, 0.5, 0.5, 1.0])) == (1 + 2) / (4 + 1)
    assert bootstrap_p_value(-0.5, np.array([-0.5, -0.5, -0.5])) == 1 / 4
    assert bootstrap_p_value(0.0, np.zeros(9)) == 1.0


def test_ties_count_as_extreme_whatever_the_rounding():
    """Shares of 120 differ by whole 120ths; floats must not tell 5/120 from (17 - 12)/120."""
    generator = random.Random(0)
    for _ in range(300):
        a, b = generator.randint(0, 120), generator.randint(0, 120)
        drawn = [(generator.randint(0, 120), generator.randint(0, 120)) for _ in range(20)]
        drawn += [(a, 2 * b - a) if 0 <= 2 * b - a <= 120 else (a, a)]
        exact = sum(abs(Fraction(y - x, 120) - Fraction(b - a, 120)) >= abs(Fraction(b - a, 120)) for x, y in drawn)
        resampled = np.array([y / 120 - x / 120 for x, y in drawn])
        assert bootstrap_p_value(b / 120 - a / 120, resampled) == (1 + exact) / (1 + len(drawn))


def test_p_values_are_uniform_for_models_of_equal_skill():
    """Of 400 pairs of equally good models about one in twenty is called different at 0.05."""
    generator, found = np.random.default_rng(11), {"mae": [], "corr": [], "acc7": [], "f1_has0": []}
    for seed in range(400):
        gold = generator.integers(-9, 10, 200) / 3
        shared = generator.normal(0, 0.5, 200)  # the models fail together, which is why pairing matters
        sides = [sentiment_columns(gold, gold + shared + generator.normal(0, 0.6, 200)) for _ in "ab"]
        resampled = resampled_differences(*sides, sentiment_scores, resamples=300, seed=seed)
        a, b = (sentiment_scores(total_sums(columns)) for columns in sides)
        for name, values in found.items():
            values.append(bootstrap_p_value(float(b[name][0] - a[name][0]), resampled[name]))
    for name, values in found.items():
        assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.09, name
    assert stats.kstest(found["mae"], "uniform").pvalue > 0.01
