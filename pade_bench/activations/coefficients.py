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
from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F

from pade_bench.activations.fitting import fit
from pade_bench.errors import ConfigurationError, one_of

Function = Callable[[Tensor], Tensor]
Coefficients = tuple[tuple[float, ...], tuple[float, ...]]

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


def initial_coefficients(init: str | Function, degrees: tuple[int, int], form: str) -> Coefficients:
    """Return coefficients with which the Padé unit is close to a function on [-3, 3].

    Args:
        init: a name in ``FUNCTIONS``, read from the table for degrees (5, 4) and fitted for
            others, or any function from tensor to tensor, which is fitted.
        degrees: m and n, the degrees of numerator and denominator.
        form: one of ``pade_bench.ops.FORMS``.

    Returns:
        a0 … am and b1 … bn.

    Raises:
        ConfigurationError: ``init`` is no known name, or a function that cannot be fitted.
    """
    if not callable(init) and init not in FUNCTIONS:
        raise ConfigurationError(one_of("init", init, FUNCTIONS))
    if isinstance(init, str) and degrees == TABLE_DEGREES:
        return _table()[form, init]
    return _fitted(init, degrees, form)


# A network asks for the same fit once per layer.
@functools.lru_cache(maxsize=64)
def _fitted(init: str | Function, degrees: tuple[int, int], form: str) -> Coefficients:
    function = FUNCTIONS[init] if isinstance(init, str) else init
    numerator, denominator = fit(function, degrees, form)
    return tuple(numerator.tolist()), tuple(denominator.tolist())


@functools.cache
def _table() -> dict[tuple[str, str], Coefficients]:
    text = (importlib.resources.files(__package__) / "coefficients.csv").read_text()
    return {
        (row["form"], row["function"]): (
            tuple(float(Fraction(row[f"a{j}"])) for j in range(6)),
            tuple(float(Fraction(row[f"b{k}"])) for k in range(1, 5)),
        )
        for row in csv.DictReader(text.splitlines())
    }
