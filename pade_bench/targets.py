"""Finding the class or function that a configuration names."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from pade_bench.errors import ConfigurationError, did_you_mean


def locate(group: str, target: str) -> Any:
    """Return the object that ``group._target_`` names, ``package.module.Name``.

    Raises:
        ConfigurationError: there is no such module, or no such name in it.
    """
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"{group}._target_={target}: cannot import {module_name!r} ({error}). "
            "Code of your own must lie on the Python path."
        ) from error
    if not hasattr(module, name):
        names = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise ConfigurationError(
            f"{group}._target_={target} does not exist.{did_you_mean(name, names)}"
        )
    return getattr(module, name)
