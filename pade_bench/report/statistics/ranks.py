"""Mean ranks of many activations over blocks: Friedman's test and Nemenyi's critical difference."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from pade_bench.report.statistics import ALPHA, Scores


def rank_values(values: np.ndarray) -> np.ndarray:
    """Return the ranks of the values, 1 for the smallest; equal values share their mean rank."""
    # Own and short, as importing scipy.stats takes longer than reading ten thousand records.
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


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
        ranks: (blocks, activations), the ranks within each block; at least three activations.
    """
    if (ranks == ranks[:, :1]).all():  # nothing but ties, for which scipy has no number
        return 1.0
    from scipy import stats  # takes half a second to import

    return float(stats.friedmanchisquare(*ranks.T).pvalue)


@functools.cache
def nemenyi_q(k: int) -> float:
    """Return the 1 − ALPHA quantile of the studentized range of k means, divided by √2."""
    from scipy import stats

    return float(stats.studentized_range.ppf(1 - ALPHA, k, np.inf) / math.sqrt(2))
