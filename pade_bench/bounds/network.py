"""Bounds of what a network computes in float32 for all inputs in a box.

Interval bounds (IBP: Gowal et al., *On the Effectiveness of Interval Bound Propagation*, 2018) go
forward from layer to layer. Linear bounds (CROWN: Zhang et al., *Efficient Neural Network
Robustness Certification with General Activation Functions*, NeurIPS 2018) go backward from what is
to be bounded to the input; here they also bound the inputs of every activation, whose lines depend
on them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pade_bench.bounds.affine import Linear, Linearization
from pade_bench.bounds.coefficients import Coefficients, magnitude, widen
from pade_bench.bounds.convolution import Convolution
from pade_bench.bounds.curves import Range
from pade_bench.bounds.trace import Step, steps_of
from pade_bench.runs.certificate import METHODS

__all__ = ["METHODS", "BoundedNetwork"]

# Float32 numbers in the largest tensor, of which there are a few at a time.
BUDGET = 1 << 24
MOST_IMAGES = 32
# What the coefficients lose below the smallest normal float32: at most 2^-149 in each of fewer than
# 2^48 operations.
_LOST = 2.0**-100


class BoundedNetwork:
    """A network, and bounds of its outputs.

    Args:
        network: maps (N, C, H, W) to (N, F) in float32, in evaluation mode. Its parameters are
            those that it has now.

    Raises:
        ConfigurationError: see :func:`pade_bench.bounds.trace.steps_of`.
    """

    def __init__(self, network: nn.Module) -> None:
        self.steps = steps_of(network)

    @torch.no_grad()
    def lower_bounds(self, lower: Tensor, upper: Tensor, rows: Tensor, method: str) -> Tensor:
        """Bound linear functions of the outputs from below, for all inputs in a box.

        Args:
            lower: (N, C, H, W) float64.
            upper: see ``lower``.
            rows: (N or 1, S, F), the coefficients of the functions.
            method: one of ``METHODS``.

        Returns:
            (N, S), float64; -infinity where nothing is known.
        """
        batch = _Batch(self.steps, (lower, upper), with_lines=method == "crown")
        return batch.lower_bounds(len(self.steps) - 1, Coefficients(rows.float()))

    @torch.no_grad()
    def images_at_once(self, image: Tensor, rows: int, method: str) -> int:
        """Return for how many images bounds take a few times 128 MB.

        Args:
            image: (C, H, W), any input.
            rows: how many functions of the outputs are bounded.
            method: one of ``METHODS``.
        """
        box = image.double()[None]
        layers = [lower.numel() for lower, _ in _Batch(self.steps, (box, box), False).bounds]
        numbers = max(sum(layers), rows * max(layers) if method == "crown" else 0)
        return max(1, min(MOST_IMAGES, BUDGET // numbers))


class _Batch:
    """Boxes on their way through a network, some at a time.

    Args:
        steps: of the network.
        box: the bounds of its input.
        with_lines: whether lines around activations are used, or their ranges only.

    Attributes:
        bounds: of the outputs of each step.
    """

    def __init__(self, steps: list[Step], box: Range, with_lines: bool) -> None:
        self.bounds: list[Range] = []
        self._steps, self._with_lines = steps, with_lines
        self._n = len(box[0])
        self._linearizations: dict[int, Linearization] = {}
        self._ends: dict[int, Range] = {}
        # An interval is as good as a linear bound while at most one layer has mixed the pixels.
        mixed: list[int] = []
        for i, step in enumerate(steps):
            if step.operation is None:
                self.bounds.append(box)
                mixed.append(0)
                continue
            self.bounds.append(_known(step.operation.interval(*self._inputs(i))))
            mixes = isinstance(step.operation, (Convolution, Linear)) or len(step.inputs) > 1
            mixed.append(max(mixed[j] for j in step.inputs) + mixes)
            if with_lines and mixed[i] > 1 and self._needs_lines(i):
                self._tighten(i)

    def lower_bounds(self, i: int, start: Coefficients) -> Tensor:
        """Bound Σ start y from below, for the outputs y of step i: (N, S) float64."""
        total, _ = self._go_back(i, start)
        return total

    def _go_back(self, i: int, start: Coefficients) -> tuple[Tensor, int]:
        """Return the lower bounds, and the size of the largest coefficients on the way."""
        pending, largest = {i: start}, 0
        total = torch.zeros(self._n, start.values.shape[1], dtype=torch.float64)
        size = torch.ones(self._n, dtype=torch.float64)
        for j in range(i, -1, -1):
            a = pending.pop(j, None)
            if a is None:
                continue
            largest = max(largest, a.values.numel())
            size = torch.maximum(size, magnitude(self.bounds[j]).flatten(1).amax(1))
            operation = self._steps[j].operation
            if operation is None or not (operation.is_affine or self._with_lines):
                total = total + a.weigh(*self._end(j))
                continue
            linearization = self._linearization(j)
            if linearization.constant is not None:
                total = total + linearization.constant(a)
            sources = self._steps[j].inputs
            for k, b in zip(sources, operation.backward(a, linearization), strict=True):
                if k in pending:
                    b = pending[k].plus(b)
                    # Their sum was rounded.
                    room = magnitude(self.bounds[k]) * 2.0**-23
                    total = total + b.weigh(*widen(-room, room))
                pending[k] = b
        total = total - _LOST * size[:, None]
        return total.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf), largest

    def _inputs(self, i: int) -> list[Range]:
        return [self.bounds[j] for j in self._steps[i].inputs]

    def _needs_lines(self, i: int) -> bool:
        """Tell whether step i is affine and an input of one that is not."""
        operation = self._steps[i].operation
        if operation is None or not operation.is_affine:
            return False
        users = [step.operation for step in self._steps[i + 1 :] if i in step.inputs]
        return any(user is not None and not user.is_affine for user in users)

    def _tighten(self, i: int) -> None:
        """Replace the intervals of a layer by linear bounds, where those are better."""
        lower, upper = self.bounds[i]
        for where, start in self._each(i):
            found = self.lower_bounds(i, start)
            low, high = found.chunk(2, dim=1)
            lower[where] = torch.maximum(lower[where], low)
            upper[where] = torch.minimum(upper[where], -high)

    def _each(self, i: int) -> Iterator[tuple[tuple[slice | int, ...], Coefficients]]:
        """Yield every number of a layer and its negative, some channels of a pixel at a time.

        A pixel's bounds depend on few pixels of the layers before, so their coefficients are few.

        Yields:
            where the numbers are in the layer, and the coefficients that stand for them.
        """
        channels, *shape = self.bounds[i][0].shape[1:]
        identity = torch.eye(channels)
        pixels: list[tuple[int, ...]] = list(itertools.product(*map(range, shape)))
        middle = tuple(n // 2 for n in shape)

        def start(pixel: tuple[int, ...], chosen: slice) -> Coefficients:
            rows = torch.cat((identity[chosen], -identity[chosen]))[None]
            return Coefficients(rows[..., None, None], *pixel) if pixel else Coefficients(rows)

        # The pixel in the middle depends on as many others as any: it shows how much memory two
        # numbers take.
        _, largest = self._go_back(i, start(middle, slice(1)))
        step = max(1, BUDGET // largest)
        for pixel in pixels:
            for begin in range(0, channels, step):
                chosen = slice(begin, begin + step)
                yield (slice(None), chosen, *pixel), start(pixel, chosen)

    def _linearization(self, j: int) -> Linearization:
        if j not in self._linearizations:
            operation = self._steps[j].operation
            assert operation is not None
            self._linearizations[j] = operation.linearize(*self._inputs(j))
        return self._linearizations[j]

    def _end(self, j: int) -> Range:
        if j not in self._ends:
            self._ends[j] = widen(*self.bounds[j])
        return self._ends[j]


def _known(bounds: Range) -> Range:
    """Return bounds in which what is undefined is infinite."""
    lower, upper = bounds
    lower = lower.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    return lower, upper.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
