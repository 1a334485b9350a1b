"""Convolutions, forward on intervals and backward on linear bounds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pade_bench.bounds.affine import Affine
from pade_bench.bounds.coefficients import Coefficients

# Convolutions of so few input channels, such as those of images, do badly in torch's transposition:
# products with a matrix row by row take a quarter to a third of the time.
FEW = 2
MOST_NUMBERS = 1 << 22  # of a matrix that stands for a convolution

Pair = tuple[int, int]


class Convolution(Affine):
    """A convolution of images, padded with zeros, (N, C, H, W) to (N, C', H', W')."""

    def __init__(self, module: nn.Conv2d) -> None:
        self._weight = module.weight.detach()
        self.bias = None if module.bias is None else module.bias.detach().double()[:, None, None]
        self._padding: Pair = module.padding  # type: ignore[assignment]
        self._stride: Pair = module.stride  # type: ignore[assignment]
        self._dilation: Pair = module.dilation  # type: ignore[assignment]
        self._groups = module.groups
        outputs, inputs, height, width = self._weight.shape
        self._kernel = height, width
        self._matrices: dict[Pair, Tensor | None] = {}
        self.fan_in = inputs * height * width
        self.fan_out = outputs // module.groups * height * width

    def apply(self, x: Tensor, absolute: bool = False) -> Tensor:
        weight = self._weight.double()
        weight = weight.abs() if absolute else weight
        options = self._stride, self._padding, self._dilation, self._groups
        return F.conv2d(x, weight, None, *options)

    def transpose(self, a: Coefficients, shape: torch.Size) -> Coefficients:
        n, s = a.values.shape[:2]
        values = self._transposed(a.values.flatten(0, 1)).unflatten(0, (n, s))
        h, w = values.shape[-2:]
        top, rows = _crop(a.top * self._stride[0] - self._padding[0], h, shape[-2])
        left, columns = _crop(a.left * self._stride[1] - self._padding[1], w, shape[-1])
        return Coefficients(values[..., rows, columns], top, left)

    def _transposed(self, values: Tensor) -> Tensor:
        """Return A W on the part that it is not 0 on, (N·S, C', h', w') to (N·S, C, h, w)."""
        if self._weight.shape[1] <= FEW and self._groups == 1:
            return self._by_rows(values)
        size = values.shape[-2], values.shape[-1]
        if size not in self._matrices:
            self._matrices[size] = self._matrix(*size)
        if (matrix := self._matrices[size]) is not None:
            return (values.flatten(1) @ matrix.flatten(1)).unflatten(1, matrix.shape[1:])
        return self._by_convolution(values)

    def _by_convolution(self, values: Tensor) -> Tensor:
        options = self._stride, 0, 0, self._groups, self._dilation
        return F.conv_transpose2d(values, self._weight, None, *options)

    def _by_rows(self, values: Tensor) -> Tensor:
        """Do the same with a matrix that takes a row of all channels to those that it goes into."""
        rows, outputs, height, width = values.shape
        if (matrix := self._matrices.get((1, width))) is None:
            places = torch.eye(outputs * width).view(-1, outputs, 1, width)
            matrix = self._by_convolution(places)[:, :, :: self._dilation[0]].contiguous()
            self._matrices[1, width] = matrix
        products = values.transpose(1, 2).reshape(rows * height, -1) @ matrix.flatten(1)
        products = products.view(rows, height, *matrix.shape[1:])
        size = self._size_before(height, width)
        total = values.new_zeros(rows, matrix.shape[1], *size)
        last = (height - 1) * self._stride[0] + 1
        for i in range(self._kernel[0]):
            first = i * self._dilation[0]
            total[:, :, first : first + last : self._stride[0]] += products[:, :, :, i].transpose(
                1, 2
            )
        return total

    def _matrix(self, height: int, width: int) -> Tensor | None:
        """Return the matrix that does it, (C'·h'·w', C, h, w), where a matrix is faster."""
        outputs, inputs = self._weight.shape[:2]
        before = math.prod(self._size_before(height, width))
        # Where most of it is 0 a convolution is faster.
        filled = math.prod(self._kernel) / before
        numbers = outputs * height * width * inputs * before
        if self._groups > 1 or numbers > MOST_NUMBERS or filled < 1 / 2:
            return None
        places = torch.eye(outputs * height * width).unflatten(1, (outputs, height, width))
        return self._by_convolution(places)

    def _size_before(self, height: int, width: int) -> Pair:
        """Return height and width of the part of the input that such a part is made of."""
        rows = (height - 1) * self._stride[0] + (self._kernel[0] - 1) * self._dilation[0] + 1
        columns = (width - 1) * self._stride[1] + (self._kernel[1] - 1) * self._dilation[1] + 1
        return rows, columns


def _crop(start: int, size: int, limit: int) -> tuple[int, slice]:
    """Return the first of ``size`` places from ``start`` on that exist, and which of them exist."""
    first = max(start, 0)
    return first, slice(first - start, min(start + size, limit) - start)
