"""Groups of runs that differ in nothing but the seed, and what is asked of them."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pade_bench.report.names import activation_label, activation_order, experiment_label
from pade_bench.report.statistics import Scores
from pade_bench.runs.records import Result

Changes = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Group:
    """The runs of one configuration, over seeds.

    ``protocol`` holds the settings that differ from the experiment's, as sorted
    ``(name, value)``, without those of the activation itself: these are in ``variation``. So
    activations are comparable exactly where experiment and protocol are equal. Where another data
    set, network or activation ran than the name of the experiment or of the activation says,
    ``experiment`` and ``activation`` say what really ran.
    """

    experiment: str
    activation: str
    protocol: Changes
    variation: Changes
    pruned_share: float | None
    runs: tuple[Result, ...]
    protocol_name: str = ""  # in place of a long list: "settings A"
    variation_name: str = ""
    variant: int = 0  # which of the activation's variations among all groups, 0 for none

    @property
    def kind(self) -> tuple[str, Changes]:
        """What is compared: the activation and what is varied of it."""
        return self.activation, self.variation

    @property
    def settings(self) -> str:
        """The protocol in words, or its short name."""
        return self.protocol_name or describe(self.protocol)

    @property
    def title(self) -> str:
        """What was trained: data set, network and settings."""
        label = experiment_label(self.experiment)
        return f"{label}, {self.settings}" if self.protocol else label

    @property
    def label(self) -> str:
        """The activation's name, with what is varied of it."""
        variant = self.variation_name or varied(self.variation)
        return activation_label(self.activation) + (f" ({variant})" if variant else "")

    @property
    def full_label(self) -> str:
        """The label, with the share of filters that was pruned where there is one."""
        return self.label + (
            f", {self.pruned_share:g} % pruned" if self.pruned_share is not None else ""
        )

    @cached_property
    def finished(self) -> list[Result]:
        """The finished runs, by seed."""
        return sorted((r for r in self.runs if r.status == "finished"), key=lambda r: r.seed)

    @cached_property
    def seconds_per_epoch(self) -> float | None:
        """The median over all epochs of the finished runs."""
        measured = [seconds for run in self.finished for seconds in run.seconds_per_epoch]
        return statistics.median(measured) if measured else None

    @property
    def training_seconds(self) -> float | None:
        """How long a run takes by that median."""
        seconds = self.seconds_per_epoch
        return seconds * self.finished[0].epochs if seconds is not None else None

    @cached_property
    def places(self) -> frozenset[tuple[str, str]]:
        """Where the finished runs were made: device and number of threads."""
        made = [run.provenance for run in self.finished]
        return frozenset((str(p.device), str(p.threads)) for p in made)

    def curves(self, name: str) -> np.ndarray:
        """Return a history of the finished runs, (seeds, epochs), cut to the shortest."""
        histories = [getattr(run, name) for run in self.finished]
        epochs = min(map(len, histories))
        return np.array([history[:epochs] for history in histories])

    @property
    def accuracies(self) -> list[float]:
        """The test accuracies of the finished runs, by seed, in percent."""
        return [run.accuracy for run in self.finished if run.accuracy is not None]

    def count(self, status: str) -> int:
        """Return how many runs have a status."""
        return sum(run.status == status for run in self.runs)

    def summary(self, metric: str = "accuracy") -> Summary | None:
        """Return the summary of a metric of the finished runs."""
        return summarize(getattr(run, metric) for run in self.finished)


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation (``None`` for one value) and best of n values."""

    mean: float
    std: float | None
    best: float
    n: int


def summarize(values: Iterable[float | None]) -> Summary | None:
    """Return the summary of the values that there are, ``None`` for none."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    std = statistics.stdev(known) if len(known) > 1 else None
    return Summary(statistics.fmean(known), std, max(known), len(known))


def time_ratio(group: Group, reference: Group | None) -> float | None:
    """Return the time of an epoch as a ratio to another group's.

    ``None`` where they were not measured on the same device with the same number of threads.
    """
    if reference is None or len(group.places) != 1 or group.places != reference.places:
        return None
    ours, theirs = group.seconds_per_epoch, reference.seconds_per_epoch
    return ours / theirs if ours and theirs else None


def describe(changes: Changes) -> str:
    """Return settings in words."""
    return ", ".join(f"{key}={value}" for key, value in changes) or "standard settings"


def varied(variation: Changes) -> str:
    """Return the settings of an activation in words."""
    return ", ".join(f"{k.removeprefix('activation.')}={v}" for k, v in variation)


def in_order(groups: Iterable[Group]) -> list[Group]:
    """Return groups in the order of tables: by experiment, settings, activation."""
    return sorted(
        groups,
        key=lambda g: (
            g.experiment, g.protocol, activation_order(g.activation), g.variation,
            g.pruned_share or 0.0,
        ),
    )  # fmt: skip


def scores(groups: Iterable[Group], metric: str = "accuracy") -> Scores:
    """Return the accuracy of every finished or diverged run by activation and block."""
    found: dict[str, dict[tuple[str, int], float | None]] = {}
    for group in sorted(groups, key=lambda g: (activation_order(g.activation), g.variation)):
        for run in group.runs:
            if run.status != "unfinished":
                value = getattr(run, metric)
                found.setdefault(group.label, {})[group.experiment, run.seed] = value
    return found


def legend(groups: Iterable[Group]) -> list[str]:
    """Return what the short names among the settings of groups stand for, a line for each."""
    groups = list(groups)
    names = {g.protocol_name: describe(g.protocol) for g in groups if g.protocol_name}
    variants = {g.variation_name: varied(g.variation) for g in groups if g.variation_name}
    return [f"{name}: {text}" for name, text in sorted((names | variants).items())]


def pruned_groups(groups: Iterable[Group]) -> list[Group]:
    """Return the groups of pruned runs, each row of them with the unpruned network.

    How a network is pruned makes no other run of it before pruning, so that several rows of
    settings (``prune.weights=new`` and the standard ones) begin with the same group.
    """
    pruned = [g for g in groups if g.pruned_share is not None]
    unpruned = {_row(g): g for g in pruned if g.pruned_share == 0}
    rows = {_row(g) for g in pruned}
    for experiment, activation, protocol, variation in rows - unpruned.keys():
        before = tuple((k, v) for k, v in protocol if not k.startswith("prune."))
        if start := unpruned.get((experiment, activation, before, variation)):
            pruned.append(dataclasses.replace(start, protocol=protocol))
    return pruned


def _row(group: Group) -> tuple[str, str, Changes, Changes]:
    return group.experiment, group.activation, group.protocol, group.variation
