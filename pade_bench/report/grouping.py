"""From single runs to groups that differ in nothing but the seed, and what else they differ in."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pade_bench.report.groups import Changes, Group, describe, varied
from pade_bench.report.names import ACTIVATIONS, DATA, MODELS, choice_of
from pade_bench.runs.records import Result

LONGEST_SETTINGS = 60  # characters; a longer list has a short name
LONGEST_VARIATION = 30
IMAGES = "data.images"  # beside the settings: the digest of a folder of images


def group_runs(results: Iterable[Result]) -> list[Group]:
    """Group runs that differ in the seed alone, and find out what else differs between groups.

    What a run recorded as its changes is not all: an experiment's own settings may have been
    edited between two sweeps. So the configurations of an experiment's groups are compared
    setting by setting, and whatever is not what most of them have counts as a change too.
    """
    by_experiment: dict[str, dict[tuple[Any, ...], list[Result]]] = defaultdict(dict)
    for run in results:
        # A run without a record has no hash yet: its home stands for it.
        home = run.config_hash or run.directory.parent.name
        key = (run.activation, home, run.pruned_share, _images(run))
        by_experiment[run.experiment].setdefault(key, []).append(run)
    groups: list[Group] = []
    for experiment, found in sorted(by_experiment.items()):
        merged: dict[tuple[str, Changes, Changes, float | None], list[Result]] = defaultdict(list)
        members = list(found.values())
        for runs, changes in zip(members, _differences(members), strict=True):
            # Here the runs without a record join the finished ones of the same settings.
            merged[_identity(runs[0], changes, merged)].extend(runs)
        groups += [Group(experiment, *same, tuple(runs)) for same, runs in merged.items()]
    return _named(_as_they_ran(groups))


def _identity(
    first: Result, changes: Changes, merged: dict[tuple[str, Changes, Changes, float | None], Any]
) -> tuple[str, Changes, Changes, float | None]:
    """Return what runs have in common: activation, protocol, variation and pruned share."""
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
    return same


def _as_they_ran(groups: Iterable[Group]) -> list[Group]:
    """Name experiments and activations by what ran where that is not what they are called."""
    found: list[Group] = []
    replaced: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        variation = dict(group.variation)
        if target := variation.pop("activation._target_", ""):
            group = dataclasses.replace(
                group, activation=choice_of(target, ACTIVATIONS), variation=tuple(variation.items())
            )
        targets = {k: v for k, v in group.protocol if k in ("data._target_", "model._target_")}
        if not targets:
            found.append(group)
            continue
        settings = settings_of(group.runs[0]) | dict(group.protocol)
        data = settings.get("data.name") or settings.get("data.dataset")
        data = data or choice_of(settings.get("data._target_", "other data"), DATA)
        model = settings.get("model.model_name") or settings.get("model.name")
        model = model or choice_of(settings.get("model._target_", "another network"), MODELS)
        what = f"{DATA.get(data, data)}, {MODELS.get(model, model)}"
        name = f"{what}, with the recipe of {group.experiment}"
        replaced[name].append(dataclasses.replace(group, experiment=name))
    for members in replaced.values():
        # What came with the other data set or network is part of it, not a change.
        common = set.intersection(*(set(g.protocol) for g in members))
        for g in members:
            own = [(k, v) for k, v in g.protocol
                   if (k, v) not in common or not k.startswith(("data.", "model."))]  # fmt: skip
            found.append(dataclasses.replace(g, protocol=tuple(own)))
    return found


def _named(groups: Sequence[Group]) -> list[Group]:
    """Number variants, and give short names to what is too long for a heading or a legend."""
    kinds: dict[str, list[Changes]] = defaultdict(list)
    for activation, variation in sorted({g.kind for g in groups if g.variation}):
        kinds[activation].append(variation)
    protocols = sorted({g.protocol for g in groups
                        if len(describe(g.protocol)) > LONGEST_SETTINGS})  # fmt: skip
    variations = sorted({g.variation for g in groups
                         if len(varied(g.variation)) > LONGEST_VARIATION})  # fmt: skip
    return [
        dataclasses.replace(
            g,
            protocol_name=_short_name("settings", g.protocol, protocols),
            variation_name=_short_name("variant", g.variation, variations),
            variant=kinds[g.activation].index(g.variation) + 1 if g.variation else 0,
        )
        for g in groups
    ]


def _short_name(word: str, changes: Changes, long: Sequence[Changes]) -> str:
    """Return ``"settings A"`` for the first of the long ones, nothing for the others."""
    if changes not in long:
        return ""
    number, letters = long.index(changes) + 1, ""
    while number:  # A … Z, AA, AB, …
        number, digit = divmod(number - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return f"{word} {letters}"


def _differences(groups: list[list[Result]]) -> list[Changes]:
    """Return for each group of one experiment what it changes of the experiment's settings."""
    settings = [settings_of(runs[0]) | _images_as_setting(runs[0]) for runs in groups]
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
            for key in (keys[""] | keys[activation]) - {IMAGES}:  # unknown without a record
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


def _images(run: Result) -> str | None:
    """Return the digest of a folder of images, ``None`` where a record has none."""
    return run.record.images.data_digest if run.record and run.record.images else None


def _images_as_setting(run: Result) -> dict[str, str]:
    digest = _images(run)
    return {} if digest is None else {IMAGES: digest[:8]}


def _scope(key: str, activation: str) -> str:
    return activation if key.startswith("activation.") else ""


def settings_of(run: Result) -> dict[str, str]:
    """Return a run's settings as texts, ``{"a.b": value}``; nothing where they are not known."""
    return {key: _text(value) for key, value in (run.settings or {}).items()}


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if value in (True, False) else str(value)
