"""Mean ranks, against tabulated values and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pade_bench.report.statistics.ranks import friedman_p, nemenyi_q, rank_all, rank_values


def blocks(values):
    return {("e", i): v for i, v in enumerate(values)}


# Demšar (2006), Table 5: q for 2 to 10 classifiers at 0.05.
TABULATED = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)


@pytest.mark.parametrize(("k", "q"), list(enumerate(TABULATED, start=2)))
def test_nemenyis_quantile_is_the_tabulated_one(k, q):
    assert nemenyi_q(k) == pytest.approx(q, abs=1.1e-3)


def test_friedmans_test_by_hand():
    # Ranks 1, 2, 3 in each of four blocks: χ² = 12 · 4 / (3 · 4) · (1 + 0 + 1) = 8, two degrees.
    ranks = np.array([[1.0, 2.0, 3.0]] * 4)
    assert friedman_p(ranks) == pytest.approx(np.exp(-4))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_ranks_are_scipys(values):
    assert rank_values(np.array(values)).tolist() == stats.rankdata(values).tolist()


def test_ranking_matches_friedman_and_a_tabulated_critical_difference():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 10))
    scores = {name: blocks(row.tolist()) for name, row in zip("abcd", values, strict=True)}
    ranking = rank_all(scores)
    assert ranking.friedman_p == pytest.approx(stats.friedmanchisquare(*values).pvalue)
    # Demšar (2006), Table 5: q = 2.569 for four classifiers at 0.05.
    assert ranking.critical_difference == pytest.approx(2.569 * (4 * 5 / 60) ** 0.5, abs=1e-3)
    assert sum(ranking.mean_ranks.values()) == pytest.approx(10)


def test_a_diverged_run_ranks_last_and_a_rare_activation_is_left_out():
    scores = {
        "a": blocks([3.0] * 4),
        "b": blocks([2.0] * 4),
        "c": blocks([None, 1.0, 1.0, None]),
        "rare": blocks([9.0]),
    }
    ranking = rank_all(scores)
    assert ranking.mean_ranks == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert ranking.left_out == ("rare",)
    assert ranking.blocks == 4


@pytest.mark.parametrize(
    "scores", [{}, {"a": blocks([1.0, 2.0])}, {n: blocks([1.0]) for n in "abc"}]
)
def test_too_little_is_not_ranked(scores):
    assert rank_all(scores) is None


def test_ties_everywhere_are_no_difference():
    ranking = rank_all({n: blocks([1.0, 2.0]) for n in "abc"})
    assert ranking.friedman_p == 1.0
    assert set(ranking.mean_ranks.values()) == {2.0}


def test_bars_join_what_is_closer_than_the_critical_difference():
    scores = {n: blocks([10.0 - i] * 30) for i, n in enumerate("abcdefgh")}
    ranking = rank_all(scores)
    for low, high in ranking.indistinct():
        assert 0 < high - low <= ranking.critical_difference
    assert (1.0, 2.0) in ranking.indistinct() or ranking.critical_difference > 2
