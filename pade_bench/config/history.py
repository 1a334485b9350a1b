"""Settings renamed or added since version 0.1: a run made before stays the run that it was.

A stored configuration is read with today's names (:func:`current`), a setting that it lacks counts
as its default, and the hash and the home of a run are computed from what 0.1 would have stored
(:func:`historic`). To rename a setting, add a line to :data:`RENAMED`; one that is new and shapes
the result is declared ``added=True`` in ``config/schema.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pade_bench.config.fields import declared, default
from pade_bench.config.schema import Config


@dataclass(frozen=True)
class Renamed:
    """A setting that had another name in 0.1.

    Args:
        group: the group of the configuration in which it lies.
        old: its name there in 0.1.
        new: its name today.
        targets: the values of the group's ``_target_`` that the renaming is about; () for all.
        values: values that were renamed with it, old to new.
    """

    group: str
    old: str
    new: str
    targets: tuple[str, ...] = ()
    values: Mapping[Any, Any] = field(default_factory=dict)

    def concerns(self, target: object) -> bool:
        """Tell whether it holds where the group's ``_target_`` is this."""
        return not self.targets or target in self.targets


_PADE_UNITS = ("pade_bench.activations.PAU", "pade_bench.activations.RPAU")
_OPTIMIZERS = {"adam": "torch.optim.Adam", "sgd": "torch.optim.SGD"}
RENAMED: tuple[Renamed, ...] = (
    Renamed("activation", "denominator", "form", _PADE_UNITS),
    Renamed("optim", "optimizer", "_target_", values=_OPTIMIZERS),
)

# Settings that 0.1 did not have and that shape the result, by name, and the default with which they
# change nothing.
ADDED: dict[str, Any] = {
    key: default(field)
    for key, field in declared(Config)
    if field.metadata["added"] and not field.metadata["place"]
}

# 0.1 stored it for every optimizer; today it is left out where it is 0.
_MOMENTUM = "optim.momentum"
# Settings that 0.1 stored as floats, also where a whole number was given.
_FLOATS = ("data.max_rotation", _MOMENTUM)


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored configuration, as nested dictionaries, with today's names."""
    found = copy.deepcopy(dict(config))
    for renamed in RENAMED:
        group = found.get(renamed.group)
        if (
            isinstance(group, dict)
            and renamed.old in group
            and renamed.concerns(group.get("_target_"))
        ):
            value = group[renamed.old]
            names = {renamed.old: renamed.new}
            # In its old place: the order of arguments is the order in which they are shown.
            found[renamed.group] = {names.get(k, k): v for k, v in group.items()}
            found[renamed.group][renamed.new] = _mapped(renamed.values, value)
    group, _, name = _MOMENTUM.partition(".")
    if isinstance(optim := found.get(group), dict) and optim.get(name) == 0:
        del optim[name]
    return found


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, ``{"a.b": value}``, with the defaults of those that 0.1 did not have."""

    def is_there(key: str) -> bool:
        return any(name == key or name.startswith(f"{key}.") for name in settings)

    return {**settings, **{key: value for key, value in ADDED.items() if not is_there(key)}}


def current_changes(changes: Mapping[str, Any], activation: str) -> dict[str, Any]:
    """Return what a record says that a run changes, ``{"a.b": value}``, with today's names.

    Records of 0.1 tell the name of the ``activation``, not its class.
    """
    found = dict(changes)
    for renamed in RENAMED:
        key = f"{renamed.group}.{renamed.old}"
        names = {target.rpartition(".")[2].lower() for target in renamed.targets}
        if key in found and (not names or activation in names):
            value = found.pop(key)
            found[f"{renamed.group}.{renamed.new}"] = _mapped(renamed.values, value)
    return found


def historic(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, ``{"a.b": value}``, as 0.1 would have stored them."""
    found = {k: v for k, v in settings.items() if k not in ADDED or v != ADDED[k]}
    for renamed in RENAMED:
        key = f"{renamed.group}.{renamed.new}"
        if key in found and renamed.concerns(settings.get(f"{renamed.group}._target_")):
            value = found.pop(key)
            before = {new: old for old, new in renamed.values.items()}
            found[f"{renamed.group}.{renamed.old}"] = _mapped(before, value)
    if found.get("optim.optimizer") in _OPTIMIZERS:
        found.setdefault(_MOMENTUM, 0.0)
    found |= {key: float(found[key]) for key in _FLOATS if isinstance(found.get(key), int)}
    return found


def _mapped(values: Mapping[Any, Any], value: Any) -> Any:
    # A damaged configuration may have a list there, which is no key of a dictionary.
    return values.get(value, value) if isinstance(value, str) else value
