"""The Padé activation unit and its randomized variant as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.fx
from torch import Tensor

from pade_bench import ops
from pade_bench.ops import Unit


def pau(x: Tensor, numerator: Tensor, denominator: Tensor, form: str = "abs_of_sum") -> Tensor:
    """Apply the Padé activation unit (Molina et al., ICLR 2020, Eq. 1 and 2) to every element.

    F(x) = (a0 + a1 x + … + am x^m) / Q(x), computed by a kernel of its own on CPUs and CUDA
    devices. Differentiable any number of times; of the forward pass only ``x`` is kept. Gradients
    of the coefficients are summed in a fixed order: repeated calls agree bitwise.

    Args:
        x: float32, float64, float16 or bfloat16, of any shape and memory layout. Half precision is
            computed in float32.
        numerator: (m + 1,) coefficients a0 … am, 0 <= m <= 10, of any floating type.
        denominator: (n,) coefficients b1 … bn, 1 <= n <= 10.
        form: the denominator. ``"abs_of_sum"``: Q = 1 + |b1 x + … + bn x^n|, the paper's safe unit.
            ``"sum_of_abs"``: Q = 1 + |b1 x| + … + |bn x^n|, as in the authors' CUDA code.
            ``"unsafe"``: Q = 1 + b1 x + … + bn x^n; at a pole F is an infinity or NaN, as IEEE
            division gives it.

    Returns:
        F(x), of the shape, type and memory layout of ``x``; dense where ``x`` is sparse.

    Raises:
        TypeError: an argument is no tensor, or of a type that is not real floating point.
        ValueError: the shape or device of a coefficient tensor, a degree or ``form``.
    """
    if isinstance(x, torch.fx.Proxy):
        return _traced(pau, x, numerator, denominator, form)
    return ops.apply(x, Unit(numerator, denominator, form))


def rpau(
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str = "abs_of_sum",
    noise: float = 0.01,
    training: bool = True,
) -> Tensor:
    """Apply the randomized Padé unit (Eq. 3): every element sees coefficients of its own.

    In training, c_ij ~ U((1 - noise) c_j, (1 + noise) c_j), independently for every element i and
    coefficient j of every call, and gradients flow to c_j through c_ij. The noise is drawn from
    torch's default generator for the device of ``x``, so that ``torch.manual_seed`` reproduces it,
    and is not stored. Element i is the i-th in memory. Otherwise this is ``pau``.

    Args:
        x: see ``pau``, as for the other arguments.
        numerator: (m + 1,) coefficients a0 … am.
        denominator: (n,) coefficients b1 … bn.
        form: see ``pau``.
        noise: relative half-width of the noise, in [0, 1].
        training: whether to draw noise.

    Raises:
        TypeError: see ``pau``.
        ValueError: see ``pau``; or ``noise`` outside [0, 1].
    """
    if isinstance(x, torch.fx.Proxy):
        return _traced(rpau, x, numerator, denominator, form, noise, training)
    if not 0.0 <= noise <= 1.0:
        raise ValueError(f"noise={noise!r} must lie in [0, 1]")
    unit = Unit(numerator, denominator, form)
    if training:
        ops.check(x, unit)  # before anything is drawn
        unit = Unit(numerator, denominator, form, ops.noise_state(x.device), noise)
    return ops.apply(x, unit)


def _traced(function: Callable[..., Tensor], x: torch.fx.Proxy, *arguments: Any) -> Any:
    """Stand in a graph of torch.fx as one call, as torch's own functions do."""
    return x.tracer.create_proxy("call_function", function, (x, *arguments), {})
