"""Smooth activations that are known by name; their turning points and inflections are constants.

Such a point is given by the two neighboring float64 numbers between which it lies. The tests check
these, and the curvature in between, in interval arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pade_bench.bounds.curves import Curve, Extremum, Range
from pade_bench.bounds.exact import Enclosure

FLOAT64 = torch.finfo(torch.float64)


@dataclass
class Smooth(Curve):
    r"""A function with the knots, the bends and the extrema of a :class:`Curve`.

    Its error is taken to be at most that of the formula torch evaluates, with each elementary
    function (exp, expm1, log1p, tanh, erf) right to four units in the last place.

    Attributes:
        function: F, elementwise.
        slope: F', given x and the number of a piece.
        rounding: of F, in units of the roundoff times \|F\|.
        cancellation: the same times \|x\|, for a formula that subtracts nearly equal numbers.
        approximation: an error that does not depend on the type.
        steepest: a bound of \|F'\|.
    """

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    knots: Sequence[Enclosure]
    bends: Sequence[int]
    extrema: Sequence[Extremum] = ()
    rounding: float = 24.0
    cancellation: float = 0.0
    approximation: float = 0.0
    steepest: float = 1.25

    def value(self, x: Tensor) -> Tensor:
        return self.function(x)

    def piece(self, x: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        return self.function(x), self.slope(x, number)

    def error(self, lower: Tensor, upper: Tensor, dtype: torch.dtype, range_: Range) -> Tensor:
        u = torch.finfo(dtype).eps / 2
        size = torch.maximum(lower.abs(), upper.abs())
        largest = torch.maximum(range_[0].abs(), range_[1].abs())
        # x may be off by one unit in the last place where a knot is.
        blur = self.steepest * 2 * FLOAT64.eps
        error = largest.mul_(self.rounding * u).add_(size, alpha=self.cancellation * u + blur)
        error = error.add_(self.approximation + torch.finfo(dtype).tiny)
        # Where the range is infinite or undefined, nothing is known.
        return error.nan_to_num_(torch.inf)

    def slope_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        return (
            torch.maximum(lower.abs(), upper.abs()).add_(1).mul_(64 * self.steepest * FLOAT64.eps)
        )


def swish() -> Smooth:
    """Return x sigmoid(x)."""

    def slope(x: Tensor, _: Tensor) -> Tensor:
        s = x.sigmoid()
        return s * (1 + x * (1 - s))

    bend = 2.3993572805154675
    return Smooth(
        F.silu, slope, knots=[(-_after(bend), -bend), (bend, _after(bend))], bends=[-1, 1, -1],
        extrema=[Extremum(-1.278464542761074, -1.2784645427610737, -0.27846454276107385, None)],
    )  # fmt: skip


def gelu() -> Smooth:
    """Return x Φ(x), with the normal distribution function Φ; F'' = φ(x) (2 - x^2)."""

    def slope(x: Tensor, _: Tensor) -> Tensor:
        density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return 0.5 * torch.special.erfc(-x / math.sqrt(2)) + x * density

    bend = 1.414213562373095
    return Smooth(
        F.gelu, slope, knots=[(-_after(bend), -bend), (bend, _after(bend))], bends=[-1, 1, -1],
        extrema=[Extremum(-0.7517915246935645, -0.7517915246935644, -0.1699712074799037, None)],
        cancellation=12,
    )  # fmt: skip


def mish() -> Smooth:
    """Return x tanh(softplus(x))."""

    def slope(x: Tensor, _: Tensor) -> Tensor:
        t = F.softplus(x).tanh()
        return t + x * x.sigmoid() * (1 - t * t)

    left, right = -2.2563763963607935, 1.4905711794854284
    return Smooth(
        F.mish, slope, knots=[(left, _after(left)), (right, _after(right))], bends=[-1, 1, -1],
        extrema=[Extremum(-1.1924312145154954, -1.1924312145154952, -0.30884341301725045, None)],
        rounding=32,
    )  # fmt: skip


def tanh() -> Smooth:
    """Return the hyperbolic tangent."""

    def slope(x: Tensor, _: Tensor) -> Tensor:
        return 1 - x.tanh().square()

    return Smooth(torch.tanh, slope, knots=[(0.0, 0.0)], bends=[1, -1])


def sigmoid() -> Smooth:
    """Return 1 / (1 + exp(-x))."""

    def slope(x: Tensor, _: Tensor) -> Tensor:
        return x.sigmoid() * (-x).sigmoid()

    return Smooth(torch.sigmoid, slope, knots=[(0.0, 0.0)], bends=[1, -1])


def softplus(beta: float, threshold: float) -> Smooth:
    """Return log(1 + exp(β x)) / β; torch returns x where β x is above the threshold."""
    return Smooth(
        lambda x: F.softplus(x, beta, threshold), lambda x, _: torch.sigmoid(beta * x),
        knots=[], bends=[1], approximation=math.exp(-threshold) / beta,
    )  # fmt: skip


def exponential(slope_right: float, alpha: float, rate: float) -> Smooth:
    """Return s x for x > 0 and α (exp(r x) - 1) elsewhere: elu, celu and selu."""

    def function(x: Tensor) -> Tensor:
        return torch.where(x > 0, slope_right * x, alpha * torch.expm1((rate * x).clamp(max=0)))

    def slope(x: Tensor, number: Tensor) -> Tensor:
        left = alpha * rate * torch.exp((rate * x).clamp(max=0))
        return torch.where(number == 0, left, slope_right)

    return Smooth(
        function, slope, knots=[(0.0, 0.0)], bends=[(alpha > 0) - (alpha < 0), 0],
        extrema=[Extremum(0.0, 0.0, 0.0, None)] if alpha < 0 else (),
        steepest=max(slope_right, abs(alpha) * rate),
    )  # fmt: skip


def _after(x: float) -> float:
    return math.nextafter(x, math.inf)
