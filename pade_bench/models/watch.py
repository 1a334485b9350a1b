"""Running a network to see which activations it really computes.

Reading its code cannot tell what ``getattr(F, self.kind)(x)`` calls, nor that a module is never
called. So the network is run once in training mode and once in evaluation mode, while torch hands
every operator to :class:`_Watch` before it computes it.
"""

from __future__ import annotations

import functools
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from pade_bench.errors import ConfigurationError
from pade_bench.models.calls import Hidden
from pade_bench.models.recognize import is_activation_operator, is_gate
from pade_bench.models.snapshot import left_as_it_was

_TORCH = f"{Path(torch.__file__).parent}{os.sep}"


def watch(
    model: nn.Module, example_input: Any, units: Mapping[str, nn.Module]
) -> tuple[list[Hidden], dict[str, int]]:
    """Run ``model`` once in each mode and leave it as it was.

    Args:
        model: a network.
        example_input: a tensor; or a tuple of positional or a mapping of keyword arguments.
        units: activations by their names in the network, which may compute what they like.

    Returns:
        the activations that ran besides the units, and how often each unit ran in the mode in
        which it ran more often.

    Raises:
        ConfigurationError: the network fails on the input.
    """
    refuse_lazy_layers(model, "example_input")
    hidden: dict[Hidden, None] = {}
    calls = dict.fromkeys(units, 0)
    for training in (True, False):
        counts = dict.fromkeys(units, 0)
        # In evaluation torch's own layers take another path without gradients than with them.
        with left_as_it_was(model), torch.set_grad_enabled(training):
            for name, unit in units.items():
                unit.forward = functools.partial(_counted, counts, name, unit.forward)
            with _Watch(model, set(units.values())) as seen:
                model.train(training)
                run(model, example_input)
        hidden |= dict.fromkeys(seen.found)
        calls = {name: max(calls[name], counts[name]) for name in units}
    return list(hidden), calls


def refuse_lazy_layers(model: nn.Module, argument: str) -> None:
    """Refuse to run a network that could not be left as it was."""
    if any(isinstance(p, UninitializedParameter) for p in model.parameters()):
        raise ConfigurationError(
            f"{argument}: the network has layers that take their size from the first input. "
            "Run it once before converting it."
        )


def run(model: nn.Module, example_input: Any, argument: str = "example_input") -> None:
    """Call ``model`` on a copy of an input, given as ``argument``.

    Raises:
        ConfigurationError: it fails.
    """
    if isinstance(example_input, Mapping):  # of any class, as a tokenizer returns it
        example_input = dict(example_input)
    inputs = tree_map(lambda v: v.clone() if isinstance(v, Tensor) else v, example_input)
    try:
        if isinstance(inputs, dict):
            model(**inputs)
        else:
            model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    except Exception as error:
        mode = "training" if model.training else "evaluation"
        raise ConfigurationError(
            f"{type(model).__name__} fails on {argument} in {mode} mode: "
            f"{type(error).__name__}: {error}"
        ) from error


def _counted(counts: dict[str, int], name: str, forward: Callable[..., Any], *x: Any) -> Any:
    counts[name] += 1
    return forward(*x)


class _Watch(TorchDispatchMode):
    """Sees every operator that runs, and notes where an activation was called from."""

    supports_higher_order_operators = True  # whose bodies are seen operator by operator

    def __init__(self, model: nn.Module, units: set[nn.Module]) -> None:
        super().__init__()
        self.found: list[Hidden] = []
        self._names = {module: name for name, module in model.named_modules()}
        self._units = units

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if is_activation_operator(operator, args, kwargs or {}):
            self._note(operator._schema.name, list(_frames(sys._getframe(1))))
        return operator(*args, **(kwargs or {}))

    def _note(self, operator: str, frames: list[FrameType]) -> None:
        modules = [m for m in map(_first_argument, frames) if m is not None and m in self._names]
        if any(module in self._units or is_gate(module) for module in modules):
            return
        innermost = modules[0]
        what, place = operator, ""
        for frame in frames:
            file, line = frame.f_code.co_filename, frame.f_lineno
            if not file.startswith(_TORCH):
                code = linecache.getline(file, line, frame.f_globals).strip()
                what, place = f"{code} [{operator}]", f"{file}:{line}"
                break
        self.found.append(Hidden(self._names[innermost], type(innermost).__name__, what, place))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of the network's run, the innermost first."""
    while frame is not None and frame.f_code is not run.__code__:
        yield frame
        frame = frame.f_back


def _first_argument(frame: FrameType) -> nn.Module | None:
    """Return the module of which a frame runs a method."""
    code = frame.f_code
    value = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    return value if isinstance(value, nn.Module) else None
