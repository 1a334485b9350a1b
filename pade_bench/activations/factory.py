"""From a configuration to an activation factory: a callable that makes one module per layer."""

from __future__ import annotations

import ast
import importlib.resources
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from pade_bench.config.components import bind, make
from pade_bench.config.fields import Component, from_plain
from pade_bench.errors import ConfigurationError, one_of

ActivationFactory = Callable[[], nn.Module]

_FOLDER = importlib.resources.files("pade_bench.configs") / "activation"


def activation_factory(
    activation: str | Mapping[str, Any] | Component | ActivationFactory,
    trust: Iterable[str] | None = None,
) -> ActivationFactory:
    """Return a callable without arguments that makes a new activation module at each call.

    Args:
        activation: the name of a file in ``configs/activation`` (``"pau"``), the content of
            such a file (``{"_target_": "package.Class", **arguments}``), or any callable
            that returns a module, such as ``torch.nn.ReLU``, which is returned unchanged.
        trust: see :func:`pade_bench.config.targets.locate`.

    Raises:
        ConfigurationError: the name or class does not exist, the class is no ``nn.Module``,
            or it does not take the given arguments or refuses their values.
    """
    if callable(activation):
        return activation
    if isinstance(activation, str):
        activation = _read(activation)
    if not isinstance(activation, Component):
        activation = from_plain(Component, activation, "activation")
    make("activation", activation, nn.Module, trust)  # refuses what cannot be made
    return bind("activation", activation, nn.Module, trust)


def activation_names() -> list[str]:
    """Return the names of the files in ``configs/activation``."""
    return sorted(file.name.removesuffix(".yaml") for file in _FOLDER.iterdir())


def _read(name: str) -> Mapping[str, Any]:
    if name not in (names := activation_names()):
        raise ConfigurationError(one_of("activation", name, names))
    return parse_catalog_entry((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def parse_catalog_entry(text: str) -> dict[str, Any]:
    """Return the content of a file of ``configs/activation``: a setting and its value per line.

    They are read without a YAML library, because an activation needs torch alone.
    """
    settings: dict[str, Any] = {}
    for line in text.splitlines():
        name, _, value = line.partition("#")[0].partition(":")
        if name.strip():
            try:
                settings[name.strip()] = ast.literal_eval(value.strip())
            except (ValueError, SyntaxError):  # a text without quotes
                settings[name.strip()] = value.strip()
    return settings
