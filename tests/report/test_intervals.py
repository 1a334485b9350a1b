"""Intervals agree with scipy, and the aggregates with rliable."""

import numpy as np
import pytest
from scipy import stats

from pade_bench.report.statistics.intervals import (
    interquartile_mean,
    interquartile_mean_interval,
    paired_t_p,
    probability_of_improvement,
    seeds_needed,
    t_interval,
)


def test_the_interval_of_the_mean_is_students():
    values = [99.3, 99.21, 99.22, 99.3, 99.23]
    expected = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert t_interval(values) == pytest.approx(expected)
    # Of 2, 4 and 6 by hand: 4 ± 4.303 · 2 / √3.
    assert t_interval([2.0, 4.0, 6.0]) == pytest.approx((4 - 4.968, 4 + 4.968), abs=1e-3)


def test_one_seed_has_no_interval():
    assert t_interval([99.0]) is None


def test_the_paired_test_is_students():
    d = np.array([0.1, 0.18, 0.04, 0.24, 0.03])
    assert paired_t_p(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue)


def test_without_spread_the_paired_test_is_the_sign_test():
    assert paired_t_p(np.full(3, 0.28)) == 0.25
    assert paired_t_p(np.zeros(5)) == 1.0


@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("alpha", [0.05, 0.0025])
def test_the_seeds_needed_give_the_paired_test_its_power(effect, alpha):
    def power(n):
        critical = stats.t.ppf(1 - alpha / 2, n - 1)
        return stats.nct.sf(critical, n - 1, effect * n**0.5)

    found = seeds_needed(np.array([effect - 0.5**0.5, effect + 0.5**0.5]), alpha)
    exact = next(n for n in range(2, 10_000) if power(n) >= 0.8)
    assert abs(found - exact) <= 2


def test_no_number_of_seeds_shows_what_is_not_there():
    assert seeds_needed(np.array([0.1, -0.1])) is None


def test_without_spread_it_takes_as_many_seeds_as_the_sign_test():
    assert seeds_needed(np.full(3, 0.28)) == 6
    assert 2.0 ** (1 - 6) <= 0.05 < 2.0 ** (1 - 5)


# rliable's tests/rliable/metrics_test.py.
X = np.array([[1, 2], [2, 2], [1, 1], [2, 1]])
Y = np.array([[1, 1], [2, 2], [3, 3]])


def test_the_aggregates_are_those_of_rliables_example():
    assert interquartile_mean(X.ravel()) == 1.5
    assert interquartile_mean(Y.ravel()) == 2
    assert probability_of_improvement(list(X.T), list(Y.T))[0] == pytest.approx(1 / 3)


# (runs, experiments), and what rliable 1.2.0 makes of them with 50,000 repetitions.
A = np.array([
    [0.60, 0.69, 0.52, 0.33], [0.46, 0.30, 0.62, 1.00], [0.45, 0.41, 0.75, 0.71],
    [0.63, 0.32, 0.59, 0.81], [0.20, 0.46, 0.03, 0.21],
])  # fmt: skip
B = np.array([[-0.10, 0.38, 0.07, 0.53], [0.50, 0.39, -0.31, 0.29], [0.44, 0.48, -0.01, 0.31]])


@pytest.mark.parametrize(
    ("scores", "mean", "interval"),
    [(A, 0.507, (0.394, 0.609)), (B, 0.313333, (0.171667, 0.423333))],
)
def test_the_interquartile_mean_has_rliables_interval(scores, mean, interval):
    assert interquartile_mean(scores.ravel()) == pytest.approx(mean, abs=1e-6)
    assert interquartile_mean_interval(list(scores.T)) == pytest.approx(interval, abs=0.006)


def test_the_probability_of_improvement_has_rliables_interval():
    chance, interval = probability_of_improvement(list(A.T), list(B.T))
    assert chance == pytest.approx(0.716667, abs=1e-6)
    # It moves in steps of a sixtieth.
    assert interval == pytest.approx((0.533333, 0.883333), abs=1.01 / 60)


def test_experiments_may_have_different_numbers_of_runs():
    ours, theirs = [np.array([2.0, 2.0]), np.array([1.0])], [np.array([1.0]), np.array([1.0])]
    assert probability_of_improvement(ours, theirs) == (0.75, (0.75, 0.75))
