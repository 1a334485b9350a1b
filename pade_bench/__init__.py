"""Padé activation units, the networks of their paper, and what it takes to compare activations.

The names below are imported on first use, so that printing a configuration or reading run
records does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pade_bench import functional
    from pade_bench.activations import PAU, RPAU, parameter_groups
    from pade_bench.models import build_model, convert_activations
    from pade_bench.training.reload import load_run

__version__ = "0.1.0"
__all__ = [
    "PAU", "RPAU", "build_model", "convert_activations", "functional", "load_run",
    "parameter_groups",
]  # fmt: skip

_HOMES = {
    "PAU": "pade_bench.activations",
    "RPAU": "pade_bench.activations",
    "build_model": "pade_bench.models",
    "convert_activations": "pade_bench.models",
    "parameter_groups": "pade_bench.activations",
    "load_run": "pade_bench.training.reload",
}


def __getattr__(name: str) -> Any:
    if name == "functional":
        return importlib.import_module("pade_bench.functional")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pade_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
