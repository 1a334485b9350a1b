"""From overrides to a checked configuration, and to what its run is compared with."""

from __future__ import annotations

import dataclasses
import functools
import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pade_bench.config.explain import explain
from pade_bench.config.fields import (
    MISSING,
    Component,
    default,
    from_plain,
    own_fields,
    unknown,
)
from pade_bench.config.schema import Config, check_together, check_used
from pade_bench.errors import ConfigurationError

# The groups whose chosen files name a run.
CHOICES = ("experiment", "data", "model", "activation")


def register() -> None:
    """Make the schema known to Hydra, which checks names and types while it composes."""
    OmegaConf.register_new_resolver("folder_name", _folder_name, replace=True)
    OmegaConf.register_new_resolver("user_path", os.path.expanduser, replace=True)
    ConfigStore.instance().store(name="schema", node=_for_composition())


def _folder_name(path: str) -> str:
    return Path(os.path.expanduser(path)).resolve().name


@functools.cache
def _for_composition() -> type:
    """Return ``Config`` for OmegaConf, in which the arguments of a component can be of any name."""
    hints = typing.get_type_hints(Config)
    fields = own_fields(Config).items()
    return make_dataclass("Config", [(name, *_node(hints[name], f)) for name, f in fields])


def _node(hint: Any, declared: dataclasses.Field[Any]) -> tuple[Any, Any]:
    if isinstance(hint, type) and issubclass(hint, Component):
        nodes = own_fields(hint).values()

        def make() -> dict[str, Any]:
            return {"_target_": MISSING, **{n.name: default(n) for n in nodes}}

        return dict[str, Any], dataclasses.field(default_factory=make)
    if dataclasses.is_dataclass(hint):
        return hint, dataclasses.field(default_factory=typing.cast(type, hint))
    return hint, dataclasses.field(default_factory=lambda: default(declared))


def parse(settings: DictConfig | Mapping[str, Any]) -> Config:
    """Return the settings of a composed or a stored configuration, every one checked.

    Raises:
        ConfigurationError: the first that is missing, unknown, of another type, or impossible.
    """
    try:
        typed = OmegaConf.merge(OmegaConf.structured(_for_composition()), settings)
        plain = OmegaConf.to_container(typed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigurationError(explain(error)) from error
    config = from_plain(Config, plain)
    check_together(config)
    return config


@dataclass(frozen=True)
class Composed:
    """A configuration, and what the home of its run is made of.

    Args:
        config: what to train.
        unchanged: the same experiment and activation with no other setting changed: the settings in
            which the two differ name the run.
        names: the chosen ``experiment``, ``data``, ``model`` and ``activation``.
        command: the options and overrides that described it, as they were typed.
    """

    config: Config
    unchanged: Config
    names: dict[str, str]
    command: tuple[str, ...] = ()


def compose(overrides: Sequence[str]) -> Composed:
    """Compose the configuration that overrides of the command line describe.

    Hydra must have been initialized: by ``hydra.main`` or by ``initialize_config_module``.

    Raises:
        ConfigurationError: a setting is unknown, missing, of the wrong type or impossible.
        HydraException: a name or an override cannot be understood.
    """
    config = hydra.compose("config", list(overrides), return_hydra_config=True)
    hydra_settings = config.hydra
    bare = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return composed(bare, hydra_settings)


def composed(config: DictConfig, hydra_settings: DictConfig | HydraConf) -> Composed:
    """Check a configuration that Hydra has composed; see :func:`compose`.

    Args:
        config: the configuration.
        hydra_settings: those of Hydra that were composed with it.
    """
    names = {name: hydra_settings.runtime.choices[name] for name in CHOICES}
    standard = [f"{name}={names[name]}" for name in ("experiment", "activation")]
    found = unchanged = parse(config)
    check_used(found)
    for override in hydra_settings.overrides.hydra:
        _check_setting_of_hydra(hydra_settings, override)
    found.runs_dir = os.path.expanduser(found.runs_dir)
    if not set(hydra_settings.overrides.task) <= set(standard):
        unchanged = parse(hydra.compose("config", [*search_path(hydra_settings), *standard]))
    command = (*command_options(hydra_settings), *hydra_settings.overrides.task)
    return Composed(found, unchanged, names, command)


def command_options(hydra_settings: DictConfig | HydraConf) -> list[str]:
    """Return what a command line needs for the same configuration files as this one."""
    folders = [
        f"--config-dir={source.path}"
        for source in hydra_settings.runtime.config_sources
        if source.provider == "command-line"
    ]
    return folders + search_path(hydra_settings)


def search_path(hydra_settings: DictConfig | HydraConf) -> list[str]:
    """Return the override, if any, that says where else configuration files lie."""
    return [o for o in hydra_settings.overrides.hydra if o.startswith("hydra.searchpath=")]


def _check_setting_of_hydra(hydra_settings: DictConfig | HydraConf, override: str) -> None:
    """Raise :class:`ConfigurationError` for a setting that Hydra does not have: a + adds any."""
    key = override.partition("=")[0].lstrip("+~")
    node: Any = hydra_settings
    where = "hydra"
    for name in key.split(".")[1:]:
        kind = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
        if not dataclasses.is_dataclass(kind):
            return  # of a launcher or a sweeper, which refuses by itself what it does not know
        if name not in (names := [f.name for f in dataclasses.fields(kind)]):
            raise unknown(f"{where}.{name}", names)
        node, where = OmegaConf.select(node, name), f"{where}.{name}"
