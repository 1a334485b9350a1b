"""Finding the class or function that a configuration names.

Importing a module runs it, so what a configuration may name is limited twice: by kind, always; and
in the configuration of a run that is loaded, which may be somebody else's, by :data:`TRUSTED`: its
name before anything is imported, and then the module that what was found says it comes from.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from pade_bench.errors import ConfigurationError, did_you_mean

# Packages whose classes a configuration may name wherever it comes from.
TRUSTED = ("pade_bench", "torch.nn")

_KINDS = {
    "activation": "a class of torch.nn.Module",
    "model": "a class of torch.nn.Module or a function that returns one",
    "data": "a class of pade_bench.data.ImageDataModule",
    "optim": "a class of torch.optim.Optimizer",
    "schedule": "a class of torch.optim.lr_scheduler.LRScheduler",
    "logger": "a class of pytorch_lightning.loggers.Logger",
}


def locate(group: str, target: object, base: type, trust: Iterable[str] | None = None) -> Any:
    """Return the object that ``group._target_`` names, ``package.module.Name``.

    Args:
        group: where it stands: ``activation``, ``model``, ``data``, ``optim``, a ``schedule`` in a
            group of parameters, or a name within ``logger``.
        target: the name.
        base: the class of which it must be one; for a model, a function may stand for it.
        trust: further packages of which it may be, if it comes from a stored configuration; None
            where it is the user's own, which may name any.

    Raises:
        ConfigurationError: there is no such module, no such name in it, it is something else
            than what the group holds, or it lies in a package that is not trusted.
    """
    if trust is not None:
        require_trusted(group, target, trust)
    if not isinstance(target, str):
        raise ConfigurationError(f"{group}._target_={target!r} is not the name of a class.")
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
    found = getattr(module, name)
    is_function = group == "model" and inspect.isfunction(found)
    if not (is_function or (inspect.isclass(found) and issubclass(found, base))):
        first, last = group.partition(".")[0], group.rpartition(".")[2]
        raise ConfigurationError(
            f"{group}._target_={target} is not {_KINDS.get(last) or _KINDS[first]}."
        )
    if trust is not None:
        require_trusted(group, f"{found.__module__}.{found.__qualname__}", trust)
    return found


def require_trusted(group: str, target: object, trust: Iterable[str]) -> None:
    """Refuse a name outside :data:`TRUSTED` and ``trust``.

    Raises:
        ConfigurationError: it lies in another package.
    """
    allowed = (*TRUSTED, *trust)
    if not any(str(target).startswith(f"{package}.") for package in allowed):
        package = str(target).partition(".")[0]
        raise ConfigurationError(
            f"{group}._target_={target}: to load this run is to run code of {package!r}, which is "
            f"not among {', '.join(allowed)}. If you trust it: trust=[{package!r}] of load_run, "
            f"--trust {package} of pade_bench.evaluate."
        )
