"""Runs that differ in nothing but the seed, and how such groups differ from each other."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from pade_bench.report.paper import activation_label
from pade_bench.runs.home import shaping_settings
from pade_bench.runs.records import Result

# libyaml reads a configuration ten times as fast, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Changes = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Group:
    """The runs of one configuration, over seeds.

    ``protocol`` holds the settings that differ from the experiment's, as sorted
    ``(name, value)``, without those of the activation itself: these are in ``variation``. So
    activations are comparable exactly where experiment and protocol are equal.
    """

    experiment: str
    activation: str
    protocol: Changes
    variation: Changes
    pruned_share: float | None
    runs: tuple[Result, ...]

    @property
    def label(self) -> str:
        """The activation's name, with what is varied of it."""
        varied = ", ".join(f"{k.removeprefix('activation.')}={v}" for k, v in self.variation)
        return activation_label(self.activation) + (f" ({varied})" if varied else "")

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

    def count(self, status: str) -> int:
        """Return how many runs have a status."""
        return sum(run.status == status for run in self.runs)


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


def describe(changes: Changes) -> str:
    """Word a protocol for a heading."""
    return ", ".join(f"{key}={value}" for key, value in changes) or "standard settings"


def group_runs(results: Iterable[Result]) -> list[Group]:
    """Group runs that differ in the seed alone, and find out what else differs between groups.

    What a run recorded as its changes is not all: an experiment's own settings may have been
    edited between two sweeps. So the configurations of an experiment's groups are compared
    setting by setting, and whatever is not what most of them have counts as a change too.
    """
    by_experiment: dict[str, dict[tuple[Any, ...], list[Result]]] = defaultdict(dict)
    for run in results:
        # A run without a record has no hash yet: its home stands for it.
        key = (run.activation, run.config_hash or run.directory.parent.name, run.pruned_share)
        by_experiment[run.experiment].setdefault(key, []).append(run)
    groups: list[Group] = []
    for experiment, found in sorted(by_experiment.items()):
        differences = _differences(list(found.values()))
        merged: dict[tuple[str, Changes, Changes, float | None], list[Result]] = defaultdict(list)
        for runs, changes in zip(found.values(), differences, strict=True):
            first = runs[0]
            own = tuple((k, v) for k, v in changes if k.startswith("activation."))
            protocol = tuple(change for change in changes if change not in own)
            if first.pruned_share is not None:
                # The stages of one pruning differ in their share, and are one experiment.
                protocol = tuple((k, v) for k, v in protocol if k != "prune.shares")
            same = (first.activation, protocol, own, first.pruned_share)
            hashes = {run.config_hash for run in merged[same]} - {first.config_hash, ""}
            if hashes and first.config_hash:
                # They differ, but their configurations are gone or too old to say in what.
                protocol = (*protocol, ("config_hash", first.config_hash[:8]))
                same = (first.activation, protocol, own, first.pruned_share)
            # Here the runs without a record join the finished ones of the same settings.
            merged[same].extend(runs)
        groups += [Group(experiment, *same, tuple(runs)) for same, runs in merged.items()]
    return groups


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


def _differences(groups: list[list[Result]]) -> list[Changes]:
    """Return for each group of one experiment what it changes of the experiment's settings."""
    settings = [read_settings(runs[0].directory) for runs in groups]
    activations = [runs[0].activation for runs in groups]
    # Of a run that has not begun its first epoch, the other seeds in its folder know the changes.
    known = {run.directory.parent: run.changes for runs in groups for run in runs
             if run.changes is not None}  # fmt: skip
    recorded = [known.get(runs[0].directory.parent) for runs in groups]
    # What an activation's own settings are is a matter of that activation alone.
    keys: dict[str, set[str]] = defaultdict(set)
    for activation, values in zip(activations, settings, strict=True):
        for key in values:
            keys[_scope(key, activation)].add(key)
    for activation, values in zip(activations, settings, strict=True):
        if values:
            for key in keys[""] | keys[activation]:
                values.setdefault(key, "unset")
    votes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    everything = list(zip(groups, activations, recorded, settings, strict=True))
    for runs, activation, changes, values in everything:
        for key, value in values.items():
            if changes is None or key not in changes:
                votes[_scope(key, activation), key][value] += len(runs)
    usual = {key: counter.most_common(1)[0][0] for key, counter in votes.items()}
    differences = []
    for runs, activation, changes, values in everything:
        found = {
            key: value
            for key, value in values.items()
            if usual.get((_scope(key, activation), key), value) != value
        }
        found |= {key: _text(value) for key, value in (changes or {}).items()}
        if changes is None and not found and "-" in runs[0].directory.parent.name:
            found = {"settings": runs[0].directory.parent.name.partition("-")[2]}
        differences.append(tuple(sorted(found.items())))
    return differences


def _scope(key: str, activation: str) -> str:
    return activation if key.startswith("activation.") else ""


def read_settings(directory: Path) -> dict[str, str]:
    """Return a run's settings as ``{"a.b": value}``; nothing where there is no configuration."""
    try:
        config = yaml.load((directory / "config.yaml").read_bytes(), Loader=_LOADER)
        return {key: _text(value) for key, value in shaping_settings(config).items()}
    except (OSError, yaml.YAMLError, AttributeError):
        return {}


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if value in (True, False) else str(value)
