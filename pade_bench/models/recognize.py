"""What counts as an activation: among modules, among functions, and among torch's operators.

Sigmoid, tanh, softmax and their piecewise linear forms are not among them: inside of networks these
are gates and attention.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pade_bench import activations, functional

_NAMES = (
    "relu", "relu6", "leaky_relu", "rrelu", "elu", "celu", "selu", "silu", "gelu", "mish",
    "hardswish", "softplus", "prelu",
)  # fmt: skip
METHODS = frozenset(name + suffix for name in _NAMES for suffix in ("", "_"))
_FUNCTIONS = [
    *(
        getattr(home, name)
        for home in (F, torch, Tensor)
        for name in METHODS
        if hasattr(home, name)
    ),
    functional.pau,
    functional.rpau,
]
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU, nn.GELU,
    nn.Mish, nn.Hardswish, nn.Softplus, nn.PReLU,
    activations.APL, activations.Mixture, activations.PAU, activations.SLAF, activations.SReLU,
)  # fmt: skip
# Packages whose modules are all activations, but for gates.
_COLLECTIONS = ("timm.layers.activations", "transformers.activations")
_GATE = re.compile(r"^(hard)?(sigmoid|tanh|softmax|linearactivation)")
_NAMED_LIKE_ONE = re.compile(r"elu|silu|swish|mish|softplus")
_OPERATOR = re.compile(r"elu|silu|swish|mish|softplus|^pau$|_activation$|^_transformer_encoder")


def is_activation(module: nn.Module) -> bool:
    """Tell whether ``module`` serves as the activation of a layer.

    These are torch's rectifying classes and this package's element-wise ones, all of timm's and
    Hugging Face's, and anybody's module without parameters and children that is named like one.
    """
    kind = type(module)
    if isinstance(module, ACTIVATIONS):
        return True
    if is_of_torch(kind) or is_gate(module):
        return False
    if kind.__module__.startswith(_COLLECTIONS):
        return True
    holds_nothing = not module._modules and not module._parameters
    return holds_nothing and _NAMED_LIKE_ONE.search(kind.__name__.lower()) is not None


def is_gate(module: nn.Module) -> bool:
    """Tell whether ``module`` is a sigmoid, hyperbolic tangent or softmax of any library."""
    return not module._modules and _GATE.match(type(module).__name__.lower()) is not None


def is_of_torch(thing: Any) -> bool:
    """Tell whether a class or function comes with torch itself."""
    return (getattr(thing, "__module__", None) or "").partition(".")[0] == "torch"


def is_activation_function(value: Any) -> bool:
    """Tell whether ``value`` is an activation as a function of torch, or of this package."""
    if isinstance(value, functools.partial):
        return is_activation_function(value.func)
    if isinstance(value, torch.jit.ScriptFunction):
        operators = re.findall(r"aten::(\w+)", str(value.inlined_graph))
        return any(_OPERATOR.search(name) for name in operators)
    if inspect.ismethod(value):  # FloatFunctional's
        return value.__name__ == "add_relu" and is_of_torch(value.__func__)
    return any(value is known for known in _FUNCTIONS)


def is_activation_operator(
    operator: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> bool:
    """Tell whether a call of one of torch's operators computes an activation, alone or fused.

    A bound counts if it is max(0, x) or min(max(0, x), 6) of floating-point numbers.
    """
    schema = getattr(operator, "_schema", None)
    if schema is None:  # takes functions, whose own operators are seen one by one
        return False
    values = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    values |= dict(zip((a.name for a in schema.arguments), arguments, strict=False))
    values |= keywords
    name = schema.name.rpartition(":")[2].rstrip("_")
    if name.endswith("_backward"):
        return False
    if name in ("clamp", "clip", "clamp_min", "hardtanh", "maximum", "threshold"):
        return _bounds_at_zero(name, values)
    # Fused operators name what follows in an argument: mkldnn::_linear_pointwise(…, "relu").
    texts = (name, *(value for value in values.values() if isinstance(value, str)))
    return any(_OPERATOR.search(text) for text in texts)


def _bounds_at_zero(name: str, values: Mapping[str, Any]) -> bool:
    x = values["self"]
    if not (isinstance(x, Tensor) and x.is_floating_point()):
        return False
    if name == "maximum":
        return 0 in (_number(x), _number(values["other"]))
    if name == "threshold":
        return _number(values["threshold"]) == _number(values["value"]) == 0
    low, high = ("min_val", "max_val") if name == "hardtanh" else ("min", "max")
    return _number(values[low]) == 0 and _number(values.get(high)) in (None, 6)


def _number(value: Any) -> float | None:
    """Return a number or a tensor of one as a float, anything else as None."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        return float(value)
    return float(value) if isinstance(value, (int, float)) else None
