"""Piecewise linear activations as curves; their ranges and lines are exact but for rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor

from pade_bench.bounds.curves import Curve, Extremum, Range
from pade_bench.bounds.exact import rounded_down, rounded_up


class PiecewiseLinear(Curve):
    """Lines between knots, with jumps allowed.

    Args:
        knots: float64 numbers, strictly ascending.
        pieces: slope and intercept of each piece, one piece more than knots.
        size: c0 and c1 with which the terms of the formula sum to at most c0 + c1 |x| in absolute
            value, for the error of their sum.
        parameter_error: of slopes and intercepts relative to c0 and c1, where they are computed
            from the parameters in their own type.
    """

    def __init__(
        self,
        knots: Sequence[float],
        pieces: Sequence[tuple[Fraction, Fraction]],
        size: tuple[float, float],
        parameter_error: float = 0.0,
    ) -> None:
        self._size, self._parameter_error = size, parameter_error
        self._slopes = torch.tensor([float(k) for k, _ in pieces], dtype=torch.float64)
        self._intercepts = torch.tensor([float(c) for _, c in pieces], dtype=torch.float64)
        self._at = torch.tensor(knots, dtype=torch.float64)
        self.bends = [0] * len(pieces)
        self.knots, self.extrema = [], []
        for x, (before, after) in zip(knots, pairwise(pieces), strict=True):
            ends = [k * Fraction(x) + c for k, c in (before, after)]
            low, high = rounded_down(min(ends)), rounded_up(max(ends))
            if ends[0] != ends[1]:  # at a jump F has one of two values, so both pieces go there
                self.knots.append((math.nextafter(x, -math.inf), math.nextafter(x, math.inf)))
                self.extrema.append(Extremum(x, x, low, high))
                continue
            self.knots.append((x, x))
            if before[0] >= 0 >= after[0]:
                self.extrema.append(Extremum(x, x, None, high))
            if before[0] <= 0 <= after[0]:
                self.extrema.append(Extremum(x, x, low, None))

    def value(self, x: Tensor) -> Tensor:
        number = torch.bucketize(x, self._at.to(x.device))
        return self.piece(x, number)[0]

    def piece(self, x: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        slope = self._slopes.to(x.device)[number]
        return torch.addcmul(self._intercepts.to(x.device)[number], slope, x), slope

    def error(self, lower: Tensor, upper: Tensor, dtype: torch.dtype, range_: Range) -> Tensor:
        arithmetic = torch.finfo(dtype)
        c0, c1 = self._size
        size = torch.maximum(lower.abs(), upper.abs()).mul_(c1).add_(c0)
        # Each term has some roundings of its own, and one for each addition that follows.
        steps = 4 + 2 * len(self.bends)
        relative = steps * (arithmetic.eps + torch.finfo(torch.float64).eps) + self._parameter_error
        error = size.mul_(relative).add_(steps * arithmetic.tiny)
        return error.masked_fill_(~(size < arithmetic.max / 8), torch.inf)

    def slope_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        return torch.full_like(lower, self._size[1] * 4 * torch.finfo(torch.float64).eps)
