"""Tests for paired comparisons of activations.

The unit of comparison is a *block*: one experiment with one seed. Within a block activations see
the same images in the same order, so their differences are paired. Blocks of one experiment
are repetitions, not new problems: what follows from them holds for these experiments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

Block = tuple[str, int]  # (experiment, seed)
# By activation, by block: test accuracy in percent, None where the run diverged.
Scores = Mapping[str, Mapping[Block, float | None]]

ALPHA = 0.05
EXACT_PAIRS = 60


@dataclass(frozen=True)
class Comparison:
    """A Padé unit against a baseline over the blocks in which both finished."""

    candidate: str
    baseline: str
    wins: int
    ties: int
    losses: int
    median_difference: float
    p: float
    p_holm: float

    @property
    def n(self) -> int:
        """The number of blocks."""
        return self.wins + self.ties + self.losses


def compare(scores: Scores, candidates: Sequence[str]) -> list[Comparison]:
    """Compare each candidate with every other activation; p-values are Holm's over all of them.

    Wilcoxon's signed-rank test uses the size of the differences and no normality, which
    accuracies close to 100 % do not have.
    """
    raw = []
    for candidate in candidates:
        for baseline in scores:
            if baseline == candidate:
                continue
            d = differences(scores[candidate], scores[baseline])
            if len(d):
                raw.append((candidate, baseline, d, signed_rank_p(d)))
    corrected = holm([p for *_, p in raw])
    return [
        Comparison(
            candidate,
            baseline,
            wins=int((d > 0).sum()),
            ties=int((d == 0).sum()),
            losses=int((d < 0).sum()),
            median_difference=float(np.median(d)),
            p=p,
            p_holm=p_holm,
        )
        for (candidate, baseline, d, p), p_holm in zip(raw, corrected, strict=True)
    ]


def differences(a: Mapping[Block, float | None], b: Mapping[Block, float | None]) -> np.ndarray:
    """Return a − b over the blocks in which both finished; exact ties are exactly zero."""
    both = [(a[k], b[k]) for k in sorted(a.keys() & b.keys())]
    d = np.array([x - y for x, y in both if x is not None and y is not None])
    # Accuracies are counts divided by the size of the test set: below this is rounding.
    return np.round(d, 9)


def signed_rank_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test, also with ties.

    Zeros take part in the ranking and then leave (Pratt, 1959). Up to ``EXACT_PAIRS`` pairs the
    null distribution is counted: each remaining rank is positive or negative with equal chance.
    Beyond, its normal limit is as good.
    """
    ranks = rank_values(np.abs(differences))
    kept = ranks[differences != 0]
    observed = ranks[differences > 0].sum()
    if len(kept) > EXACT_PAIRS:
        z = (observed - kept.sum() / 2) / math.sqrt((kept**2).sum() / 4)
        return float(2 * special.ndtr(-abs(z)))
    # Ranks of ties are halves: doubled they are whole numbers, to count with.
    doubled = np.rint(2 * kept).astype(int)
    chance = np.zeros(doubled.sum() + 1)
    chance[0] = 1.0
    for rank in doubled:
        shifted = np.zeros_like(chance)
        shifted[rank:] = chance[: len(chance) - rank]
        chance = (chance + shifted) / 2
    at = round(2 * observed)
    tail = min(chance[: at + 1].sum(), chance[at:].sum())
    return float(min(1.0, 2 * tail))


def rank_values(values: np.ndarray) -> np.ndarray:
    """Return the ranks of the values, 1 for the smallest; equal values share their mean rank."""
    # Own and short, as importing scipy.stats takes longer than reading ten thousand records.
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple comparisons by Holm's step-down method (1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for step, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[i]))
        corrected[i] = highest
    return corrected


