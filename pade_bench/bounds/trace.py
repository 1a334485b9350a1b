"""From a network to the operations that it consists of, each with its place."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from pade_bench.bounds.affine import (
    AveragePool,
    BatchNorm,
    Concatenation,
    Flatten,
    Linear,
    Operation,
    Sum,
)
from pade_bench.bounds.catalog import has_relaxation, relaxation_of
from pade_bench.bounds.convolution import Convolution
from pade_bench.bounds.nonlinear import Activation, MaxPool
from pade_bench.errors import ConfigurationError


@dataclass(frozen=True)
class Step:
    """An operation of a network and where its inputs come from.

    Attributes:
        place: "3 (Conv2d)", or the file and line of a function call.
        operation: ``None`` for the network's input.
        inputs: numbers of earlier steps.
    """

    place: str
    operation: Operation | None
    inputs: tuple[int, ...]


def steps_of(network: nn.Module) -> list[Step]:
    """Return the steps of a network, its input first and its output last.

    Raises:
        ConfigurationError: the network is in training mode, is not of float32, cannot be traced,
            or has operations without bounds, all of which are named with their places.
    """
    if network.training:
        raise ConfigurationError("the network is in training mode; call eval() first.")
    if other := {t.dtype for t in network.parameters() if t.dtype != torch.float32}:
        raise ConfigurationError(
            f"the network has parameters of {', '.join(map(str, other))}: bounds are for networks "
            "that compute in float32."
        )
    tracer = _Tracer()
    try:
        graph = tracer.trace(network)
    except Exception as error:
        raise ConfigurationError(
            f"{type(network).__name__} cannot be traced, so that its operations are not known: "
            f"{error}"
        ) from error
    steps: list[Step] = []
    number: dict[fx.Node, int] = {}
    problems = []
    for node in graph.nodes:
        if node.op == "placeholder":
            number[node] = len(steps)
            steps.append(Step("the input", None, ()))
        elif node.op == "output":
            output = node.args[0]
        else:
            try:
                found, inputs = _operation(node, network)
            except _Unknown as error:
                problems.append(f"{_place(node, network)}: {error}")
                continue
            if problems:
                continue
            if found is None:
                number[node] = number[inputs[0]]
            else:
                number[node] = len(steps)
                steps.append(
                    Step(_place(node, network), found, tuple(number[source] for source in inputs))
                )
    if len([s for s in steps if s.operation is None]) != 1:
        problems.append("the network does not have exactly one input")
    elif not problems and number.get(output) != len(steps) - 1:
        problems.append("the network's output is not that of its last operation")
    if problems:
        listed = "\n  ".join(problems)
        raise ConfigurationError(f"{type(network).__name__} cannot be bounded:\n  {listed}")
    return _fused(steps)


def _fused(steps: list[Step]) -> list[Step]:
    """Join each activation with the max-pooling that alone follows it."""
    fused: list[Step] = []
    number: dict[int, int] = {}
    joined: dict[int, Activation] = {}
    for i, step in enumerate(steps):
        operation = step.operation
        after = [later.operation for later in steps if i in later.inputs]
        before_pooling = [type(other) for other in after] == [MaxPool]
        if isinstance(operation, Activation) and operation.is_elementwise and before_pooling:
            number[i], joined[i] = number[step.inputs[0]], operation
            continue
        if isinstance(operation, MaxPool) and step.inputs[0] in joined:
            operation = operation.after(joined[step.inputs[0]])
        number[i] = len(fused)
        fused.append(Step(step.place, operation, tuple(number[j] for j in step.inputs)))
    return fused


class _Tracer(fx.Tracer):
    """Follows a network's own code down to activations and torch's modules."""

    record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if has_relaxation(m) or not any(True for _ in m.children()):
            return True
        return super().is_leaf_module(m, module_qualified_name)


_TORCH = str(Path(torch.__file__).parent)


class _Unknown(Exception):
    """No bounds are known of an operation; the message says which."""


Found = tuple[Operation | None, list[fx.Node]]  # an operation, None for one that does nothing


def _operation(node: fx.Node, network: nn.Module) -> Found:
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        inputs = [source for source in node.args if isinstance(source, fx.Node)]
        if len(inputs) != 1 or len(node.args) != 1 or node.kwargs:
            raise _Unknown("a module that is called with other than one tensor")
        return _module(module), inputs
    if node.op in ("call_function", "call_method"):
        find = _FUNCTIONS.get(node.target)
        if find is not None:
            return find(*node.args, **node.kwargs)
    name = getattr(node.target, "__name__", node.target)
    raise _Unknown(f"{name} has no bounds")


def _place(node: fx.Node, network: nn.Module) -> str:
    if node.op == "call_module":
        return f"{node.target} ({type(network.get_submodule(str(node.target))).__name__})"
    lines = [line.strip().replace('"', "") for line in (node.stack_trace or "").splitlines()]
    places = [line.removeprefix("File ") for line in lines if line.startswith("File ")]
    own = [place for place in places if not place.startswith(_TORCH)]
    return own[-1] if own else node.name


def _module(module: nn.Module) -> Operation | None:
    if has_relaxation(module):
        try:
            return Activation(relaxation_of(module))
        except ConfigurationError as error:
            raise _Unknown(str(error)) from error
    if type(module) in (nn.Identity, nn.Dropout, nn.Dropout2d) or (
        type(module) is nn.Sequential and not len(module)
    ):
        return None
    build = _MODULES.get(type(module))
    if build is None:
        raise _Unknown(f"{type(module).__name__} has no bounds")
    for parameter, values in module.state_dict().items():
        if not bool(values.isfinite().all()):
            raise _Unknown(f"{parameter} is not finite")
    return build(module)


def _refuse_unless(holds: bool, what: str) -> None:
    if not holds:
        raise _Unknown(f"{what} has no bounds")


def _convolution(module: nn.Conv2d) -> Operation:
    _refuse_unless(module.padding_mode == "zeros", f"padding_mode={module.padding_mode!r}")
    _refuse_unless(not isinstance(module.padding, str), f"padding={module.padding!r}")
    return Convolution(module)


def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d) -> Operation:
    _refuse_unless(module.running_mean is not None, "batch norm over the batch's own statistics")
    return BatchNorm(module)


def _max_pool(module: nn.MaxPool2d) -> Operation:
    plain = _pair(module.padding) == (0, 0) and _pair(module.dilation) == (1, 1)
    _refuse_unless(plain and not module.ceil_mode, "pooling with padding, dilation or ceil_mode")
    return MaxPool(_pair(module.kernel_size), _pair(module.stride))


def _average_pool(module: nn.AvgPool2d) -> Operation:
    plain = _pair(module.padding) == (0, 0) and module.divisor_override is None
    _refuse_unless(plain and not module.ceil_mode, "pooling with padding, divisor or ceil_mode")
    return AveragePool(_pair(module.kernel_size), _pair(module.stride))


def _adaptive_pool(module: nn.AdaptiveAvgPool2d) -> Operation:
    _refuse_unless(_pair(module.output_size) == (1, 1), f"output_size={module.output_size}")
    return AveragePool()


def _flatten(module: nn.Flatten) -> Operation:
    _refuse_unless((module.start_dim, module.end_dim) == (1, -1), "flattening other dimensions")
    return Flatten()


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


_MODULES: dict[type[nn.Module], Callable[[Any], Operation]] = {
    nn.Conv2d: _convolution,
    nn.Linear: Linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
    nn.Flatten: _flatten,
}


def _add(x: Any, y: Any) -> Found:
    _refuse_unless(isinstance(x, fx.Node) and isinstance(y, fx.Node), "adding a constant")
    return Sum(), [x, y]


def _concatenate(tensors: Any, dim: int = 0) -> Found:
    _refuse_unless(dim == 1, f"concatenation along dimension {dim}")
    return Concatenation(), list(tensors)


def _flatten_call(x: Any, start_dim: int = 0, end_dim: int = -1) -> Found:
    _refuse_unless((start_dim, end_dim) == (1, -1), "flattening other dimensions")
    return Flatten(), [x]


def _adaptive_pool_call(x: Any, output_size: Any) -> Found:
    _refuse_unless(_pair(output_size) == (1, 1), f"output_size={output_size}")
    return AveragePool(), [x]


# Functions, and methods of tensors by name.
_FUNCTIONS: dict[Any, Callable[..., Found]] = {
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    "add": _add,
    torch.cat: _concatenate,
    torch.flatten: _flatten_call,
    "flatten": _flatten_call,
    F.adaptive_avg_pool2d: _adaptive_pool_call,
}
