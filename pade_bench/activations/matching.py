"""Starting a Padé unit as the function that it replaces, over all inputs that may arrive.

A fit over [-3, 3] alone says nothing of what the unit does beyond: hardswish becomes a quadratic
that reaches 442 at 50. So the fit here minimizes the mean square of the error relative to the
function's own mean square

    by default     over normal inputs of mean 0, averaged over deviations from 1/4 to 4
    with Inputs    over the values that really arrived

and, with a small weight, relative to the function's tails, far beyond these. Where Inputs are only
an example, their size alone counts, and only if the function has a kink at 0, which cannot be
followed equally well at every scale: the deviations are then from 1/2 to 2 times that size.

Two things hold by construction. F grows as the function does, as a power of |x| and with the same
or opposite signs at the ends where the function has these, which the degrees of P and Q decide. And
where the function is smooth at 0, F(0) and F'(0) are the function's: the signals of a deep network
may be tiny, and an offset of 0.001 would drown them.

What no coefficients can give are ends as different as ReLU's slopes, 0 and 1: far out F has one
leading term. Each end stays close to the function's for some way and approaches their mean beyond.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pade_bench.activations.fitting import Array, evaluate, fit_function, fit_points, leading_power
from pade_bench.activations.inputs import Inputs
from pade_bench.errors import ConfigurationError
from pade_bench.ops import Unit, reference

Function = Callable[[Tensor], Tensor]

_DEVIATIONS = np.geomspace(1 / 4, 4, 9)
# More of them, so that the smallest and the largest weigh less.
_DEVIATIONS_KINK = np.geomspace(1 / 4, 4, 17)
_DEVIATIONS_AROUND = np.geomspace(1 / 2, 2, 9)  # a size that is known
_SIZES = 2.0**-24, 2.0**24  # for smaller ones, P(50) of degree 5 would overflow in float32
_TAIL_WEIGHT, _TAIL_LENGTH = 1e-3, 16  # to that multiple of where the inputs end
_FAR = 64 * 2.0 ** np.arange(4)  # where growth is read off


class Start(NamedTuple):
    """Coefficients for a unit to start with, and how far off they are."""

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    low: float
    high: float
    error: float  # the largest distance from the function on [low, high]


def match(
    function: Function, degrees: tuple[int, int], form: str, inputs: Inputs | None = None
) -> Start:
    """Fit a Padé unit to a function: once for the same values, deterministically.

    A function whose ends are neither constant nor powers of x, such as sine, is fitted on [-3, 3].

    Args:
        function: maps a float64 tensor to one of the same shape, element by element.
        degrees: m and n, the degrees of numerator and denominator.
        form: one of ``pade_bench.ops.FORMS``.
        inputs: the values that the unit will meet, or an example of them, where these are known.

    Raises:
        ConfigurationError: ``function`` returns something other than one finite number per point.
    """
    ends = _ends(function)
    if ends is None:
        low, high = -3.0, 3.0
        a, b = (tuple(c.tolist()) for c in fit_function(function, degrees, form))
    else:
        used = _used(*ends, degrees, form)
        low, high, a, b = _fit_with_tails(function, inputs, used, form)
        a += (0.0,) * (degrees[0] - used[0])
        b += (0.0,) * (degrees[1] - used[1])
    return Start(a, b, low, high, largest_error(function, a, b, form, low, high))


def largest_error(
    function: Function,
    numerator: Sequence[float],
    denominator: Sequence[float],
    form: str,
    low: float,
    high: float,
) -> float:
    """Return the largest distance of a unit from a function on [low, high]."""
    x = np.linspace(low, high, 4001)
    a, b = (torch.tensor(c, dtype=torch.float64) for c in (numerator, denominator))
    y = reference.formula(torch.from_numpy(x), Unit(a, b, form)).numpy()
    return float(np.abs(y - evaluate(function, x)).max())


def _fit_with_tails(
    function: Function, inputs: Inputs | None, degrees: tuple[int, int], form: str
) -> tuple[float, float, tuple[float, ...], tuple[float, ...]]:
    """Return the range of the inputs and the coefficients."""
    fixed = _at_zero(function) if degrees[0] > 2 else ()
    if inputs is not None and inputs.exact and inputs.low <= inputs.high:
        low, high = inputs.low, inputs.high
        core, share = inputs.distribution()
        shares = share[None]
        reach = min(max(abs(low), abs(high), 1e-3), 1e6)
    else:
        deviations = _DEVIATIONS if fixed else _deviations_of_kink(inputs)
        reach = high = 2 * float(deviations[-1])
        low = -high
        side = np.geomspace(reach / 8000, 2 * reach, 300)
        core = np.concatenate([-side[::-1], [0.0], side])
        z = core / deviations[:, None]
        shares = np.exp(-(z**2) / 2) / deviations[:, None] * np.gradient(core)
        shares /= math.sqrt(2 * math.pi)
    tail = np.geomspace(reach, _TAIL_LENGTH * reach, 100)
    tail = np.concatenate([-tail[::-1], tail])
    y_core, y_tail = evaluate(function, core), evaluate(function, tail)
    # Relative to the function; where it is 0 throughout, to a small part of x.
    squares = np.maximum(shares @ y_core**2, 1e-6 * (shares @ core**2) + 1e-30)
    w_core = (shares / squares[:, None]).mean(axis=0)
    sizes = np.maximum(np.abs(y_tail), np.abs(y_tail[::-1]))
    sizes = np.maximum(sizes, max(np.abs(y_core).max(), 1e-3 * reach))
    w_tail = _TAIL_WEIGHT / tail.size / sizes**2
    points = (np.concatenate(c) for c in ((core, tail), (y_core, y_tail), (w_core, w_tail)))
    x, y, weights = (c.tobytes() for c in points)
    return low, high, *_fit_once(x, y, weights, degrees, form, reach, fixed)


def _deviations_of_kink(inputs: Inputs | None) -> Array:
    """Return the deviations of normal inputs for which a kink at 0 is to be followed."""
    size = 0.0 if inputs is None or not inputs.low <= inputs.high else inputs.size()
    if not size:
        return _DEVIATIONS_KINK
    # Rounded to a power of 2, so that the layers of a network share a few fits.
    return _DEVIATIONS_AROUND * 2.0 ** round(math.log2(min(max(size, _SIZES[0]), _SIZES[1])))


# A network asks for the same fit once per layer.
@functools.lru_cache(maxsize=256)
def _fit_once(
    x: bytes,
    y: bytes,
    weights: bytes,
    degrees: tuple[int, int],
    form: str,
    scale: float,
    fixed: tuple[float, ...],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    points = (np.frombuffer(x), np.frombuffer(y), np.frombuffer(weights))
    a, b = fit_points(points, degrees, form, scale, fixed)
    return tuple(a.tolist()), tuple(b.tolist())


def _ends(function: Function) -> tuple[int, int] | None:
    """Return how a function grows at its ends, None if not as powers of x.

    That is the power of |x| of the larger end, and the sign of f(-x) / f(x) far out: -1 for the
    identity, 1 for |x|, 0 where one end is much smaller than the other, as ReLU's.
    """
    try:
        right, left = evaluate(function, _FAR), evaluate(function, -_FAR)
    except ConfigurationError:
        return None  # it overflows
    sizes = np.maximum(np.abs(right), np.abs(left))
    power = max(round(math.log2(sizes[-1] / sizes[-2])), 0) if sizes[-2] > 0 else 0
    if any(abs(end[-1] / 2.0**power - end[-2]) > 0.02 * sizes[-2] for end in (left, right)):
        return None
    small = np.minimum(np.abs(right), np.abs(left))[-1]
    return power, int(np.sign(left[-1] * right[-1])) if small > 0.5 * sizes[-1] else 0


def _used(power: int, sign: int, degrees: tuple[int, int], form: str) -> tuple[int, int]:
    """Return the degrees with which P / Q grows as a function does, as far as there are any.

    Far out P / Q is a_m x^m / |b_n x^n|: the same at both ends for even m, opposite for odd m.
    """
    m, n = degrees
    for q in range(n, 0, -1):
        p = leading_power(q, form) + power
        if p <= m and sign in (0, (-1) ** p):
            return p, q
    return min(m, leading_power(n, form) + power), n


def _at_zero(function: Function) -> tuple[float, ...]:
    """Return a function's value and slope at 0 if it has a slope there, else nothing."""
    h = 1e-4
    below, value, above = evaluate(function, np.array([-h, 0.0, h])).tolist()
    left, right = (value - below) / h, (above - value) / h
    if abs(left - right) > 0.01 * max(abs(left), abs(right)):
        return ()
    return value, (left + right) / 2
