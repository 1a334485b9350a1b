"""Linear bounds on their way back through a network, and the rounding errors of float32.

Shapes: N images, S specifications (what is bounded, of each image), C channels, H × W pixels, F
features. A bound

    Σ A y >= Σ A' x + constant

goes from the outputs y of an operation to its inputs x. The coefficients A are float32, which is
two to ten times as fast as float64; the errors of that are bounded and taken from the constant, as
are those of the network's own arithmetic.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from pade_bench.bounds.curves import Range

_ROUNDOFF = 2.0**-24  # of float32
# For γ_n > n u, and for the arithmetic of the bounds in float64, whose roundoff is 2^-29 of it.
_MARGIN = 1 + 2.0**-8


def gamma(roundings: int) -> float:
    """Bound the relative error of a number rounded so many times to float32."""
    return roundings * _ROUNDOFF / (1 - roundings * _ROUNDOFF) * _MARGIN


def magnitude(bounds: Range) -> Tensor:
    """Return the largest absolute value in each interval."""
    return torch.maximum(bounds[0].abs(), bounds[1].abs())


@dataclass
class Coefficients:
    """Those of a linear bound, on the part of a layer where they are not 0.

    Attributes:
        values: (N or 1, S, C, h, w) or (N or 1, S, F), float32.
        top: of the part's first row, where the layer has rows.
        left: of its first column.
    """

    values: Tensor
    top: int = 0
    left: int = 0

    @functools.cached_property
    def positive(self) -> Tensor:
        """A⁺, the values that are above 0."""
        return self.values.clamp(min=0)

    @functools.cached_property
    def negative(self) -> Tensor:
        """A⁻, those below 0."""
        return self.values.clamp(max=0)

    def replace(self, values: Tensor) -> Coefficients:
        """Return other coefficients of the same part."""
        return Coefficients(values, self.top, self.left)

    def part_of(self, layer: Tensor) -> Tensor:
        """Cut the same part out of (N or 1, C, H, W) or (N or 1, F), with a dimension for S."""
        if layer.dim() == 4:
            h, w = self.values.shape[-2:]
            layer = layer[:, :, self.top : self.top + h, self.left : self.left + w]
        return layer.unsqueeze(1)

    def weigh(self, low: Tensor, high: Tensor) -> Tensor:
        """Return Σ A⁺ low + A⁻ high, (N or 1, S) float64.

        Args:
            low: of the whole layer, from :func:`widen`, which makes up for the errors made here.
            high: see ``low``.
        """
        terms = self.positive * self.part_of(low)
        terms += self.negative * self.part_of(high)
        if terms.dim() == 5:  # each row in float32, which is faster
            terms = terms.sum(-1).flatten(2)
        return terms.sum(-1, dtype=torch.float64)

    def weigh_channels(self, center: Tensor, radius: Tensor) -> Tensor:
        r"""Return Σ A center - \|A\| radius, (N or 1, S) float64, for ends that channels share.

        Args:
            center: (N or 1, C) or (N or 1, F), float64.
            radius: see ``center``; it has to make up for the errors of :func:`row_sums`.
        """
        total = (row_sums(self.values) * center[:, None]).sum(-1)
        return total - (row_sums(self.values.abs()) * radius[:, None]).sum(-1)

    def plus(self, other: Coefficients) -> Coefficients:
        """Add coefficients of the same layer."""
        if self.values.dim() == 3:
            return Coefficients(self.values + other.values)
        top, left = min(self.top, other.top), min(self.left, other.left)
        parts = [self, other]
        bottom, right = (
            max(start + c.values.shape[dim] for c, start in zip(parts, starts, strict=True))
            for dim, starts in ((-2, (self.top, other.top)), (-1, (self.left, other.left)))
        )
        n, s, channels = (max(c.values.shape[d] for c in parts) for d in range(3))
        total = self.values.new_zeros(n, s, channels, bottom - top, right - left)
        for c in parts:
            h, w = c.values.shape[-2:]
            total[..., c.top - top :, c.left - left :][..., :h, :w] += c.values
        return Coefficients(total, top, left)


def row_sums(values: Tensor) -> Tensor:
    r"""Return the sum of each channel, (…, C) float64 from (…, C, h, w), or (…, F) itself.

    Rows are summed in float32, so that the error is at most gamma(w) times the sum of \|values\|.
    """
    if values.dim() == 3:
        return values.double()
    return values.sum(-1).sum(-1, dtype=torch.float64)


def widen(low: Tensor, high: Tensor) -> Range:
    """Round the bounds of a layer outward to float32, with room for :meth:`Coefficients.weigh`."""
    added = low.shape[-1] if low.dim() == 4 else 1  # numbers of a row
    room = gamma(added + 4)
    return _narrowed(low - room * low.abs(), -1), _narrowed(high + room * high.abs(), 1)


def _narrowed(x: Tensor, side: int) -> Tensor:
    """Convert to float32, which moves no number past one that is that much further out."""
    tiny = torch.finfo(torch.float32).tiny
    return (x + side * (x.abs() * 2 * _ROUNDOFF + tiny)).float()
