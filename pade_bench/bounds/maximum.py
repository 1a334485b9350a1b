"""The maximum of several numbers: Maxout and max-pooling."""

from __future__ import annotations

import torch
from torch import Tensor

from pade_bench.bounds.curves import ROUNDING, Line, Range, Relaxation


def maximum_lines(lower: Tensor, upper: Tensor, dim: int) -> tuple[Line, Line]:
    """Bound max_j x_j by linear functions of the x_j.

    Below by the x_i whose interval has the highest middle. Above, with the x_i that may be largest
    and v the upper bound of all others: max(x_i, v) is convex in x_i, so it lies below its chord,
    which is x_i itself where v <= l_i.

    Args:
        lower: float64, the bounds of the x_j along ``dim``.
        upper: see ``lower``.
        dim: the dimension that is reduced.

    Returns:
        ((k1, c1), (k2, c2)), slopes of the shape of ``lower``, intercepts without ``dim``.
    """
    middle = (0.5 * lower + 0.5 * upper).argmax(dim, keepdim=True)
    k1 = torch.zeros_like(lower).scatter_(dim, middle, 1.0)
    highest = upper.argmax(dim, keepdim=True)
    top, bottom = upper.gather(dim, highest), lower.gather(dim, highest)
    v = upper.scatter(dim, highest, -torch.inf).amax(dim, keepdim=True)
    v = torch.maximum(v, bottom)
    slope = ((top - v) / (top - bottom)).nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)
    slope = torch.where(v > bottom, slope, 1.0)
    intercept = torch.where(v > bottom, v - slope * bottom, 0.0)
    # At the top the chord must not fall below it, whatever the slope was rounded to.
    intercept = torch.maximum(intercept, top - slope * top)
    intercept += ROUNDING * (v.abs() + slope * torch.maximum(top.abs(), bottom.abs()))
    k2 = torch.zeros_like(lower).scatter_(dim, highest, slope)
    c1 = torch.zeros_like(intercept).squeeze(dim)
    return (k1, c1), (k2, intercept.nan_to_num(torch.inf).squeeze(dim))


class ChannelMaximum(Relaxation):
    """The maximum of k neighboring channels, dimension 1; nothing is rounded.

    Unlike other activations' ranges, its have a k-th of the channels of ``lower``, and so do the
    intercepts of its lines; the slopes have the shape of ``lower``.
    """

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces

    def interval(self, lower: Tensor, upper: Tensor, dtype: torch.dtype = torch.float64) -> Range:
        low, high = (x.unflatten(1, (-1, self.pieces)).amax(2) for x in (lower, upper))
        return low, high

    def lines(
        self, lower: Tensor, upper: Tensor, dtype: torch.dtype = torch.float64
    ) -> tuple[Line, Line]:
        grouped_lower, grouped_upper = (x.unflatten(1, (-1, self.pieces)) for x in (lower, upper))
        (k1, c1), (k2, c2) = maximum_lines(grouped_lower, grouped_upper, dim=2)
        return (k1.flatten(1, 2), c1), (k2.flatten(1, 2), c2)
