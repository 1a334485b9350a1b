"""Which relaxation belongs to an activation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor, nn

from pade_bench.activations import APL, PAU, RPAU, SLAF, Maxout, Mixture, SReLU
from pade_bench.bounds import smooth
from pade_bench.bounds.curves import Relaxation
from pade_bench.bounds.maximum import ChannelMaximum
from pade_bench.bounds.piecewise import PiecewiseLinear
from pade_bench.bounds.rational import Rational
from pade_bench.errors import ConfigurationError

Numbers = tuple[float, ...]


def relaxation_of(activation: nn.Module) -> Relaxation:
    """Return what is known of an activation, with the parameters that it has now.

    Its class says it itself by a method ``relaxation()``, or is one of the classes of
    ``configs/activation``; a class derived from one of these may compute something else, and
    counts as unknown.

    Raises:
        ConfigurationError: nothing is known of this class, its parameters are not finite, or it
            draws random numbers, as it is in training mode.
    """
    name = _describe(activation)
    for parameter, values in activation.named_parameters():
        if not bool(values.isfinite().all()):
            raise ConfigurationError(
                f"activation {name}: its parameter {parameter} is not finite: {values.tolist()}."
            )
    if activation.training and isinstance(activation, (RPAU, nn.RReLU)):
        raise ConfigurationError(
            f"activation {name} is in training mode, in which it is random; call eval() first."
        )
    if callable(own := getattr(activation, "relaxation", None)):
        return own()
    find = _RELAXATIONS.get(type(activation))
    relaxation = find(activation) if find else None
    if relaxation is None:
        known = ", ".join(sorted({kind.__name__ for kind in _RELAXATIONS}))
        raise ConfigurationError(
            f"activation {name} has no bounds: they are known of {known}, and of classes with a "
            "method relaxation() that returns a pade_bench.bounds.Relaxation."
        )
    return relaxation


def has_relaxation(module: nn.Module) -> bool:
    """Tell whether bounds are known of the module's class."""
    return type(module) in _RELAXATIONS or callable(getattr(module, "relaxation", None))


def _describe(activation: nn.Module) -> str:
    text = " ".join(repr(activation).split())
    return text if len(text) <= 80 else type(activation).__name__


def _numbers(parameter: Tensor) -> Numbers:
    return tuple(parameter.detach().double().flatten().tolist())


# Roots are looked for once, however often and for whatever image a unit is asked about.
@functools.lru_cache(maxsize=1024)
def _rational(numerator: Numbers, denominator: Numbers, form: str) -> Rational:
    return Rational([Fraction(c) for c in numerator], [Fraction(c) for c in denominator], form)


@functools.lru_cache(maxsize=1024)
def _polynomial(coefficients: Numbers) -> Rational:
    taylor = [Fraction(c) / math.factorial(k) for k, c in enumerate(coefficients)]
    return Rational(taylor, [], "abs_of_sum")


def _pau(unit: PAU) -> Relaxation:
    return _rational(_numbers(unit.numerator), _numbers(unit.denominator), unit.form)


def _leaky(slope: float) -> Relaxation:
    pieces = [(Fraction(slope), Fraction(0)), (Fraction(1), Fraction(0))]
    return PiecewiseLinear([0.0], pieces, size=(0, max(1, abs(slope))))


def _prelu(activation: nn.PReLU) -> Relaxation | None:
    slopes = _numbers(activation.weight)
    return _leaky(slopes[0]) if len(slopes) == 1 else None


def _clipped(low: float, high: float) -> Relaxation:
    pieces = [(Fraction(s), Fraction(c)) for s, c in ((0, low), (1, 0), (0, high))]
    return PiecewiseLinear([low, high], pieces, size=(max(abs(low), abs(high)), 1))


def _apl(activation: APL) -> Relaxation:
    hinges = list(zip(_numbers(activation.slopes), _numbers(activation.offsets), strict=True))
    knots = sorted({0.0, *(b for _, b in hinges)})
    edges = [knots[0] - 1, *knots, knots[-1] + 1]
    pieces = []
    for begin, end in pairwise(edges):
        middle = (Fraction(begin) + Fraction(end)) / 2
        active = [(Fraction(a), Fraction(b)) for a, b in hinges if b > middle]
        slope = (middle > 0) - sum(a for a, _ in active)
        pieces.append((Fraction(slope), Fraction(sum(a * b for a, b in active))))
    size = sum(abs(a * b) for a, b in hinges), 1 + sum(abs(a) for a, _ in hinges)
    return PiecewiseLinear(knots, pieces, size)


def _srelu(activation: SReLU) -> Relaxation:
    t_l, a_l, t_r, a_r = (
        Fraction(p.item())
        for p in (
            activation.left_threshold,
            activation.left_slope,
            activation.right_threshold,
            activation.right_slope,
        )
    )
    left, right = (a_l, t_l - a_l * t_l), (a_r, t_r - a_r * t_r)
    # Where the thresholds have crossed, the right one decides.
    knots, pieces = [t_r], [left, right]
    if t_l < t_r:
        knots, pieces = [t_l, t_r], [left, (Fraction(1), Fraction(0)), right]
    size = sum(float(abs(a * t) + abs(t)) for a, t in ((a_l, t_l), (a_r, t_r)))
    steepest = max(1.0, *(abs(float(a)) for a in (a_l, a_r)))
    return PiecewiseLinear([float(t) for t in knots], pieces, size=(size, steepest))


def _mixture(activation: Mixture) -> Relaxation:
    # The module computes the weight in the type of its parameter.
    w = activation.logit.detach().sigmoid()
    pieces = [(Fraction(w.item()), Fraction(0)), (Fraction(1), Fraction(0))]
    return PiecewiseLinear([0.0], pieces, (0, 2), parameter_error=8 * torch.finfo(w.dtype).eps)


def _celu(activation: nn.CELU) -> Relaxation | None:
    alpha = activation.alpha
    return smooth.exponential(1.0, alpha, 1 / alpha) if alpha > 0 else None


def _selu(_: nn.SELU) -> Relaxation:
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return smooth.exponential(scale, scale * alpha, 1.0)


def _softplus(activation: nn.Softplus) -> Relaxation | None:
    beta, threshold = activation.beta, activation.threshold
    return smooth.softplus(beta, threshold) if beta > 0 else None


_RELAXATIONS: dict[type[nn.Module], Callable[..., Relaxation | None]] = {
    PAU: _pau,
    RPAU: _pau,
    SLAF: lambda activation: _polynomial(_numbers(activation.coefficients)),
    Maxout: lambda activation: ChannelMaximum(activation.channel_multiplier),
    Mixture: _mixture,
    APL: _apl,
    SReLU: _srelu,
    nn.ReLU: lambda _: _leaky(0.0),
    nn.ReLU6: lambda _: _clipped(0.0, 6.0),
    nn.LeakyReLU: lambda activation: _leaky(activation.negative_slope),
    nn.RReLU: lambda activation: _leaky((activation.lower + activation.upper) / 2),
    nn.PReLU: _prelu,
    nn.ELU: lambda activation: smooth.exponential(1.0, activation.alpha, 1.0),
    nn.CELU: _celu,
    nn.SELU: _selu,
    nn.SiLU: lambda _: smooth.swish(),
    nn.GELU: lambda activation: smooth.gelu() if activation.approximate == "none" else None,
    nn.Mish: lambda _: smooth.mish(),
    nn.Softplus: _softplus,
    nn.Tanh: lambda _: smooth.tanh(),
    nn.Sigmoid: lambda _: smooth.sigmoid(),
}
