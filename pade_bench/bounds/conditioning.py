"""Bounds of the rounding errors of a rational function, tabulated over its argument.

With P_abs(x) = Σ|a_j x^j|, Q_abs(x) = 1 + Σ|b_k x^k| and a unit roundoff u, Horner's rule computes
P and Q with errors of at most

    γ_p P_abs,  γ_q Q_abs,      γ_k = k u / (1 - k u)      (Higham 2002, section 5.1)

fused or not. With κ = Q_abs / |Q|, as F = P / Q,

    |computed F - F| <= (γ_p + γ_q κ) P_abs / |Q| / (1 - γ_q κ) + 3 u P_abs / |Q|.

The real line is cut into cells, sixteen to an octave, in which P_abs and Q_abs are taken at the
far end and |Q| at its smallest. Neighbors with similar bounds are joined, so that a table of all
pairs of cells gives the largest bound on any interval at once. ``docs/certification.md`` has the
rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

LOWEST = -128  # |x| < 2^-128, no normal float32, is one cell
_SIMILAR = 4.0  # bounds of cells that are joined differ by at most this factor
_MARGIN = 1.5  # for 1 / (1 - γ_q κ) with γ_q κ <= 1/4, and for γ_k > k u


class _Table(NamedTuple):
    cell: Tensor  # (2^16,) int32, the cell of each choice of the upper 16 bits of a float64
    largest: Tensor  # (cells · cells,), the largest bound from one cell to another


class Conditioning:
    """How far a computed F(x), or F'(x), can be from the real one on an interval.

    Args:
        numerator: a0 … am.
        denominator: b1 … bn.
        form: of Q.
        turns: points where |Q| may be smallest, other than the ends of cells.
        blur: x may be off by this many units in the last place.
    """

    def __init__(
        self, numerator: Array, denominator: Array, form: str, turns: Sequence[float], blur: float
    ) -> None:
        self.a, self.b, self.form = np.abs(numerator), np.abs(denominator), form
        self.inner = np.array([1.0 if form == "unsafe" else 0.0, *denominator])
        self.turns = np.array(turns)
        self.blur = blur
        self._tables: dict[tuple[torch.dtype, bool], _Table] = {}

    def bound(self, lower: Tensor, upper: Tensor, dtype: torch.dtype, slope: bool) -> Tensor:
        """Bound the error of F, or of F', on each interval; infinite where something may overflow.

        Args:
            lower: (N,) contiguous float64, like ``upper``.
            upper: see there.
            dtype: the type in which F is evaluated.
            slope: for F'.
        """
        key = dtype, slope
        if key not in self._tables:
            self._tables[key] = self._table(torch.finfo(dtype), slope)
        cell, largest = (t.to(lower.device) for t in self._tables[key])
        cells = round(len(largest) ** 0.5)
        first, last = (
            cell.index_select(0, x.view(torch.int16).view(-1, 4)[:, 3].int().bitwise_and_(0xFFFF))
            for x in (lower, upper)
        )
        return largest.index_select(0, first.mul_(cells).add_(last))

    def _table(self, arithmetic: Any, slope: bool) -> _Table:
        top = self._first_overflow(arithmetic.max)
        # The four bits of the fraction that are looked at cut an octave into sixteen cells.
        steps = np.arange(16 * (top - LOWEST) + 1)
        edges = np.ldexp(1 + steps % 16 / 16, steps // 16 + LOWEST)
        begin, end = np.concatenate(([0.0], edges[:-1])), edges
        left, right = (self._errors(side, begin, end, arithmetic, slope) for side in (-1, 1))
        # From -infinity to infinity: both sides meet in a cell around 0.
        center = max(left[0], right[0])
        bounds = np.concatenate(([np.inf], left[:0:-1], [center], right[1:], [np.inf]))
        joined, names = _join(bounds * (1 + 1e-9))
        words = np.arange(1 << 15) - (16 * (LOWEST + 1023) - 1)
        magnitude = np.clip(words, 0, len(begin))
        middle = len(begin)
        cell = np.concatenate((names[middle + magnitude], names[middle - magnitude]))
        table = np.triu(np.broadcast_to(joined, (len(joined),) * 2))
        largest = np.maximum.accumulate(table, axis=1)
        return _Table(torch.from_numpy(cell), torch.from_numpy(largest.ravel()))

    def _first_overflow(self, largest: float) -> int:
        """Return the exponent of |x| from which on a sum might overflow."""
        exponents = np.arange(LOWEST, 1023)
        with np.errstate(over="ignore"):
            t = np.maximum(np.exp2(exponents + 1.0), 1)
            degree = max(len(self.a), len(self.b))
            sums = polynomial.polyval(t, self.a) + polynomial.polyval(t, [1, *self.b])
            fine = (sums * degree < largest / 64) & (t**degree < 2.0**1000)
        return int(exponents[fine.argmin()]) if not fine.all() else 1023

    def _errors(self, side: int, begin: Array, end: Array, arithmetic: Any, slope: bool) -> Array:
        """Return the bound for each cell ``begin`` <= |x| <= ``end`` on one side of 0."""
        u, tiny = arithmetic.eps / 2, arithmetic.tiny
        m, n = len(self.a) - 1, len(self.b)
        with np.errstate(all="ignore"):
            q = self._least_denominator(side, begin, end)
            value = polynomial.polyval(end, self.a) / q
            a_abs = np.array([0, *self.b])
            condition = (1 + polynomial.polyval(end, a_abs)) / q
            # The roundings of Horner's rule and of the coefficients, and the blur of x.
            steps_p, steps_q = (2 * k * (1 + self.blur) + 4 for k in (m, n))
            if slope:
                p_slope = polynomial.polyval(end, polynomial.polyder(self.a))
                a_slope = polynomial.polyval(end, polynomial.polyder(a_abs))
                steps = 8 * (m + n + 2) * (1 + self.blur)
                error = u * steps * condition**2 * (p_slope + value * a_slope) / q
            else:
                error = u * value * (steps_p + steps_q * condition + 3)
            large = np.maximum(end, 1)
            # Any operation may also lose a number below the smallest normal one.
            lost = tiny * 4 * (m + n + 2) * (large**m + (1 + value) * large**n) / q * condition
            error = _MARGIN * error + lost
            error[~(u * steps_q * condition < 0.25)] = np.inf
        error[np.isnan(error)] = np.inf
        return error

    def _least_denominator(self, side: int, begin: Array, end: Array) -> Array:
        """Return a lower bound of the absolute value of Q in each cell."""
        if self.form == "sum_of_abs":
            return np.asarray(polynomial.polyval(begin, [1, *self.b]))
        rounding = 8 * (len(self.b) + 2) * np.finfo(float).eps

        def magnitude(x: Array) -> Array:
            size = polynomial.polyval(np.abs(x), [1, *self.b])
            least: Array = np.abs(polynomial.polyval(x, self.inner)) - rounding * size
            return np.maximum(least, 0)

        least = np.minimum(magnitude(side * begin), magnitude(side * end))
        turns = self.turns[side * self.turns >= 0]
        cell = np.searchsorted(end, np.abs(turns))
        for neighbor in (-1, 0, 1):  # a turn may lie at the edge of a cell
            inside = (cell + neighbor >= 0) & (cell + neighbor < len(end))
            np.minimum.at(least, (cell + neighbor)[inside], magnitude(turns[inside]))
        return least if self.form == "unsafe" else 1 + least


def _join(bounds: Array) -> tuple[Array, NDArray[np.int32]]:
    """Join neighbors whose bounds are similar; return their largest, and which each one joined."""
    joined: list[float] = []
    names = np.empty(len(bounds), dtype=np.int32)
    least = 0.0
    for i, bound in enumerate(bounds.tolist()):
        if joined and max(bound, joined[-1]) <= _SIMILAR * min(bound, least):
            least, joined[-1] = min(bound, least), max(bound, joined[-1])
        else:
            joined.append(bound)
            least = bound
        names[i] = len(joined) - 1
    return np.array(joined), names
