"""Making what a configuration names: the class or function is found, its arguments are checked."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pade_bench.config.fields import Component
from pade_bench.config.targets import locate
from pade_bench.errors import ConfigurationError, did_you_mean

# What YAML can hold for an argument that is annotated so, and what it is called.
_TYPES: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "text"),
    Path: ((str,), "a path"),
    list: ((list,), "a list"),
    tuple: ((list,), "a list"),
    Sequence: ((list,), "a list"),
    dict: ((dict,), "a dictionary"),
    Mapping: ((dict,), "a dictionary"),
    type(None): ((type(None),), "null"),
}


def make(
    group: str,
    component: Component,
    base: type,
    trust: Iterable[str] | None = None,
    **given: Any,
) -> Any:
    """Return what a component describes.

    Args:
        group: where it stands in the configuration, such as ``data``.
        component: the name of a class or function and its arguments.
        base: the class of which the result must be.
        trust: see :func:`pade_bench.config.targets.locate`.
        given: further arguments.

    Raises:
        ConfigurationError: see :func:`bind`; or it refuses the values of its arguments.
    """
    factory = bind(group, component, base, trust, given)
    try:
        made = factory(**given)
    except ValueError as error:
        raise _refused(group, component, error) from error
    except TypeError as error:
        if "argument" not in str(error):  # a mistake in its own code
            raise
        raise _refused(group, component, error) from error
    if not isinstance(made, base):
        raise ConfigurationError(
            f"{group}._target_={component.target} returns a {type(made).__name__}, "
            f"not a {base.__name__}."
        )
    return made


def bind(
    group: str,
    component: Component,
    base: type,
    trust: Iterable[str] | None = None,
    given: Iterable[str] = (),
) -> Callable[..., Any]:
    """Return what a component names, with its arguments: a callable that takes the ``given`` ones.

    Raises:
        ConfigurationError: there is no such class or function, or it is of another kind (see
            :func:`pade_bench.config.targets.locate`); it has no argument of some name, or one of
            another type.
    """
    found = locate(group, component.target, base, trust)
    taken, takes_others = _parameters(found)
    for name, value in component.arguments.items():
        if name in given:
            raise ConfigurationError(f"{group}.{name}: pade_bench sets this argument itself.")
        if name in taken:
            _check_type(f"{group}.{name}", value, taken[name])
        elif not takes_others:
            names = [n for n in taken if n not in given]
            raise ConfigurationError(
                f"{group}.{name}: {component.target} takes {', '.join(names) or 'nothing'}."
                f"{did_you_mean(name, names)}"
            )
    return functools.partial(found, **component.arguments)


def arguments_of(
    group: str, component: Component, base: type, trust: Iterable[str] | None = None
) -> tuple[set[str], bool]:
    """Return the names of what a class or function takes, and if it takes others besides.

    Raises:
        ConfigurationError: there is none of that name or kind, see
            :func:`pade_bench.config.targets.locate`.
    """
    taken, takes_others = _parameters(locate(group, component.target, base, trust))
    return set(taken), takes_others


def _refused(group: str, component: Component, error: Exception) -> ConfigurationError:
    message = str(error)
    if message.startswith(f"{group}."):
        return ConfigurationError(message)
    if message.partition("=")[0] in component.arguments:  # our own classes name the argument
        return ConfigurationError(f"{group}.{message}")
    return ConfigurationError(f"{group}: {component.target} refuses its arguments: {message}")


def _parameters(found: Any) -> tuple[dict[str, Any], bool]:
    """Return the keyword arguments of a class or function with their types, and if it takes more.

    A class that hands ``**arguments`` on takes those of the class that it extends.
    """
    functions = [found]
    if inspect.isclass(found):
        functions = [vars(kind)["__init__"] for kind in found.__mro__ if "__init__" in vars(kind)]
    taken: dict[str, Any] = {}
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # of a class that is not written in Python
            return taken, True
        try:
            hints = typing.get_type_hints(function)
        except (TypeError, NameError):  # one of them names what only type checkers import
            hints = {p.name: p.annotation for p in parameters if isinstance(p.annotation, type)}
        for p in parameters:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self":
                taken.setdefault(p.name, hints.get(p.name, Any))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return taken, False
    return taken, True


def _check_type(key: str, value: Any, annotation: Any) -> None:
    """Raise :class:`ConfigurationError` for a value that an annotation plainly excludes."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    words = []
    for one in typing.get_args(annotation) if is_union else (annotation,):
        if (known := _TYPES.get(typing.get_origin(one) or one)) is None:
            return  # something that is not for us to judge
        kinds, word = known
        # In Python true is a number; in a configuration that is a mistake.
        if isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds):
            return
        words.append(word)
    raise ConfigurationError(f"{key}={value!r}: must be {' or '.join(dict.fromkeys(words))}.")
