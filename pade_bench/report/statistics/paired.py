"""Paired comparisons of activations: the exact signed-rank test, Holm's correction, counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from pade_bench.report.statistics import Block, Scores
from pade_bench.report.statistics.ranks import rank_values

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
class Count:
    """How often a candidate is at least as good as a baseline, and how often worse."""

    at_least: int = 0
    below: int = 0
    diverged: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.at_least + other.at_least, self.below + other.below, self.diverged + other.diverged
        )


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
