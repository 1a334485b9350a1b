"""Interval bounds and backward linear bounds of the affine operations of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pade_bench.bounds.coefficients import Coefficients, gamma, magnitude, widen
from pade_bench.bounds.curves import Range

_TINY = torch.finfo(torch.float32).tiny


Addend = Callable[[Coefficients], Tensor]


@dataclass
class Linearization:
    """An operation bounded for inputs within bounds: its outputs are A x plus something.

    Attributes:
        constant: from coefficients of the outputs to what is certain to be added, (N or 1, S);
            ``None`` if nothing is.
        rest: what else the operation needs to go backward.
    """

    constant: Addend | None
    rest: Any = None


def between(low: Tensor, high: Tensor) -> Addend:
    """Return what is added to a bound where the addend of each output lies between two numbers."""
    low, high = widen(low, high)
    return lambda a: a.weigh(low, high)


class Operation(ABC):
    """One step of a network.

    All bounds are (N, C, H, W) or (N, F) in float64, and hold for what the network computes in
    float32, whatever the order of its sums.
    """

    is_affine = True

    @abstractmethod
    def interval(self, *inputs: Range) -> Range:
        """Bound the outputs for inputs within bounds."""

    @abstractmethod
    def linearize(self, *inputs: Range) -> Linearization:
        """Prepare :meth:`backward` for inputs within bounds."""

    @abstractmethod
    def backward(self, a: Coefficients, linearization: Linearization) -> list[Coefficients]:
        """Return the coefficients of each input."""


class Affine(Operation):
    """y = W x + b.

    Attributes:
        fan_in: how many inputs an output is made of, at most.
        fan_out: how many outputs an input goes into, at most.
    """

    fan_in = 1
    fan_out = 1
    bias: Tensor | None = None  # float64, of a shape that can be added to outputs

    @abstractmethod
    def apply(self, x: Tensor, absolute: bool = False) -> Tensor:
        r"""Return W x, or \|W\| x, for float64."""

    @abstractmethod
    def transpose(self, a: Coefficients, shape: torch.Size) -> Coefficients:
        """Return A W, for inputs of this shape; each number is a sum of ``fan_out`` products."""

    def error(self, inputs: Range, roundings: int) -> Tensor:
        r"""Bound the error of so many roundings of products and b: γ (\|W\| \|x\| + \|b\|)."""
        size = self.apply(magnitude(inputs), absolute=True)
        if self.bias is not None:
            size += self.bias.abs()
        return size.mul_(gamma(roundings)).add_(roundings * _TINY)

    def interval(self, *inputs: Range) -> Range:
        ((lower, upper),) = inputs
        center = self.apply(0.5 * lower + 0.5 * upper)
        if self.bias is not None:
            center += self.bias
        radius = self.apply(0.5 * upper - 0.5 * lower, absolute=True)
        radius += self.error(inputs[0], self.fan_in + 2)
        return center - radius, center + radius

    def linearize(self, *inputs: Range) -> Linearization:
        # Those of the network, and those of A W, where W may have been rounded to float32.
        error = self.error(inputs[0], self.fan_in + 2 + self.fan_out + 2)
        width = error.shape[-1] if error.dim() == 4 else 1
        radius = error.flatten(2).amax(2) if error.dim() == 4 else error
        center = torch.zeros_like(radius[:1])
        if self.bias is not None:
            center = self.bias.flatten()[None]
            radius = radius + gamma(width + 2) * center.abs()
        radius = radius * (1 + gamma(width + 2))
        return Linearization(lambda a: a.weigh_channels(center, radius), inputs[0][0].shape)

    def backward(self, a: Coefficients, linearization: Linearization) -> list[Coefficients]:
        return [self.transpose(a, linearization.rest)]


class Linear(Affine):
    """A fully connected layer, (N, F) to (N, F')."""

    def __init__(self, module: nn.Linear) -> None:
        self._weight = module.weight.detach()
        self.bias = None if module.bias is None else module.bias.detach().double()
        self.fan_out, self.fan_in = self._weight.shape

    def apply(self, x: Tensor, absolute: bool = False) -> Tensor:
        weight = self._weight.double()
        return F.linear(x, weight.abs() if absolute else weight)

    def transpose(self, a: Coefficients, shape: torch.Size) -> Coefficients:
        return Coefficients(a.values @ self._weight)


class BatchNorm(Affine):
    """Batch norm in evaluation mode: a scale and a shift for each channel."""

    fan_in = 8  # the roundings of (x - mean) / sqrt(variance + ε) w + b, in whatever order

    def __init__(self, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        assert module.running_mean is not None
        assert module.running_var is not None
        variance = module.running_var.double() + module.eps
        scale, shift = variance.rsqrt(), torch.zeros_like(variance)
        if module.affine:
            scale, shift = scale * module.weight.detach().double(), module.bias.detach().double()
        shape = (-1, 1, 1) if isinstance(module, nn.BatchNorm2d) else (-1,)
        self._scale, self._mean = scale.view(shape), module.running_mean.double().view(shape)
        self._shift = shift.view(shape)
        self.bias = self._shift - self._mean * self._scale

    def apply(self, x: Tensor, absolute: bool = False) -> Tensor:
        return x * (self._scale.abs() if absolute else self._scale)

    def error(self, inputs: Range, roundings: int) -> Tensor:
        # The mean is subtracted: what counts is the size of both.
        size = (magnitude(inputs) + self._mean.abs()) * self._scale.abs() + self._shift.abs()
        return size.mul_(gamma(roundings)).add_(roundings * _TINY * (1 + self._scale.abs()))

    def transpose(self, a: Coefficients, shape: torch.Size) -> Coefficients:
        return a.replace(a.values * self._scale.float())


class AveragePool(Affine):
    """The mean of rectangles, without padding; of the whole image if ``kernel`` is ``None``."""

    def __init__(
        self, kernel: tuple[int, int] | None = None, stride: tuple[int, int] = (1, 1)
    ) -> None:
        self._kernel, self._stride = kernel, stride
        if kernel is not None:
            self.fan_in = kernel[0] * kernel[1]
            self.fan_out = -(-kernel[0] // stride[0]) * -(-kernel[1] // stride[1])

    def apply(self, x: Tensor, absolute: bool = False) -> Tensor:
        if self._kernel is None:
            return F.adaptive_avg_pool2d(x, 1)
        return F.avg_pool2d(x, self._kernel, self._stride)

    def error(self, inputs: Range, roundings: int) -> Tensor:
        if self._kernel is None:
            roundings += inputs[0].shape[-2] * inputs[0].shape[-1]
        return super().error(inputs, roundings)

    def transpose(self, a: Coefficients, shape: torch.Size) -> Coefficients:
        h, w = self._kernel or (shape[-2], shape[-1])
        share = a.values / (h * w)
        return spread(a, (h, w), self._stride, len(a.values), lambda part, _: part.add_(share))


def spread(
    a: Coefficients,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    n: int,
    add: Callable[[Tensor, int], object],
) -> Coefficients:
    """Return coefficients of the inputs of a pooling operation.

    Args:
        a: those of its outputs.
        kernel: height and width of a rectangle of inputs.
        stride: from one rectangle to the next.
        n: images that the result differs for.
        add: given the coefficients of the k-th input of every rectangle, of the shape of ``a``, and
            k, adds to them what they have.
    """
    (down, right), (h, w) = stride, a.values.shape[-2:]
    size = (h - 1) * down + kernel[0], (w - 1) * right + kernel[1]
    total = a.values.new_zeros(n, *a.values.shape[1:3], *size)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = slice(i, i + (h - 1) * down + 1, down)
            columns = slice(j, j + (w - 1) * right + 1, right)
            add(total[..., rows, columns], i * kernel[1] + j)
    return Coefficients(total, a.top * down, a.left * right)


class Sum(Operation):
    """x + y of two layers of one shape."""

    def interval(self, *inputs: Range) -> Range:
        (l1, u1), (l2, u2) = inputs
        error = self._error(*inputs)
        return l1 + l2 - error, u1 + u2 + error

    def _error(self, *inputs: Range) -> Tensor:
        return (magnitude(inputs[0]) + magnitude(inputs[1])) * gamma(2) + _TINY

    def linearize(self, *inputs: Range) -> Linearization:
        error = self._error(*inputs)
        return Linearization(between(-error, error))

    def backward(self, a: Coefficients, linearization: Linearization) -> list[Coefficients]:
        return [a, a]


class Concatenation(Operation):
    """Layers one after another, along the channels."""

    def interval(self, *inputs: Range) -> Range:
        lower, upper = (torch.cat(ends, dim=1) for ends in zip(*inputs, strict=True))
        return lower, upper

    def linearize(self, *inputs: Range) -> Linearization:
        return Linearization(None, rest=[lower.shape[1] for lower, _ in inputs])

    def backward(self, a: Coefficients, linearization: Linearization) -> list[Coefficients]:
        return [a.replace(part) for part in a.values.split(linearization.rest, dim=2)]


class Flatten(Operation):
    """(N, C, H, W) to (N, C·H·W)."""

    def interval(self, *inputs: Range) -> Range:
        ((lower, upper),) = inputs
        return lower.flatten(1), upper.flatten(1)

    def linearize(self, *inputs: Range) -> Linearization:
        return Linearization(None, rest=inputs[0][0].shape[1:])

    def backward(self, a: Coefficients, linearization: Linearization) -> list[Coefficients]:
        return [Coefficients(a.values.unflatten(2, linearization.rest))]
