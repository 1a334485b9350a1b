"""Intervals over seeds, how many seeds a difference needs, and aggregates over experiments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from pade_bench.report.statistics import ALPHA

POWER = 0.8  # the chance with which a difference should be found, for the number of seeds it takes
REPETITIONS = 2000  # of the bootstrap
Interval = tuple[float, float]


def t_interval(values: Sequence[float]) -> Interval | None:
    """Return Student's 95 % interval of the mean; ``None`` for one value, which has none.

    A percentile bootstrap of three seeds would cover the mean in 76 % of all cases.
    """
    n = len(values)
    if n < 2:
        return None
    mean = float(np.mean(values))
    half = special.stdtrit(n - 1, 1 - ALPHA / 2) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean - half, mean + half


def paired_t_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of Student's paired test on two differences or more.

    Where all differences are the same, which test sets of a few hundred images bring about, there
    is no spread to judge them by: the p-value is then that of the sign test.
    """
    n = len(differences)
    spread = differences.std(ddof=1)
    if spread == 0:
        return 1.0 if differences[0] == 0 else 2.0 ** (1 - n)
    t = differences.mean() / (spread / math.sqrt(n))
    return float(2 * special.stdtr(n - 1, -abs(t)))


def seeds_needed(differences: np.ndarray, alpha: float = ALPHA) -> int | None:
    """Return how many seeds a paired t-test needs to find a difference like the one seen.

    It is found with a chance of ``POWER`` if the true mean and spread are those of
    ``differences``: the normal approximation with its correction by Guenther (1981), which is
    within two seeds of the exact number. Without spread it is the number for the sign test.
    ``None`` where there is no difference.
    """
    mean, spread = abs(differences.mean()), differences.std(ddof=1)
    if mean == 0:
        return None
    if spread == 0:
        return math.ceil(1 - math.log2(alpha))
    z = special.ndtri(1 - alpha / 2)
    n = ((z + special.ndtri(POWER)) * spread / mean) ** 2 + z**2 / 2
    return max(2, math.ceil(n))


# As in rliable (Agarwal et al., 2021), a matrix of scores is given by its columns: an array of
# the runs' scores for each experiment, of any length. The bootstrap draws runs anew within each.


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the last axis without its lowest and highest quarter."""
    n = scores.shape[-1]
    cut = n // 4
    return np.partition(scores, [cut, n - cut - 1], axis=-1)[..., cut : n - cut].mean(axis=-1)


def interquartile_mean_interval(columns: Sequence[np.ndarray]) -> Interval:
    """Return the 95 % interval of the interquartile mean by a stratified percentile bootstrap."""
    random = np.random.default_rng(0)
    drawn = [c[random.integers(len(c), size=(REPETITIONS, len(c)))] for c in columns]
    return _percentiles(interquartile_mean(np.concatenate(drawn, axis=1)))


def probability_of_improvement(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], comparisons: int = 1
) -> tuple[float, Interval]:
    """Return the chance that a run of ours is better than one of theirs, and its 95 % interval.

    The Mann-Whitney statistic of each experiment, averaged over experiments: a tie counts half.
    With several comparisons it is the interval by Bonferroni's correction, in which all of them
    are right with a chance of 95 %.
    """
    random = np.random.default_rng(0)
    chances, drawn = [], np.zeros(REPETITIONS)
    for x, y in zip(ours, theirs, strict=True):
        better = (x[:, None] > y) + 0.5 * (x[:, None] == y)
        chances.append(better.mean())
        n_x, n_y = _times_drawn(random, len(x)), _times_drawn(random, len(y))
        drawn += ((n_x @ better) * n_y).sum(axis=1) / better.size
    return float(np.mean(chances)), _percentiles(drawn / len(chances), ALPHA / comparisons)


def _times_drawn(random: np.random.Generator, n: int) -> np.ndarray:
    """Return how often each of n runs is drawn, (repetitions, n)."""
    place = n * np.arange(REPETITIONS)[:, None] + random.integers(n, size=(REPETITIONS, n))
    return np.bincount(place.ravel(), minlength=n * REPETITIONS).reshape(REPETITIONS, n) * 1.0


def _percentiles(values: np.ndarray, alpha: float = ALPHA) -> Interval:
    low, high = np.percentile(values, [100 * alpha / 2, 100 * (1 - alpha / 2)])
    return float(low), float(high)
