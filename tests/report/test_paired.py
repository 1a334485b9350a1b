"""The signed-rank test agrees with scipy where that is exact, and with counting elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pade_bench.report.statistics.paired import (
    compare,
    count_against,
    differences,
    holm,
    signed_rank_p,
    smallest_p,
)


def blocks(values):
    return {("e", i): v for i, v in enumerate(values)}


@given(st.lists(st.integers(1, 10**6), min_size=3, max_size=15, unique=True), st.integers(0, 2**15))
@settings(max_examples=50, deadline=None)
def test_signed_rank_p_is_scipys_exact_one_without_ties(sizes, signs):
    d = np.array([s if signs >> i & 1 else -s for i, s in enumerate(sizes)], dtype=float)
    assert signed_rank_p(d) == pytest.approx(stats.wilcoxon(d, mode="exact").pvalue)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_signed_rank_p_counts_all_sign_patterns_with_ties_and_zeros(values):
    d = np.array(values, dtype=float)
    ranks = stats.rankdata(np.abs(d))[d != 0]
    observed = ranks[d[d != 0] > 0].sum()
    sums = np.array([
        sum(r for i, r in enumerate(ranks) if pattern >> i & 1)
        for pattern in range(2 ** len(ranks))
    ])  # fmt: skip
    tail = min((sums <= observed).mean(), (sums >= observed).mean())
    assert signed_rank_p(d) == pytest.approx(min(1.0, 2 * tail))


def test_beyond_what_is_counted_the_normal_limit_agrees():
    d = np.random.default_rng(0).normal(0.15, 1, 200).round(1)
    expected = stats.wilcoxon(d, zero_method="pratt", correction=False, mode="approx").pvalue
    assert signed_rank_p(d) == pytest.approx(expected, rel=0.02)


def test_nothing_but_ties_is_no_difference():
    assert signed_rank_p(np.zeros(5)) == 1.0


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_only_common_finished_blocks_are_compared():
    a = blocks([1.0, 2.0, 3.0, None])
    b = {("e", 1): 1.0, ("e", 2): None, ("e", 3): 1.0, ("other", 0): 5.0}
    assert differences(a, b).tolist() == [1.0]


def test_comparison_counts_and_corrects():
    scores = {
        "ReLU": blocks([90.0] * 6),
        "ELU": blocks([91.0, 91.0, 91.0, 92.0, 90.0, 91.0]),
        "PAU": blocks([91.0, 92.0, 93.0, 94.0, 95.0, 91.0]),
    }
    relu, elu = compare(scores, ["PAU"])
    assert (relu.baseline, relu.wins, relu.ties, relu.losses) == ("ReLU", 6, 0, 0)
    assert relu.p == pytest.approx(2 / 64)
    assert relu.p_holm == pytest.approx(2 * 2 / 64)
    assert (elu.wins, elu.ties, elu.losses, elu.n) == (4, 2, 0, 6)


def test_few_pairs_cannot_reach_significance():
    assert smallest_p(3, 10) == 1.0
    assert smallest_p(20, 10) < 0.05


def test_table5_counts_the_better_of_the_family_and_leaves_out_divergence():
    pau, rpau = blocks([90.0, 95.0, 90.0, 90.0]), blocks([92.0, 90.0, None])
    baseline = blocks([92.0, 96.0, 90.0, None, 80.0])
    count = count_against([pau, rpau], baseline)
    assert (count.at_least, count.below, count.diverged) == (2, 1, 1)
