"""Padé units and polynomials as curves: F = P / Q with Q = 1 + |A|, 1 + Σ|b_k x^k| or 1 + A.

Between the points where Q changes its formula, F' and F'' have the signs of polynomials,

    P'Q - PQ'      and      ((P'Q - PQ')' Q - 2 (P'Q - PQ') Q') times the sign of Q,

whose roots are found in exact arithmetic, once for each unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pade_bench.bounds import exact
from pade_bench.bounds.conditioning import Conditioning
from pade_bench.bounds.curves import Curve, Extremum, Range
from pade_bench.bounds.exact import Enclosure, Polynomial
from pade_bench.functional import pau
from pade_bench.ops.reference import horner


class Rational(Curve):
    """P / Q for coefficients that are known exactly.

    Args:
        numerator: a0 … am.
        denominator: b1 … bn; empty for a polynomial.
        form: of Q, one of ``pade_bench.ops.FORMS``.
    """

    def __init__(
        self, numerator: Sequence[Fraction], denominator: Sequence[Fraction], form: str
    ) -> None:
        b = list(denominator) or [Fraction(0)]
        self.form = form
        self._p = exact.trim(numerator)
        self._inside = exact.trim([Fraction(0), *b])  # A
        # Q is _parts[i].q between _seams[i - 1] and _seams[i].
        self._seams, self._parts = _parts(self._inside, form)
        self._poles = self._seams if form == "unsafe" else []
        turns, rises = self._signs(order=1)
        self.extrema = [
            self._extremum(point, before, after)
            for point, (before, after) in zip(turns, pairwise(rises), strict=True)
            if before != after or before == 0 or _meet(point, self._poles)
        ]
        self.knots, self.bends = self._signs(order=2)
        self._sides = [self._part(x).side for x in _samples(self.knots)]
        floats = [np.array([float(c) for c in cs]) for cs in (numerator, b)]
        self._numerator, self._denominator = map(torch.from_numpy, floats)
        # Q may be smallest where A is 0 and where A' is.
        flat = exact.roots(exact.derivative(self._inside))
        ends = [end for enclosure in (*self._seams, *flat) for end in enclosure]
        # How many units in the last place enclosures are wide: one, or more where several met.
        widths = [
            (right - left) / np.spacing(max(abs(left), abs(right))) for left, right in self.knots
        ]
        self._conditioning = Conditioning(floats[0], floats[1], form, ends, max([1.0, *widths]))

    def value(self, x: Tensor) -> Tensor:
        a, b = (c.to(x.device) for c in (self._numerator, self._denominator))
        return pau(x, a, b, self.form)

    def piece(self, x: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        a, b = (list(c.to(x.device)) for c in (self._numerator, self._denominator))
        f = self.value(x.contiguous().view(-1)).view(x.shape)
        if self.form == "sum_of_abs":
            z, b = x.abs(), [c.abs() for c in b]
        else:
            z = x
        inner = z * horner(z, b)
        q = 1 + (inner.abs() if self.form == "abs_of_sum" else inner)
        # At a seam, the slope is that of the piece.
        sides = torch.tensor(self._sides, device=x.device)[number]
        dq = horner(z, [k * c for k, c in enumerate(b, start=1)]) * sides
        dp = horner(x, [j * c for j, c in enumerate(a)][1:]) if len(a) > 1 else 0
        return f, (dp - f * dq) / q

    def error(self, lower: Tensor, upper: Tensor, dtype: torch.dtype, range_: Range) -> Tensor:
        return self._conditioning.bound(lower, upper, dtype, slope=False)

    def slope_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        return self._conditioning.bound(lower, upper, torch.float64, slope=True)

    def undefined(self, lower: Tensor, upper: Tensor) -> Tensor:
        found = super().undefined(lower, upper)
        for left, right in self._poles:
            found |= (lower <= right) & (upper >= left)
        return found

    def _signs(self, order: int) -> tuple[list[Enclosure], list[int]]:
        """Find where F' (``order`` 1) or F'' (2) may change its sign.

        Returns:
            enclosures of these points and of all seams, and the signs between them.
        """
        points = list(self._seams)
        for i, part in enumerate(self._parts):
            begin, end = self._reach(i)
            roots = exact.roots(_derivative(self._p, part.q, order))
            points += [(left, right) for left, right in roots if right >= begin and left <= end]
        merged: list[Enclosure] = []
        for left, right in sorted(points):
            if merged and left <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(right, merged[-1][1])
            else:
                merged.append((left, right))
        signs = []
        for x in _samples(merged):
            q = self._part(x).q
            above, below = exact.sign(_derivative(self._p, q, order), x), exact.sign(q, x)
            signs.append(above * below ** (order + 1))
        return merged, signs

    def _part(self, x: Fraction) -> _Part:
        """Return the part of Q at ``x``, which is not at a seam."""
        return self._parts[sum(right < x for _, right in self._seams)]

    def _reach(self, i: int) -> Enclosure:
        """Return the ends of the i-th part, the seams included."""
        begin = self._seams[i - 1][0] if i > 0 else -np.inf
        end = self._seams[i][1] if i < len(self._seams) else np.inf
        return begin, end

    def _extremum(self, point: Enclosure, before: int, after: int) -> Extremum:
        """Bound the value at a point with slopes of these signs before and after it."""
        if _meet(point, self._poles):
            return Extremum(*point, -np.inf, np.inf)
        left, right = map(Fraction, point)
        values = []
        for i, part in enumerate(self._parts):
            if _meet(point, [self._reach(i)]):
                p, q = (exact.enclose(r, left, right) for r in (self._p, part.q))
                values += [x / y for x in p for y in q]
        low, high = exact.rounded_down(min(values)), exact.rounded_up(max(values))
        is_maximum, is_minimum = before > 0 > after, before < 0 < after
        return Extremum(*point, None if is_maximum else low, None if is_minimum else high)


class _Part(NamedTuple):
    """A piece on which Q is a polynomial."""

    q: Polynomial
    side: int  # the sign of A in |A|, or of x in |x|


def _parts(inside: Polynomial, form: str) -> tuple[list[Enclosure], list[_Part]]:
    """Return where the formula of Q changes, or Q might be 0, and the parts in between."""
    one = [Fraction(1)]
    if form == "sum_of_abs":
        right = [abs(b) for b in inside]
        left = [b * (-1) ** k for k, b in enumerate(right)]
        return [(0.0, 0.0)], [_Part(exact.add(one, left), -1), _Part(exact.add(one, right), 1)]
    if form == "unsafe":
        q = exact.add(one, inside)
        poles = exact.roots(q)
        return poles, [_Part(q, 1)] * (len(poles) + 1)
    seams = exact.roots(inside)
    signs = [exact.sign(inside, x) for x in _samples(seams)]
    return seams, [_Part(exact.add(one, inside, s), s) for s in signs]


def _derivative(p: Polynomial, q: Polynomial, order: int) -> Polynomial:
    """Return the polynomial N of the first or second derivative N / Q^(order + 1) of P / Q."""

    def next_one(n: Polynomial, times: int) -> Polynomial:
        below = exact.multiply(n, exact.derivative(q))
        return exact.add(exact.multiply(exact.derivative(n), q), below, -times)

    first = next_one(p, 1)
    return first if order == 1 else next_one(first, 2)


def _samples(points: Sequence[Enclosure]) -> list[Fraction]:
    """Return a point before, between and after all others."""
    if not points:
        return [Fraction(0)]
    first, last = Fraction(points[0][0]), Fraction(points[-1][1])
    between = [(Fraction(a[1]) + Fraction(b[0])) / 2 for a, b in pairwise(points)]
    return [first - abs(first) - 1, *between, last + abs(last) + 1]


def _meet(point: Enclosure, others: Sequence[Enclosure]) -> bool:
    return any(point[0] <= right and point[1] >= left for left, right in others)
