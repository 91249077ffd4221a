"""Tests of the difference between two models on the same samples, and Holm's adjustment for having made several."""

from collections.abc import Sequence

import numpy as np

FEWEST = (
    20  # samples of a bootstrap test: among fewer, equal models are told apart too often (14 % at 5 instead of 5 %)
)
_ROUNDING = 1e-12  # equal differences of sums may differ in their last digits; a tie counts as extreme


def bootstrap_p_value(difference: float, resampled: np.ndarray) -> float:
    """Two-sided p-value of the paired bootstrap.

    The resampled differences d* spread around the observed d; shifted by -d they spread as under the hypothesis of no
    difference (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 16.4; for scores of language
    systems Berg-Kirkpatrick et al., EMNLP 2012):

        p = (1 + #{|d* - d| >= |d|}) / (resamples + 1)

    With the observed sample counted in, p is never 0 (Davison and Hinkley, Bootstrap Methods, 1997, eq. 4.11).

    Args:
        resampled: (resamples,) differences, all defined.
    """
    extreme = np.abs(resampled - difference) >= abs(difference) - _ROUNDING
    return (1 + int(extreme.sum())) / (len(resampled) + 1)


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """McNemar's exact test: of the samples that one model alone gets right, is either one's share other than a half?

    Two-sided binomial test on the discordant pairs (McNemar, Psychometrika 12, 1947); 1 where there are none.
    """
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that the chance of any false alarm among them is bounded, whatever their dependence.

    The i-th smallest of m is multiplied by m - i + 1, never falls below a smaller one's, and is at most 1 (Holm,
    Scandinavian Journal of Statistics 6, 1979).
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[at]))
        adjusted[at] = highest
    return adjusted
