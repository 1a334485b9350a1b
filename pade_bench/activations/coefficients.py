"""Initial coefficients of the Padé unit, by name or fitted to a function.

``coefficients.csv`` holds them for degrees (5, 4), with the largest error on [-3, 3] of each:

    sum_of_abs   Table 6 of the paper as printed; it was fitted for this form
    abs_of_sum   our own fits, as Table 6 is up to 1.05 off in this form
    unsafe       the same fits: their A(x) is nowhere negative, so 1 + |A(x)| = 1 + A(x)

and in every form the exact Padé approximants of sigmoid, tanh and swish, whose denominators are
even with positive coefficients. ``scripts/fit_coefficients.py`` writes the file.
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
from fractions import Fraction

import torch
from torch.nn import functional as F

from pade_bench.activations.factory import activation_factory, activation_names
from pade_bench.activations.fitting import fit_function
from pade_bench.activations.inputs import Inputs
from pade_bench.activations.matching import Function, Start, largest_error, match
from pade_bench.errors import ConfigurationError, one_of

FUNCTIONS: dict[str, Function] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "swish": F.silu,
    "relu": F.relu,
    "lrelu_0.01": functools.partial(F.leaky_relu, negative_slope=0.01),
    "lrelu_0.20": functools.partial(F.leaky_relu, negative_slope=0.20),
    "lrelu_0.25": functools.partial(F.leaky_relu, negative_slope=0.25),
    "lrelu_0.30": functools.partial(F.leaky_relu, negative_slope=0.30),
    "lrelu_-0.5": functools.partial(F.leaky_relu, negative_slope=-0.5),
}
TABLE_DEGREES = (5, 4)


def initial_coefficients(
    init: str | Function, degrees: tuple[int, int], form: str, inputs: Inputs | None = None
) -> Start:
    """Return coefficients with which the Padé unit is close to a function.

    Args:
        init: a name in ``FUNCTIONS``, which is fitted on [-3, 3] as in the paper and read from the
            table for degrees (5, 4); the name of another activation in ``configs/activation``, as
            a new one computes in evaluation mode, or any function from tensor to tensor, which are
            fitted by :func:`pade_bench.activations.matching.match`.
        degrees: m and n, the degrees of numerator and denominator.
        form: one of ``pade_bench.ops.FORMS``.
        inputs: the values that the unit will meet, or an example of them, for what is not in
            ``FUNCTIONS``.

    Raises:
        ConfigurationError: ``init`` is no known name, or no function that can be fitted.
    """
    with torch.device("cpu"):  # torch.device("meta") may be in force
        if isinstance(init, str) and init in FUNCTIONS:
            return _of_the_paper(init, degrees, form)
        return match(init if callable(init) else _activation(init), degrees, form, inputs)


def _activation(name: str) -> Function:
    """Return an activation as the function that a new one is in evaluation mode."""
    if name not in (names := activation_names()):
        raise ConfigurationError(one_of("init", name, dict.fromkeys([*FUNCTIONS, *names])))
    module = activation_factory(name)()
    if getattr(module, "channel_multiplier", 1) != 1:
        raise ConfigurationError(f"init={name!r} is not a function of one value.")
    return module.double().eval()


# A network asks for the same fit once per layer.
@functools.lru_cache(maxsize=64)
def _of_the_paper(name: str, degrees: tuple[int, int], form: str) -> Start:
    if degrees == TABLE_DEGREES:
        return _table()[form, name]
    a, b = (tuple(c.tolist()) for c in fit_function(FUNCTIONS[name], degrees, form))
    return Start(a, b, -3.0, 3.0, largest_error(FUNCTIONS[name], a, b, form, -3.0, 3.0))


@functools.cache
def _table() -> dict[tuple[str, str], Start]:
    """Read the table: (form, function) to the coefficients for TABLE_DEGREES."""
    m, n = TABLE_DEGREES
    path = importlib.resources.files(__package__) / "coefficients.csv"
    with path.open(encoding="utf-8") as file:
        return {
            (row["form"], row["function"]): Start(
                tuple(float(Fraction(row[f"a{j}"])) for j in range(m + 1)),
                tuple(float(Fraction(row[f"b{k}"])) for k in range(1, n + 1)),
                -3.0,
                3.0,
                float(row["max_error"]),
            )
            for row in csv.DictReader(file)
        }