def smallest_p(n: int, comparisons: int) -> float:
    """Return the smallest corrected p-value that n pairs can give: all on one side."""
    return min(1.0, comparisons * 2.0 ** (1 - n))


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over blocks (1 is best), and from which distance on they differ."""

    mean_ranks: dict[str, float]
    blocks: int
    experiments: int
    friedman_p: float
    critical_difference: float
    left_out: tuple[str, ...]

    def indistinct(self) -> list[tuple[float, float]]:
        """Return the maximal ranges of mean ranks within the critical difference."""
        ranks = sorted(self.mean_ranks.values())
        found: list[tuple[float, float]] = []
        for i, low in enumerate(ranks):
            high = max(r for r in ranks if r - low <= self.critical_difference)
            # A range within the previous one says nothing new.
            if high > low and (not found or high > found[-1][1]) and ranks.index(low) == i:
                found.append((low, high))
        return found


def rank_all(scores: Scores) -> Ranking | None:
    """Rank all activations: Friedman's test, then Nemenyi's critical difference (Demšar, 2006).

    Only complete blocks count. An activation that has run in less than half as many blocks as
    the most complete is left out, so that it does not cost the others their blocks. A diverged
    run is a result: it ranks last in its block.

    Returns:
        ``None`` for fewer than three activations or two complete blocks.
    """
    most = max((len(blocks) for blocks in scores.values()), default=0)
    kept = [name for name, blocks in scores.items() if 2 * len(blocks) >= most > 0]
    complete = sorted(set.intersection(*(set(scores[name]) for name in kept))) if kept else []
    if len(kept) < 3 or len(complete) < 2:
        return None
    values = np.array(
        [[-np.inf if (v := scores[name][b]) is None else v for name in kept] for b in complete]
    )
    ranks = np.array([rank_values(-row) for row in np.round(values, 9)])
    k, n = len(kept), len(complete)
    return Ranking(
        mean_ranks=dict(zip(kept, ranks.mean(axis=0).tolist(), strict=True)),
        blocks=n,
        experiments=len({experiment for experiment, _ in complete}),
        friedman_p=friedman_p(ranks),
        critical_difference=nemenyi_q(k) * math.sqrt(k * (k + 1) / (6 * n)),
        left_out=tuple(sorted(set(scores) - set(kept))),
    )


def friedman_p(ranks: np.ndarray) -> float:
    """Return the p-value of Friedman's test, corrected for ties.

    Args:
        ranks: (blocks, activations), the ranks within each block.
    """
    n, k = ranks.shape
    spread = (ranks**2).sum() - n * k * (k + 1) ** 2 / 4
    if spread == 0:  # nothing but ties
        return 1.0
    between = ((ranks.sum(axis=0) - n * (k + 1) / 2) ** 2).sum()
    return float(special.chdtrc(k - 1, (k - 1) * between / spread))


def nemenyi_q(k: int) -> float:
    """Return the 1 − ALPHA quantile of the range of k standard normals, divided by √2."""
    z = np.linspace(-8, 8, 2001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

    low, high = 0.0, 20.0
    while high - low > 1e-9:
        q = (low + high) / 2
        # One of them is the largest, all others lie within q below it.
        within = special.ndtr(z) - special.ndtr(z - q)
        chance = (k * density * within ** (k - 1)).sum() * (z[1] - z[0])
        low, high = (q, high) if chance < 1 - ALPHA else (low, q)
    return high / math.sqrt(2)


@dataclass(frozen=True)
class Count:
    """How often a candidate is at least as good as a baseline, and how often worse."""

    at_least: int
    below: int
    diverged: int


def count_against(
    family: Sequence[Mapping[Block, float | None]], baseline: Mapping[Block, float | None]
) -> Count:
    """Count blocks by Table 5's rule: the better of the family's runs against the baseline's.

    The paper prints counts without their rule. Its totals of 42, 20 and 15 are [derived] to be
    5 seeds x 8 experiments + 2 (ImageNet's top-1 and top-5), 5 x 4 (Mixture) and 5 x 3
    (Maxout): single runs are compared, PAU and RPAU together count once.
    Blocks in which the baseline diverged are not compared but returned apart.
    """
    at_least = below = diverged = 0
    for block, theirs in baseline.items():
        ours = [v for member in family if (v := member.get(block)) is not None]
        if not ours:
            continue
        if theirs is None:
            diverged += 1
        elif round(max(ours), 9) >= round(theirs, 9):
            at_least += 1
        else:
            below += 1
    return Count(at_least, below, diverged)
