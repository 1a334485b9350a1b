"""Ranges of a function of one variable on intervals, and lines above and below it.

A :class:`Curve` is cut by its knots into pieces that bend one way. Where a piece is convex, the
function lies above its tangents and below its chords, where it is concave the other way round, so
values and slopes at a few points bound it everywhere: no sampling has to be trusted.

Bounds hold for the function of real numbers and for what comes out when it is evaluated in
floating point: ``error`` bounds the difference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pade_bench.bounds.exact import Enclosure

Range = tuple[Tensor, Tensor]
Line = tuple[Tensor, Tensor]  # slope and intercept
CHUNK = 1 << 18  # intervals whose ranges are found at once, in memory that is used again
LINES_CHUNK = 1 << 15  # those whose lines are sought at once: some 100 MB
PARTS = 4  # of a piece that is not the whole interval, see _corners
ROUNDING = 2.0**-48  # of the few operations on a line, relative to their largest operand
NARROW = 2.0**-26  # relative to the numbers themselves; slopes would be rounding errors


class Relaxation(ABC):
    """What certification has to know about an activation.

    A class of activations brings its own by a method ``relaxation()`` that returns one.

    Both methods take float64 tensors of one shape, with ``lower <= upper``, finite or not, and
    return float64 tensors of that shape on the same device. What they return holds for every
    real x in [lower, upper] and for every number of the type ``dtype`` in it: for F(x) as a real
    number, and as the module computes it in that type.
    """

    @abstractmethod
    def interval(self, lower: Tensor, upper: Tensor, dtype: torch.dtype = torch.float64) -> Range:
        """Return (low, high) with low <= F(x) <= high; infinite where nothing can be said."""

    @abstractmethod
    def lines(
        self, lower: Tensor, upper: Tensor, dtype: torch.dtype = torch.float64
    ) -> tuple[Line, Line]:
        """Return ((k1, c1), (k2, c2)) with k1 x + c1 <= F(x) <= k2 x + c2.

        Slopes are finite; intercepts are infinite where nothing can be said.
        """

    def undefined(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Tell for each interval whether F might have a pole in it."""
        return torch.zeros_like(lower, dtype=torch.bool)


class Extremum(NamedTuple):
    """A point between ``left`` and ``right`` at which a curve may turn."""

    left: float
    right: float
    low: float | None  # a lower bound of the value there, if it may be a minimum
    high: float | None  # an upper bound, if it may be a maximum


