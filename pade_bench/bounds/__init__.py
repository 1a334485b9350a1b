"""Certified bounds: ranges of activations on intervals, lines around them, outputs of networks.

    low, high = interval(activation, lower, upper)
    (k1, c1), (k2, c2) = lines(activation, lower, upper)

Every bound holds for real arithmetic and for what floating point makes of it; how is derived in
``docs/certification.md``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pade_bench.bounds.catalog import relaxation_of
from pade_bench.bounds.curves import Line, Range, Relaxation
from pade_bench.errors import ConfigurationError

__all__ = ["Relaxation", "interval", "lines"]


def interval(activation: nn.Module, lower: Tensor, upper: Tensor) -> Range:
    """Return the smallest and the largest value of an activation on each interval.

    Rounded outward: the bounds hold for every real x in [lower, upper] and the real F(x), and for
    every float64 x and what the module computes of it.

    Args:
        activation: of a class in ``configs/activation``, or one with a method ``relaxation()``, in
            evaluation mode.
        lower: real, of any shape; infinite ends are allowed, and give infinite bounds.
        upper: like ``lower``.

    Returns:
        (low, high), float64 and of the shape of ``lower``. Infinite where the evaluation might
        overflow. Of ``Maxout`` they have as many channels as it returns.

    Raises:
        ConfigurationError: nothing is known of the activation, it has parameters that are not
            finite, an interval is none, or a Padé unit of the form ``"unsafe"`` might have a pole
            in an interval.
    """
    relaxation, lower, upper = _checked(activation, lower, upper)
    return relaxation.interval(lower, upper)


def lines(activation: nn.Module, lower: Tensor, upper: Tensor) -> tuple[Line, Line]:
    """Return lines below and above an activation: k1 x + c1 <= F(x) <= k2 x + c2 on each interval.

    They are close to those with the smallest mean distance to F, and sound as :func:`interval` is.

    Args:
        activation: see :func:`interval`, as for the other arguments.
        lower: see there.
        upper: see there.

    Returns:
        ((k1, c1), (k2, c2)), float64 and of the shape of ``lower``. Of ``Maxout``, whose lines are
        linear functions of all channels that make one, c1 and c2 have as many channels as it
        returns.

    Raises:
        ConfigurationError: see :func:`interval`.
    """
    relaxation, lower, upper = _checked(activation, lower, upper)
    return relaxation.lines(lower, upper)


def _checked(
    activation: nn.Module, lower: Tensor, upper: Tensor
) -> tuple[Relaxation, Tensor, Tensor]:
    relaxation = relaxation_of(activation)
    lower, upper = lower.detach().to(torch.float64), upper.detach().to(torch.float64)
    if lower.shape != upper.shape:
        raise ConfigurationError(
            f"lower has the shape {tuple(lower.shape)}, upper {tuple(upper.shape)}: they must be "
            "the same."
        )
    ordered = lower <= upper
    if not bool(ordered.all()):
        first = (~ordered).nonzero()[0].tolist()
        ends = f"{lower[tuple(first)].item():g}, {upper[tuple(first)].item():g}"
        raise ConfigurationError(f"[{ends}], at {first}, is no interval: lower <= upper must hold.")
    undefined = relaxation.undefined(lower, upper)
    if bool(undefined.any()):
        first = undefined.nonzero()[0].tolist()
        ends = f"{lower[tuple(first)].item():g}, {upper[tuple(first)].item():g}"
        raise ConfigurationError(
            f"activation {type(activation).__name__} may have a pole in [{ends}], at {first}: a "
            'unit of the form "unsafe" has bounds only where its denominator has no root.'
        )
    return relaxation, lower, upper
