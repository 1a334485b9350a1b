"""Reading a network's Python code for activations that are no modules.

``F.relu(x)`` in a ``forward`` leaves no trace among a network's modules, so the source itself is
searched: the ``forward`` of every class, the methods and functions that it uses, and attributes
that hold such a function, as ``nn.TransformerEncoderLayer`` does.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import inspect
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn import functional as F

from pade_bench import activations

_NAMES = [
    name + suffix
    for name in (
        "relu", "relu6", "leaky_relu", "rrelu", "elu", "celu", "selu", "silu", "gelu", "mish",
        "hardswish", "softplus", "prelu",
    )
    for suffix in ("", "_")
]  # fmt: skip
# Sigmoid, tanh and their kind are not among them: inside of networks these are gates.
_FUNCTIONS = [getattr(m, name) for m in (F, torch) for name in _NAMES if hasattr(m, name)]
_TORCH_CLASSES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU, nn.GELU,
    nn.Mish, nn.Hardswish, nn.Softplus, nn.PReLU,
)  # fmt: skip
ACTIVATIONS = (
    *_TORCH_CLASSES, activations.APL, activations.Mixture, activations.PAU, activations.SLAF,
    activations.SReLU,
)  # fmt: skip
# Of timm's own classes those that are gates; known by name so that timm is not needed.
_TIMM_GATES = ("Sigmoid", "Tanh", "HardSigmoid")
_UNKNOWN = object()


def is_activation(module: nn.Module) -> bool:
    """Tell whether ``module`` is of a class that serves as the activation of a layer."""
    kind = type(module)
    return isinstance(module, ACTIVATIONS) or (
        kind.__module__.startswith("timm.layers.activations")
        and kind.__name__.removesuffix("Me") not in _TIMM_GATES
    )


def activation_calls(model: nn.Module) -> Iterator[str]:
    """Yield a line for each activation that is no module, and for each class that is unreadable.

    A line names the first module of its class and how many more there are, then file, line and
    code: ``layer1.0 (BasicBlock) and 7 more, /…/resnet.py:96: return F.relu(out)``.
    """
    by_class: dict[type, list[tuple[str, nn.Module]]] = {}
    for name, module in model.named_modules():
        by_class.setdefault(type(module), []).append((name or "the network itself", module))
    for kind, modules in by_class.items():
        name, module = modules[0]
        more = f" and {len(modules) - 1} more" if len(modules) > 1 else ""
        where = f"{name} ({kind.__name__}){more}"
        if is_activation(module):
            continue
        if issubclass(kind, torch.jit.ScriptModule):
            yield f"{where}: compiled to TorchScript"
        elif _is_of_torch(kind):
            for attribute, value in vars(module).items():
                if _is_activation_function(value):
                    yield f"{where}: {attribute} = {value.__name__}"
        else:
            try:
                yield from (f"{where}, {line}" for line in _Reader(module).activations)
            except (OSError, TypeError) as error:
                yield f"{where}: its source cannot be read ({error})"


def calls_of_children(module: nn.Module) -> Counter[str]:
    """Return how often the code of ``module`` calls each of its children by name."""
    return Counter() if _is_of_torch(type(module)) else _Reader(module).children


def _is_of_torch(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "").partition(".")[0] == "torch"


def _is_activation_function(value: Any) -> bool:
    function = value.func if isinstance(value, functools.partial) else value
    return any(function is known for known in _FUNCTIONS)


class _Reader:
    """Reads what the ``forward`` of one module does, as far as names can tell."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.activations: list[str] = []  # "file:line: code"
        self.children: Counter[str] = Counter()  # calls by name of the child
        self._seen: set[FunctionType] = set()
        self._read_method("forward", type(module).__mro__)

    def _read_method(self, name: str, classes: Sequence[type]) -> None:
        """Read the first definition of a method among ``classes``, which end at torch's."""
        for i, kind in enumerate(classes):
            if _is_of_torch(kind):
                return
            if (method := vars(kind).get(name)) is not None:
                function = getattr(method, "__func__", method)
                if isinstance(function, FunctionType):
                    takes_self = not isinstance(method, (staticmethod, classmethod))
                    self._read(function, takes_self, classes[i + 1 :])
                return

    def _read(
        self, function: FunctionType, takes_self: bool = False, bases: Sequence[type] = ()
    ) -> None:
        function = inspect.unwrap(function)
        if function in self._seen or _is_of_torch(function):
            return
        self._seen.add(function)
        lines, first = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function)
        names = self._names(function, takes_self)
        for node in ast.walk(ast.parse(textwrap.dedent("".join(lines)))):
            if isinstance(node, ast.Call) and _is_super(node.func):
                self._read_method(node.func.attr, bases)
            elif isinstance(node, (ast.Call, ast.Name, ast.Attribute)) and self._look(node, names):
                code = lines[node.lineno - 1].strip()
                line = f"{file}:{first + node.lineno - 1}: {code}"
                if line not in self.activations:
                    self.activations.append(line)

    def _names(self, function: FunctionType, takes_self: bool) -> dict[str, Any]:
        """Return what names stand for in a function's body; local ones stand for nothing known."""
        code = function.__code__
        names = {**vars(builtins), **function.__globals__}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not assigned yet
                names[name] = cell.cell_contents
        names |= dict.fromkeys(code.co_varnames + code.co_cellvars, _UNKNOWN)
        if takes_self:
            names[code.co_varnames[0]] = self.module
        return names

    def _look(self, node: ast.expr, names: dict[str, Any]) -> bool:
        """Follow an expression; return whether it is an activation that is no module."""
        if not isinstance(node, ast.Call):
            value = _resolve(node, names)
            if isinstance(value, FunctionType):
                self._read(value)
            elif inspect.ismethod(value) and value.__self__ is self.module:
                self._read_method(value.__name__, type(self.module).__mro__)
            return _is_activation_function(value)
        called = _resolve(node.func, names)
        if isinstance(node.func, ast.Attribute):
            if called is _UNKNOWN:
                return node.func.attr in _NAMES  # a tensor's method: x.relu()
            if called is self.module._modules.get(node.func.attr):
                self.children[node.func.attr] += 1
        return inspect.isclass(called) and issubclass(called, ACTIVATIONS)


def _resolve(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return what a name or a dotted name stands for, ``_UNKNOWN`` if that cannot be told."""
    if isinstance(node, ast.Name):
        return names.get(node.id, _UNKNOWN)
    if isinstance(node, ast.Attribute):
        owner = _resolve(node.value, names)
        return _UNKNOWN if owner is _UNKNOWN else getattr(owner, node.attr, _UNKNOWN)
    return _UNKNOWN


def _is_super(function: ast.expr) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "super"
    )