class Curve(Relaxation):
    """A function of one variable, elementwise.

    Attributes:
        extrema: where it may turn.
        knots: where it may bend differently or have a kink, in ascending order, each enclosed.
        bends: of the pieces between the knots, one more than there are knots: 1 where the
            function is convex, -1 where it is concave, 0 where it is a line.
    """

    extrema: Sequence[Extremum]
    knots: Sequence[Enclosure]
    bends: Sequence[int]

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """Return F(x), computed in float64; ``x`` is contiguous and of one dimension."""

    @abstractmethod
    def piece(self, x: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        """Return value and slope at ``x`` of the pieces with these numbers, their ends included."""

    @abstractmethod
    def error(self, lower: Tensor, upper: Tensor, dtype: torch.dtype, range_: Range) -> Tensor:
        """Bound |computed F(x) - F(x)| on [lower, upper], where ``dtype`` is computed in.

        The bound has room for an x that is off by as much as the knots are wide. ``range_`` is what
        was computed of F on the interval, without this error.
        """

    @abstractmethod
    def slope_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Bound the error of the slopes of :meth:`piece` on [lower, upper], likewise."""

    def interval(self, lower: Tensor, upper: Tensor, dtype: torch.dtype = torch.float64) -> Range:
        """Return (low, high); see :class:`Relaxation`. Exact but for the error of evaluation."""
        shape = lower.shape
        lower, upper = lower.contiguous().view(-1), upper.contiguous().view(-1)
        found = lower.new_empty((2, len(lower)))
        for start in range(0, len(lower), CHUNK):
            part = slice(start, start + CHUNK)
            self._interval(lower[part], upper[part], dtype, found[:, part])
        return found[0].view(shape), found[1].view(shape)

    def _interval(self, lower: Tensor, upper: Tensor, dtype: torch.dtype, found: Tensor) -> None:
        """Write the range of F on (N,) intervals into ``found``, (2, N)."""
        low, high = self._values(lower, upper)
        error = self.error(lower, upper, dtype, (low, high))
        torch.sub(low, error, out=found[0])
        torch.add(high, error, out=found[1])
        if not error.amax() < torch.inf:
            unknown = ~(error < torch.inf)
            found[0, unknown], found[1, unknown] = -torch.inf, torch.inf

    def _values(self, lower: Tensor, upper: Tensor) -> Range:
        """Return the smallest and the largest of the values at the ends and the extrema inside."""
        at_lower, at_upper = self.value(lower), self.value(upper)
        low = torch.minimum(at_lower, at_upper)
        high = torch.maximum(at_lower, at_upper, out=at_lower)
        # A table says what any choice of eight extrema contributes: one look-up for all of them.
        for start in range(0, len(self.extrema), 8):
            group = self.extrema[start : start + 8]
            inside = lower.new_zeros(len(lower), dtype=torch.uint8)
            for k, e in enumerate(group):
                between = (lower <= e.right).logical_and_(upper >= e.left)
                inside.add_(between.view(torch.uint8), alpha=1 << k)
            index = inside.int()
            lows = [torch.inf if e.low is None else e.low for e in group]
            highs = [-torch.inf if e.high is None else e.high for e in group]
            if min(lows) < torch.inf:
                table = lower.new_tensor(_choices(min, lows, torch.inf))
                torch.minimum(low, table.index_select(0, index), out=low)
            if max(highs) > -torch.inf:
                table = lower.new_tensor(_choices(max, highs, -torch.inf))
                torch.maximum(high, table.index_select(0, index), out=high)
        return low, high

    def lines(
        self, lower: Tensor, upper: Tensor, dtype: torch.dtype = torch.float64
    ) -> tuple[Line, Line]:
        """Return lines; see :class:`Relaxation`.

        Of all lines below F, the one sought is highest in the middle of the interval, which makes
        the mean distance to F smallest; likewise above. Where that finds nothing better, the lines
        are the ends of the range.
        """
        shape = lower.shape
        lower, upper = lower.contiguous().view(-1), upper.contiguous().view(-1)
        low, high = self.interval(lower, upper, dtype)
        k1, k2 = torch.zeros_like(low), torch.zeros_like(high)
        for chosen, first, inner in self._by_knots(lower, upper):
            begin, end = lower[chosen], upper[chosen]
            slopes, intercepts = self._lines(begin, end, first, inner)
            # What is missing is the error of the evaluation in another type.
            error = self.error(begin, end, dtype, (low[chosen], high[chosen]))
            middle = 0.5 * begin + 0.5 * end
            for side, (k, c) in enumerate(((k1, low), (k2, high))):
                outward = -1 if side == 0 else 1
                slope, intercept = slopes[side], intercepts[side] + outward * error
                there = slope * middle + intercept
                better = outward * (c[chosen] - there) > 0
                better &= slope.isfinite() & intercept.isfinite()
                k[chosen[better]] = slope[better]
                c[chosen[better]] = intercept[better]
        return (k1.view(shape), low.view(shape)), (k2.view(shape), high.view(shape))

    def _by_knots(self, lower: Tensor, upper: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield intervals by the knots inside: where they are, first pieces, how many knots."""
        lefts = lower.new_tensor([left for left, _ in self.knots])
        rights = lower.new_tensor([right for _, right in self.knots])
        first = torch.bucketize(lower, rights, right=True)
        inner = torch.bucketize(upper, lefts).sub_(first).clamp_(min=0)
        size = torch.maximum(lower.abs(), upper.abs())
        # The rest, infinite intervals and narrow ones among them, is left with the range.
        inner[~((upper - lower > NARROW * size) & (size < torch.inf))] = -1
        for n in inner.unique().tolist():
            if n >= 0:
                for chosen in (inner == n).nonzero().squeeze(1).split(LINES_CHUNK // (n + 1) + 1):
                    yield chosen, first[chosen], n

    def _lines(
        self, lower: Tensor, upper: Tensor, first: Tensor, inner: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the slopes of lines below and above (N,) intervals, and the intercepts.

        The lines bound the real F; ``inner`` knots lie in each interval, after the piece ``first``.
        """
        # One piece needs its ends and the middle only: chord and tangent are the best lines.
        x, number = self._corners(lower, upper, first, inner, 2 if inner == 0 else PARTS)
        f, d = self.piece(x, number)
        bend = torch.tensor(self.bends, device=x.device)[number]
        middle = 0.5 * lower + 0.5 * upper
        here = number[:, 0, 0] + (x[:, 1:, 0] <= middle[:, None]).sum(1)
        _, tangent = self.piece(middle, here)
        size = torch.maximum(lower.abs(), upper.abs())
        error = self.error(lower, upper, torch.float64, (f.amin((1, 2)), f.amax((1, 2))))
        error += self.slope_error(lower, upper) * (upper - lower)
        error += ROUNDING * f.abs().amax((1, 2))
        slopes, intercepts = [], []
        for turn in (1, -1):  # a line above F is one below -F, upside down
            candidates = torch.stack((_support(x, turn * f, middle), turn * tangent))
            c = _lowest(x, turn * f, turn * d, turn * bend, candidates)
            c -= error + ROUNDING * size * candidates.abs()
            best = (candidates * middle + c).nan_to_num(-torch.inf).argmax(0, keepdim=True)
            slopes.append(turn * candidates.gather(0, best)[0])
            intercepts.append(turn * c.gather(0, best)[0])
        return slopes, intercepts

    def _corners(
        self, lower: Tensor, upper: Tensor, first: Tensor, inner: int, parts: int
    ) -> tuple[Tensor, Tensor]:
        """Cut intervals at their knots, and each piece into equal parts.

        Returns:
            the ends of the parts and the numbers of their pieces, both (N, inner + 1, parts + 1).
        """
        lefts = lower.new_tensor([left for left, _ in self.knots])
        pieces = first[:, None] + torch.arange(inner + 1, device=lower.device)
        begin, end = lower[:, None], upper[:, None]
        # An end may lie within the enclosure of a knot.
        inside = lefts[pieces[:, :-1]].clamp(begin, end)
        cuts = torch.cat((begin, inside, end), dim=1)
        share = torch.linspace(0, 1, parts + 1, dtype=lower.dtype, device=lower.device)
        x = torch.lerp(cuts[:, :-1, None], cuts[:, 1:, None], share)
        return x, pieces[..., None].expand(-1, -1, parts + 1)


def _choices(best: Callable[..., float], values: Sequence[float], nothing: float) -> list[float]:
    """Return the best of each subset of ``values``, by the number whose bits choose it."""
    return [
        best((v for k, v in enumerate(values) if subset >> k & 1), default=nothing)
        for subset in range(1 << len(values))
    ]


def _support(x: Tensor, f: Tensor, middle: Tensor) -> Tensor:
    """Return the slope of the line below all points that is highest in the middle.

    The line goes through one point on each side, or through two of which one is the middle. It is
    found as the simplex method would: a point below the line replaces that on its side.

    Args:
        x: (N, …), the points.
        f: (N, …), their values.
        middle: (N,).
    """
    x, f = x.flatten(1), f.flatten(1)
    x_left, f_left, x_right, f_right = x[:, 0], f[:, 0], x[:, -1], f[:, -1]
    for _ in range(min(x.shape[1] - 1, 8)):
        slope = (f_right - f_left) / (x_right - x_left)
        above = f - torch.addcmul(f_left[:, None], slope[:, None], x - x_left[:, None])
        above, lowest = above.min(dim=1)
        lower = above < 0
        if not lower.any():
            return slope
        lowest = lowest[:, None]
        x_new, f_new = x.gather(1, lowest)[:, 0], f.gather(1, lowest)[:, 0]
        left, right = lower & (x_new <= middle), lower & (x_new > middle)
        x_left, f_left = torch.where(left, x_new, x_left), torch.where(left, f_new, f_left)
        x_right, f_right = torch.where(right, x_new, x_right), torch.where(right, f_new, f_right)
    return (f_right - f_left) / (x_right - x_left)


def _lowest(x: Tensor, f: Tensor, d: Tensor, bend: Tensor, slopes: Tensor) -> Tensor:
    """Bound F(x) - k x from below over parts that bend one way, apart from rounding.

    Args:
        x: (N, P, J), the ends of the parts.
        f: (N, P, J), the values there.
        d: (N, P, J), the slopes there.
        bend: (N, P, J), 1 for parts of convex pieces, -1 or 0 for others.
        slopes: (C, N), the slopes k.

    Returns:
        (C, N).
    """
    k = slopes[..., None, None]
    g, rise = f - k * x, d - k
    lowest = g.amin((2, 3))
    # Within a convex part, F is above the tangents at both ends: lowest where they meet.
    begin, end = rise[..., :-1], rise[..., 1:]
    width = x[..., 1:] - x[..., :-1]
    meets = (begin < 0) & (end > 0) & (bend[..., 1:] > 0)
    drop = g[..., :-1] - g[..., 1:] + end * width
    step = (drop / (end - begin)).clamp(min=0)
    below = torch.minimum(step, width) * begin + g[..., :-1]
    below = torch.where(meets, below, torch.inf)
    return torch.minimum(lowest, below.amin((2, 3)))
