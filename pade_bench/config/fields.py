"""Declaring settings: dataclasses whose fields say what they may hold beside their type."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pade_bench.errors import ConfigurationError, did_you_mean, one_of

T = TypeVar("T")
# The value of a setting that the configuration files must give, as OmegaConf has it: activations
# are made of these classes where it is not installed.
MISSING: Any = "???"


@dataclass(frozen=True)
class Range:
    """The values that a setting may have: a test, and the words for it after "must be"."""

    holds: Callable[[Any], bool]
    words: str


AT_LEAST_1 = Range(lambda v: v >= 1, "a whole number of at least 1")


def setting(
    default: Any = MISSING,
    allowed: Range | tuple[str | bool, ...] | None = None,
    *,
    place: bool = False,
    added: bool = False,
) -> Any:
    """Return a field of a configuration's dataclass.

    Args:
        default: its value; without one, the configuration files must say it. A list or a dataclass
            is made anew for each configuration.
        allowed: a range or the choices; None: whatever has the field's type. ``None`` is always
            allowed where the type has it.
        place: it says where or how a run is made, not which run it is.
        added: 0.1 did not have it, and its default changes nothing: see ``config/history.py``.
    """
    metadata = {"allowed": allowed, "place": place, "added": added}
    if isinstance(default, (list, type)):
        make = default if isinstance(default, type) else lambda: list(default)
        return field(default_factory=make, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Component:
    """Something to be made: the name of a class or function, ``_target_``, and its arguments.

    In a configuration the arguments stand beside the name. Which there are is known only to what
    is named: see :func:`pade_bench.config.targets.bind`. Subclasses add settings of our own.
    """

    target: str
    arguments: dict[str, Any]


def own_fields(kind: type) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a dataclass that are settings, by name."""
    generic = ("target", "arguments") if issubclass(kind, Component) else ()
    return {f.name: f for f in dataclasses.fields(kind) if f.name not in generic}


def default(declared: dataclasses.Field[Any]) -> Any:
    """Return the default of a field."""
    if declared.default_factory is not dataclasses.MISSING:
        return declared.default_factory()
    return declared.default


def from_plain(kind: type[T], settings: Any, where: str = "") -> T:
    """Return a dataclass from nested dictionaries whose values have the right types.

    Raises:
        ConfigurationError: a setting is missing, unknown, or outside of its range.
    """
    if not isinstance(settings, Mapping):
        raise ConfigurationError(f"{where}={settings!r}: must be a group of settings.")
    hints = typing.get_type_hints(kind)
    fields = own_fields(kind)
    values: dict[str, Any] = {}
    for name, declared in fields.items():
        key = f"{where}.{name}" if where else name
        if name not in settings:
            raise ConfigurationError(f"{key} is missing.")
        value = settings[name]
        if dataclasses.is_dataclass(hints[name]):
            value = from_plain(typing.cast(type, hints[name]), value, key)
        else:
            _check(key, value, declared.metadata.get("allowed"))
        values[name] = value
    others = {key: value for key, value in settings.items() if key not in fields}
    if issubclass(kind, Component):
        target = others.pop("_target_", None)
        if not isinstance(target, str):
            raise ConfigurationError(f"{where}: it names no class (_target_).")
        return kind(target, others, **values)
    for name in others:
        raise unknown(f"{where}.{name}" if where else name, fields)
    return kind(**values)


def _check(key: str, value: Any, allowed: Range | tuple[str | bool, ...] | None) -> None:
    if value is None or allowed is None:
        return  # the types have been checked
    if isinstance(allowed, tuple):
        if (type(value), value) not in [(type(c), c) for c in allowed]:  # 1 is not true
            raise ConfigurationError(one_of(key, value, [str(c).lower() for c in allowed]))
        return
    try:
        holds = allowed.holds(value)
    except TypeError:  # within a component values of any type are composed
        holds = False
    if not holds:
        raise ConfigurationError(f"{key}={value}: must be {allowed.words}.")


def unknown(key: str, names: typing.Iterable[str]) -> ConfigurationError:
    """Return the refusal of a setting that is none of those that its group has."""
    names = sorted(names)
    group, _, name = key.rpartition(".")
    return ConfigurationError(
        f"{key} is not a setting: {group or 'the configuration'} has {', '.join(names)}."
        f"{did_you_mean(name, names)}"
    )


def to_plain(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested dictionaries: the inverse of :func:`from_plain`."""
    found: dict[str, Any] = {}
    if isinstance(config, Component):
        found = {"_target_": config.target, **config.arguments}
    for name in own_fields(type(config)):
        value = getattr(config, name)
        found[name] = to_plain(value) if dataclasses.is_dataclass(value) else value
    return found


def flatten(settings: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return nested dictionaries as ``{"a.b": value}``."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{where}{key}.")
        else:
            found[f"{where}{key}"] = value
    return found


def declared(kind: type, where: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Yield every setting of a dataclass and of those within it, ``("a.b", field)``."""
    hints = typing.get_type_hints(kind)
    for name, one in own_fields(kind).items():
        if dataclasses.is_dataclass(hints[name]):
            yield from declared(typing.cast(type, hints[name]), f"{where}{name}.")
        else:
            yield f"{where}{name}", one
