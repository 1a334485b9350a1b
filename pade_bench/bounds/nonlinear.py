"""Interval bounds and backward linear bounds of activations and max-pooling."""

from __future__ import annotations

import torch
from torch import Tensor

from pade_bench.bounds.affine import Linearization, Operation, between, spread
from pade_bench.bounds.coefficients import Coefficients, gamma, magnitude
from pade_bench.bounds.curves import ROUNDING, Line, Range, Relaxation
from pade_bench.bounds.maximum import ChannelMaximum, maximum_lines


class Activation(Operation):
    """An activation, bounded by its relaxation; Maxout too, which reduces channels."""

    is_affine = False

    def __init__(self, relaxation: Relaxation) -> None:
        self.relaxation = relaxation
        self.is_elementwise = not isinstance(relaxation, ChannelMaximum)

    def interval(self, *inputs: Range) -> Range:
        return self.relaxation.interval(*inputs[0], dtype=torch.float32)

    def linearize(self, *inputs: Range) -> Linearization:
        lines = self.relaxation.lines(*inputs[0], dtype=torch.float32)
        pieces = lines[0][0].shape[1] // lines[0][1].shape[1]
        ends, slopes = [], []
        for side, (slope, intercept) in zip((-1, 1), lines, strict=True):
            narrow, error = _narrowed(slope, magnitude(inputs[0]), roundings=2)
            if pieces > 1:
                error = error.unflatten(1, (-1, pieces)).sum(2)
            ends.append(intercept + side * error)
            slopes.append(narrow)
        return Linearization(between(*ends), rest=(pieces, *slopes))

    def backward(self, a: Coefficients, linearization: Linearization) -> list[Coefficients]:
        pieces, below, above = linearization.rest
        positive, negative = a.positive, a.negative
        if pieces > 1:
            positive, negative = (x.repeat_interleave(pieces, 2) for x in (positive, negative))
        inputs = positive * a.part_of(below)
        inputs += negative * a.part_of(above)
        return [a.replace(inputs)]


class MaxPool(Operation):
    """The largest number of each rectangle, without padding, of the values of an activation.

    Together they take one step backward, in which the numbers that no bound uses do not appear.

    Args:
        kernel: height and width of a rectangle.
        stride: from one rectangle to the next.
        relaxation: of the activation before it, if there is one.
    """

    is_affine = False

    def __init__(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        relaxation: Relaxation | None = None,
    ) -> None:
        self._kernel, self._stride, self._relaxation = kernel, stride, relaxation

    def after(self, activation: Activation) -> MaxPool:
        """Return the same with an activation before it."""
        return MaxPool(self._kernel, self._stride, activation.relaxation)

    def interval(self, *inputs: Range) -> Range:
        lower, upper = (self._rectangles(end).amax(-1) for end in self._activated(inputs[0]))
        return lower, upper

    def linearize(self, *inputs: Range) -> Linearization:
        lower, upper = (self._rectangles(end) for end in self._activated(inputs[0]))
        lines = maximum_lines(lower, upper, dim=-1)
        if self._relaxation is not None:
            inner = self._relaxation.lines(*inputs[0], dtype=torch.float32)
            lines = self._composed(lines[0], inner[0], -1), self._composed(lines[1], inner[1], 1)
        size = self._rectangles(magnitude(inputs[0]))
        # An input may be in several rectangles, whose coefficients are added.
        roundings = 3
        for length, step in zip(self._kernel, self._stride, strict=True):
            roundings *= -(-length // step)
        ends, slopes = [], []
        for side, (slope, intercept) in zip((-1, 1), lines, strict=True):
            narrow, error = _narrowed(slope, size, roundings)
            ends.append(intercept + side * error.sum(-1))
            slopes.append(narrow.unbind(-1))
        return Linearization(between(*ends), rest=slopes)

    def backward(self, a: Coefficients, linearization: Linearization) -> list[Coefficients]:
        below, above = linearization.rest

        def add(part: Tensor, k: int) -> None:
            part.addcmul_(a.positive, a.part_of(below[k]))
            part.addcmul_(a.negative, a.part_of(above[k]))

        return [spread(a, self._kernel, self._stride, len(below[0]), add)]

    def _activated(self, inputs: Range) -> Range:
        if self._relaxation is None:
            return inputs
        return self._relaxation.interval(*inputs, dtype=torch.float32)

    def _rectangles(self, x: Tensor) -> Tensor:
        """Return (N, C, H', W', numbers of a rectangle)."""
        for dim, size, step in zip((2, 3), self._kernel, self._stride, strict=True):
            x = x.unfold(dim, size, step)
        return x.flatten(4)

    def _composed(self, outer: Line, inner: Line, side: int) -> Line:
        """Put the line of each input into one of the maximum, whose slopes are not negative."""
        slope, intercept = map(self._rectangles, inner)
        # Where a slope is 0, an infinite intercept does not matter.
        terms = torch.where(outer[0] > 0, outer[0] * intercept, 0.0)
        # Rounded outward: these terms may cancel each other.
        room = ROUNDING * (terms.abs().sum(-1) + outer[1].abs())
        return outer[0] * slope, outer[1] + terms.sum(-1) + side * room


def _narrowed(slope: Tensor, size: Tensor, roundings: int) -> tuple[Tensor, Tensor]:
    r"""Return slopes in float32, and the error of k x with so many roundings for \|x\| <= size."""
    narrow = slope.float()
    error = (slope - narrow.double()).abs() * size + gamma(roundings) * narrow.abs() * size
    # Where the size is infinite, the slope is 0 and so is the error.
    return narrow, error.nan_to_num_(0.0)
