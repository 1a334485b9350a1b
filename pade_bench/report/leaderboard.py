"""The ranking of activations, for each experiment and across experiments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pade_bench.report.groups import Changes, Group, Summary, time_ratio
from pade_bench.report.names import REFERENCE, activation_label, activation_order, count
from pade_bench.report.statistics.intervals import (
    Interval,
    interquartile_mean,
    interquartile_mean_interval,
    probability_of_improvement,
    t_interval,
)
from pade_bench.report.verdict import verdict


@dataclass(frozen=True)
class Entry:
    """An activation in one experiment.

    ``time_ratio`` is the time of an epoch as a ratio to the reference's, ``None`` where the two
    were not measured on the same device with the same number of threads.
    """

    group: Group
    summary: Summary | None
    interval: Interval | None
    time_ratio: float | None


@dataclass(frozen=True)
class Board:
    """One experiment with one set of settings: its activations, best first, and the verdict."""

    entries: tuple[Entry, ...]
    seeds: int  # how many runs each should have: all seeds that occur
    verdict: str

    @property
    def groups(self) -> list[Group]:
        """The groups of runs, best first."""
        return [entry.group for entry in self.entries]

    @property
    def scope(self) -> tuple[str, Changes]:
        """The experiment and the settings that differ from its own."""
        return self.groups[0].experiment, self.groups[0].protocol

    @property
    def title(self) -> str:
        """What was trained, in words."""
        return self.groups[0].title


def boards(groups: Iterable[Group]) -> list[Board]:
    """Return a board for each experiment and set of settings with a finished run.

    Pruned networks have none: Figure 4 compares them. The experiments' own settings come first,
    then those with most runs.
    """
    comparable: dict[tuple[str, Changes], list[Group]] = defaultdict(list)
    for group in groups:
        if group.pruned_share is None:
            comparable[group.experiment, group.protocol].append(group)

    def order(scope: tuple[str, Changes]) -> tuple[bool, int, tuple[str, Changes]]:
        return bool(scope[1]), -sum(len(g.finished) for g in comparable[scope]), scope

    return [
        _board(comparable[scope])
        for scope in sorted(comparable, key=order)
        if any(g.finished for g in comparable[scope])
    ]


def _board(groups: Sequence[Group]) -> Board:
    reference = _reference(groups)
    entries = [
        Entry(
            group,
            group.summary(),
            accuracy_interval(group.accuracies),
            time_ratio(group, reference),
        )
        for group in groups
    ]

    def order(entry: Entry) -> tuple[float, tuple[int, str], Changes]:
        mean = entry.summary.mean if entry.summary else -1.0
        return -mean, activation_order(entry.group.activation), entry.group.variation

    entries.sort(key=order)
    seeds = len({run.seed for group in groups for run in group.runs})
    return Board(tuple(entries), seeds, verdict([entry.group for entry in entries]))


def accuracy_interval(accuracies: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of a mean of accuracies in percent; none for a single one."""
    interval = t_interval(accuracies)
    # The interval of two or three seeds can be wider than what there is.
    return interval and (max(interval[0], 0.0), min(interval[1], 100.0))


def _reference(groups: Iterable[Group]) -> Group | None:
    return next((g for g in groups if g.kind == (REFERENCE, ())), None)


@dataclass(frozen=True)
class Across:
    """An activation across experiments, as rliable has it (Agarwal et al., 2021).

    ``error`` is the interquartile mean, over all runs, of the test error as a ratio to the mean
    test error of the reference in the same experiment: below 1 is better. ``improvement`` is
    the chance that a run is better than one of the reference. The intervals are a stratified
    bootstrap's: runs are drawn anew within each experiment. A diverged run has an error of 100 %.
    ``corrected_interval`` is that of ``improvement`` with Bonferroni's correction for the
    activations that ran in all of the experiments: the best of many looks good by chance.
    """

    label: str
    experiments: int
    runs: int
    error: float
    error_interval: Interval
    improvement: float
    improvement_interval: Interval
    corrected_interval: Interval


def across(found: Sequence[Board]) -> list[Across]:
    """Return the activations across all experiments with their own settings, best first.

    Nothing with fewer than two experiments in which the reference has a result.
    """
    ours: dict[str, list[np.ndarray]] = defaultdict(list)
    theirs: dict[str, list[np.ndarray]] = defaultdict(list)
    n_experiments = 0
    for board in found:
        reference = _reference(board.groups)
        if board.scope[1] or reference is None or not reference.finished:
            continue
        baseline = _errors(reference)
        if not baseline.mean() > 0:
            continue  # a ratio to nothing
        n_experiments += 1
        for group in board.groups:
            if len(ended := _errors(group)):
                ours[group.label].append(ended / baseline.mean())
                theirs[group.label].append(baseline / baseline.mean())
    if n_experiments < 2:
        return []
    rows = []
    lengths = [len(errors) for errors in ours.values()]
    others = max(1, lengths.count(max(lengths)) - 1)  # the reference ran in all of them
    for label, errors in ours.items():
        # The lower error is the better one.
        better = [-e for e in errors], [-e for e in theirs[label]]
        chance, interval = probability_of_improvement(*better)
        corrected = probability_of_improvement(*better, others)[1] if others > 1 else interval
        rows.append(
            Across(
                label,
                len(errors),
                sum(map(len, errors)),
                float(interquartile_mean(np.concatenate(errors))),
                interquartile_mean_interval(errors),
                chance,
                interval,
                corrected,
            )
        )
    return sorted(rows, key=lambda row: (-row.experiments, row.error, row.label))


def _errors(group: Group) -> np.ndarray:
    """Return the test errors in percent of the runs that came to an end."""
    ended = [run for run in group.runs if run.status != "unfinished"]
    # Accuracies are counts divided by the size of the test set: below this is rounding.
    return np.round([100.0 if r.accuracy is None else 100 - r.accuracy for r in ended], 9)


def verdict_across(rows: Sequence[Across]) -> str:
    """Return in a sentence whether any is better than the reference across experiments."""
    reference = activation_label(REFERENCE)
    complete = [r for r in rows if r.experiments == rows[0].experiments and r.label != reference]
    if not complete:
        return f"No other activation ran in as many experiments as {rows[0].label}."
    best = max(complete, key=lambda r: (r.improvement, -r.error))
    low, high = best.corrected_interval
    corrected = f", corrected for {len(complete)} comparisons" * (len(complete) > 1)
    where = count(best.experiments, "experiment")
    text = (
        f"Across {where} a run with {best.label} is better than one with {reference} "
        f"with probability {best.improvement:.2f} (95 % interval {low:.2f} to "
        f"{high:.2f}{corrected}): "
    )
    if low > 0.5:
        return f"{text}{best.label} is ahead of {reference} in these experiments."
    return f"{text}that any activation is ahead of {reference} is not established."
