"""Reading a network's Python code for activations that are no modules.

``F.relu(x)`` in a ``forward`` leaves no trace among a network's modules, so the source itself is
searched: the ``forward`` of every module, the methods and functions that it uses, and attributes
that hold such a function, as ``nn.TransformerEncoderLayer`` does.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import inspect
import itertools
import sys
from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeGuard

import torch
from torch import nn

from pade_bench.models.recognize import (
    ACTIVATIONS,
    METHODS,
    is_activation,
    is_activation_function,
    is_of_torch,
)

_UNKNOWN = object()
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Hidden:
    """An activation that cannot be replaced, or code in which one could hide."""

    module: str  # its name within the network, "layer1.0"
    kind: str  # "BasicBlock"
    what: str  # "return F.relu(out)", "activation = relu"
    place: str = ""  # "/…/resnet.py:96"
    unread: bool = False  # nothing was found, as the code could not be read


def in_lines(found: Iterable[Hidden]) -> str:
    """Return a line for each place, with the first module that has it and how many more do.

    ``layer1.0 (BasicBlock) and 7 more, /…/resnet.py:96: return F.relu(out)``
    """
    modules: dict[tuple[str, str, str], list[str]] = {}
    for hidden in found:
        modules.setdefault((hidden.kind, hidden.place, hidden.what), []).append(hidden.module)
    lines = []
    for (kind, place, what), names in modules.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        where = f"{names[0] or 'the network itself'} ({kind}){more}"
        lines.append(f"\n  {where}{f', {place}' if place else ''}: {what}")
    return "".join(lines)


def hidden_activations(model: nn.Module) -> list[Hidden]:
    """Return what the source code of ``model`` shows of activations that are no modules."""
    found = []
    for name, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            found.append(Hidden(name, kind, "compiled to TorchScript", unread=True))
        elif not is_activation(module):
            try:
                found += (Hidden(name, kind, *call) for call in _Reader(module).activations)
            except (OSError, TypeError) as error:
                what = f"its source cannot be read ({error})"
                found.append(Hidden(name, kind, what, unread=True))
        elif "forward" in vars(module):
            found.append(Hidden(name, kind, "its forward is set on the instance"))
    return found


def calls_of_children(module: nn.Module) -> Counter[str]:
    """Return how often the code of ``module`` calls each of its children by name, if it tells."""
    try:
        return _Reader(module).children
    except (OSError, TypeError):
        return Counter()


def holds_a_function(module: nn.Module) -> bool:
    """Tell whether ``module`` is a transformer layer of torch that was given F.relu or F.gelu.

    It calls what it holds as it would call a module, which can therefore take its place.
    """
    layers = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    return isinstance(module, layers) and is_activation_function(module.activation)


class _Reader:
    """Reads what the ``forward`` of one module does, as far as names can tell."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.activations: list[tuple[str, str]] = []  # code and "file:line"
        self.children: Counter[str] = Counter()  # calls by name of the child
        self._seen: set[tuple[FunctionType, int]] = set()
        if "forward" in vars(module):  # set on the instance
            self._read_value(vars(module)["forward"])
        else:
            self._read_method("forward", module, type(module).__mro__)

    def _read_method(self, name: str, owner: nn.Module, classes: Sequence[type]) -> None:
        """Read the first definition of a method among ``classes``."""
        for i, kind in enumerate(classes):
            if (method := vars(kind).get(name)) is None:
                continue
            # The class of a traced network is torch's, its code is not.
            if is_of_torch(kind) and not isinstance(owner, torch.fx.GraphModule):
                if name == "forward" and kind not in (nn.Module, nn.Sequential):
                    self._read_attributes(owner)
                return
            takes_owner = not isinstance(method, (staticmethod, classmethod))
            function = getattr(method, "__func__", method)
            self._read(function, owner if takes_owner else None, classes[i + 1 :])
            return

    def _read_attributes(self, module: nn.Module) -> None:
        """Look through what a ``forward`` of torch's could use."""
        for attribute, value in vars(module).items():
            if attribute == "activation" and holds_a_function(module):
                continue
            if is_activation_function(value):
                self._add(f"{attribute} = {getattr(value, '__name__', value)}")
            elif isinstance(value, FunctionType) or inspect.ismethod(value):
                self._read_value(value)
        if getattr(module, "nonlinearity", None) == "relu":  # nn.RNN, nn.RNNCell
            self._add("nonlinearity = relu")
        kind = type(module)
        if kind.__module__.startswith("torch.ao.") and "ReLU" in kind.__name__:
            self._add("computes ReLU itself")  # a layer that quantization has fused with it

    def _read_value(self, value: Any) -> None:
        """Read a function or a bound method."""
        if isinstance(value, functools.partial):
            self._read_value(value.func)
        elif inspect.ismethod(value):
            owner, function = value.__self__, value.__func__
            if isinstance(owner, nn.Module) and not is_activation(owner):
                classes = type(owner).__mro__
                defining = [vars(kind).get(function.__name__) is function for kind in classes]
                bases = classes[defining.index(True) + 1 :] if any(defining) else ()
                self._read(function, owner, bases)
        else:
            self._read(value)

    def _read(
        self, function: Any, owner: nn.Module | None = None, bases: Sequence[type] = ()
    ) -> None:
        """Read a function, whose first argument is ``owner`` if there is one."""
        if is_activation_function(function):
            self._add(f"forward = {function.__name__}")
        function = inspect.unwrap(function)
        if (function, id(owner)) in self._seen or _computes_nothing(function):
            return
        if not isinstance(function, FunctionType):
            raise TypeError(f"forward is a {type(function).__name__}")
        self._seen.add((function, id(owner)))
        file, lines, nodes = _source(function)
        names = self._names(function, owner)
        for node in itertools.chain.from_iterable(map(ast.walk, nodes)):
            if isinstance(node, ast.Call) and _is_super(node.func) and owner is not None:
                self._read_method(node.func.attr, owner, bases)
            elif isinstance(node, ast.expr) and self._look(node, names):
                self._add(lines[node.lineno - 1].strip(), f"{file}:{node.lineno}")

    def _add(self, code: str, place: str = "") -> None:
        if (code, place) not in self.activations:
            self.activations.append((code, place))

    def _names(self, function: FunctionType, owner: nn.Module | None) -> Mapping[str, Any]:
        """Return what names stand for in a function's body; local ones stand for nothing known."""
        code = function.__code__
        local = dict.fromkeys(code.co_varnames + code.co_cellvars, _UNKNOWN)
        if owner is not None and code.co_varnames:
            local[code.co_varnames[0]] = owner
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not assigned yet
                local[name] = cell.cell_contents
        return ChainMap(local, function.__globals__, vars(builtins))

    def _look(self, node: ast.expr, names: Mapping[str, Any]) -> bool:
        """Follow an expression; return whether it is an activation that is no module."""
        if not isinstance(node, ast.Call):
            value = _resolve(node, names)
            if is_activation_function(value):
                return True
            if isinstance(value, FunctionType) or inspect.ismethod(value):
                self._read_value(value)
            return False
        called = _resolve(node.func, names)
        if isinstance(node.func, ast.Attribute):
            if called is _UNKNOWN:
                return node.func.attr in METHODS  # a tensor's method: x.relu()
            if called is self.module._modules.get(node.func.attr):
                self.children[node.func.attr] += 1
        if inspect.isclass(called) and issubclass(called, ACTIVATIONS):
            return True
        return is_activation_function(_resolve(node, names))  # getattr(F, self.kind)


