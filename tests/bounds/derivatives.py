"""The smooth activations and their first two derivatives in rigorous interval arithmetic."""

import flint
from arb import exact
from flint import arb, arb_series


def _normal(x):
    return (1 + (x / arb(2).sqrt()).erf()) / 2


# Written such that few numbers cancel each other, so that their balls stay small.
SMOOTH = {
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "tanh": lambda x: 1 - 2 / ((2 * x).exp() + 1),
    "swish": lambda x: x / (1 + (-x).exp()),
    "gelu": lambda x: x * _normal(x),
    "mish": lambda x: x - 2 * x / ((2 * x).exp() + 2 * x.exp() + 2),
    "softplus": lambda x: (1 + x.exp()).log(),
}


def ball(low, high):
    """Return a number that may be any from ``low`` to ``high``."""
    middle = (arb(low) + arb(high)) / 2
    return middle + arb(0, (arb(high) - arb(low)) / 2)


def derivative(function, x, order):
    """Return F(x), F'(x) or F''(x)."""
    flint.ctx.cap = order + 1
    series = function(arb_series([x, 1]))
    return series[order] * (2 if order == 2 else 1)


def sign(function, low, high, order):
    """Return the sign that F, F' or F'' has everywhere on an interval; ``None`` if it has none."""
    pending, signs = [(exact(low), exact(high), 0)], set()
    while pending:
        begin, end, depth = pending.pop()
        found = derivative(function, ball(begin, end), order)
        if found > 0 or found < 0:
            signs.add(1 if found > 0 else -1)
        elif depth > 100:
            return None
        else:
            middle = (begin + end) / 2
            pending += [(begin, middle, depth + 1), (middle, end, depth + 1)]
        if len(signs) > 1:
            return None
    return signs.pop()
