"""What a ranking means, in one sentence: which is ahead, or how many seeds it takes to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pade_bench.report.groups import Group, scores
from pade_bench.report.statistics import ALPHA
from pade_bench.report.statistics.intervals import paired_t_p, seeds_needed, t_interval
from pade_bench.report.statistics.paired import differences, holm
from pade_bench.report.tables import signed

MOST_SEEDS = 1000  # a larger number is not told


@dataclass(frozen=True)
class _Lead:
    """By how much the first is ahead of another, seed by seed, and how sure that is."""

    label: str
    differences: np.ndarray
    p: float  # after Holm's correction
    comparisons: int

    @property
    def established(self) -> bool:
        return self.p <= ALPHA

    def __str__(self) -> str:
        points = f"{signed(self.differences.mean()).lstrip('+')} points"
        p = f"p = {self.p:.2g}" + " after Holm's correction" * (self.comparisons > 1)
        n = len(self.differences)
        if not self.differences.std():
            return f"{points} with each of {n} seeds (sign test {p})"
        low, high = map(signed, t_interval(self.differences.tolist()) or ())
        return f"{points} over {n} seeds (95 % interval {low} to {high}, paired t-test {p})"

    def what_it_takes(self) -> str:
        """Return how many seeds would establish a difference like the one seen."""
        if not self.differences.any():
            return "they are equal with every seed"
        n = seeds_needed(self.differences, ALPHA / self.comparisons)
        if n is None:
            return "on average they are equal"
        many = f"about {n}" if n <= MOST_SEEDS else f"more than {MOST_SEEDS:,}"
        return f"to establish a difference like that would take {many} seeds"


def verdict(groups: Sequence[Group]) -> str:
    """Return which activation is ahead, or that nothing is established and what it would take.

    The first is compared with every other by a paired t-test over their common seeds, with Holm's
    correction for the number of others. An activation that diverged with some seeds is not
    first, whatever the mean of the rest.

    Args:
        groups: of one experiment with the same settings, best first.
    """
    diverged = [g.label for g in groups if g.count("diverged")]
    note = f" With some seeds {_listed(diverged)} diverged." if diverged else ""
    ranked = [g for g in groups if g.finished and not g.count("diverged")]
    if not ranked:
        return f"Nothing is established.{note}"
    first, others = ranked[0].label, ranked[1:]
    if not others:
        return f"Only {first} has results: there is nothing to compare it with.{note}"
    leads = _leads(ranked)
    if not leads:
        return (
            f"Nothing is established: {first} comes first, but it takes two seeds in common with "
            f"another activation to compare them.{note}"
        )
    ahead = [lead for lead in leads if lead.established]
    unclear = [lead for lead in leads if not lead.established]
    if not ahead:
        next_one = unclear[0]
        if next_one.differences.any():
            text = (
                f"Nothing is established: {first} comes first, before {next_one.label} by "
                f"{next_one}; {next_one.what_it_takes()}"
            )
        else:
            n = len(next_one.differences)
            text = (
                f"Nothing is established: {first} and {next_one.label} are equal with each of "
                f"{n} seeds"
            )
    elif not unclear:
        whom = ahead[0].label if len(ahead) == 1 else f"all others, of {ahead[0].label}"
        text = f"{first} is ahead of {whom} by {ahead[0]}"
    else:
        more = f" and {len(unclear) - 1} more" if len(unclear) > 1 else ""
        text = (
            f"{first} is ahead of {_listed([lead.label for lead in ahead])}; of "
            f"{unclear[0].label}{more} that is not established: {unclear[0]}; "
            f"{unclear[0].what_it_takes()}"
        )
    return f"{text}.{note}"


def _leads(groups: Sequence[Group]) -> list[_Lead]:
    """Return the leads of the first over those with which it has two seeds in common."""
    blocks = scores(groups)
    first = groups[0].label
    found = {
        g.label: d for g in groups[1:] if len(d := differences(blocks[first], blocks[g.label])) > 1
    }
    p_values = holm([paired_t_p(d) for d in found.values()])
    return [
        _Lead(label, d, p, len(found))
        for (label, d), p in zip(found.items(), p_values, strict=True)
    ]


def _listed(names: Sequence[str]) -> str:
    """Return ``"A, B and C"``, of many only how many they are."""
    if len(names) > 4:
        return f"{len(names)} activations"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