@functools.lru_cache(maxsize=256)
def _functions_by_line(text: str) -> dict[int, list[_Function]]:
    """Return the functions of a file by the line on which their code begins."""
    found: dict[int, list[_Function]] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _Function):
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(d.lineno for d in decorators)])
            found.setdefault(first, []).append(node)
    return found


def _source(function: FunctionType) -> tuple[str, list[str], list[_Function]]:
    """Return the file, its lines, and the function as syntax; all lambdas of one line.

    The file is parsed as a whole, since a part of it need not be Python by itself.

    Raises:
        OSError: there is no such file, or another function stands there now.
    """
    code = function.__code__
    where = f"{code.co_filename}:{code.co_firstlineno}"
    try:
        lines, _ = inspect.findsource(function)
        nodes = _functions_by_line("".join(lines)).get(code.co_firstlineno, [])
    except (OSError, SyntaxError) as error:
        raise OSError(f"{where}: {error}") from error
    nodes = [node for node in nodes if getattr(node, "name", "<lambda>") == code.co_name]
    if not nodes:
        raise OSError(f"{where}: {code.co_name} is not there any more")
    return inspect.getsourcefile(function) or code.co_filename, lines, nodes


def _resolve(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return what an expression stands for, ``_UNKNOWN`` if that cannot be told from names."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names.get(node.id, _UNKNOWN)
    if isinstance(node, ast.Attribute):
        return _attribute(_resolve(node.value, names), node.attr)
    if isinstance(node, ast.Subscript):
        return _entry(_resolve(node.value, names), _resolve(node.slice, names))
    if isinstance(node, ast.Call) and len(node.args) > 1 and not node.keywords:
        function, *arguments = (_resolve(n, names) for n in (node.func, *node.args[:2]))
        return _attribute(*arguments) if function is getattr else _UNKNOWN
    return _UNKNOWN


def _attribute(owner: Any, name: Any) -> Any:
    if owner is _UNKNOWN or not isinstance(name, str):
        return _UNKNOWN
    try:
        return getattr(owner, name, _UNKNOWN)
    except Exception:  # a property that cannot be had outside of forward
        return _UNKNOWN


def _entry(container: Any, key: Any) -> Any:
    """Return an entry of a dictionary or list: if the key is not known, an activation in it."""
    if type(container) not in (dict, list, tuple):
        return _UNKNOWN
    if key is _UNKNOWN:
        values = container.values() if isinstance(container, dict) else container
        return next((v for v in values if is_activation_function(v)), _UNKNOWN)
    try:
        return container[key]
    except (LookupError, TypeError):
        return _UNKNOWN


def _computes_nothing(function: Any) -> bool:
    """Tell whether a function comes with torch, which is known by name, or with Python."""
    package = (getattr(function, "__module__", None) or "").partition(".")[0]
    return package == "torch" or package in sys.stdlib_module_names


def _is_super(function: ast.expr) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "super"
    )
