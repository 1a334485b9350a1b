"""The Padé unit in plain torch: the specification that every kernel is tested against.

Molina, Schramowski, Kersting: *Padé Activation Units* (ICLR 2020), Eq. 1 and 2. With
numerator coefficients a = (a0 … am) and denominator coefficients b = (b1 … bn),

    F(x) = P(x) / Q(x),   P(x) = a0 + a1 x + … + am x^m,   A(x) = b1 x + … + bn x^n

and one of three denominators ("forms"):

    abs_of_sum   Q(x) = 1 + |A(x)|                       the paper's safe PAU, Eq. 2
    sum_of_abs   Q(x) = 1 + |b1 x| + … + |bn x^n|        the authors' own CUDA code
    unsafe       Q(x) = 1 + A(x)                         Eq. 1; has poles where Q(x) = 0

float16 and bfloat16 inputs are computed in float32 and rounded once, at the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

FORMS = ("abs_of_sum", "sum_of_abs", "unsafe")


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which an input of type ``dtype`` is evaluated."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def horner(x: Tensor, coefficients: Tensor) -> Tensor:
    """Evaluate c0 + c1 x + … + ck x^k for ``coefficients`` = (c0 … ck), shaped like ``x``."""
    value = coefficients[-1].expand_as(x)
    for c in reversed(coefficients[:-1].unbind()):
        value = value * x + c
    return value


def pau(x: Tensor, numerator: Tensor, denominator: Tensor, form: str = "abs_of_sum") -> Tensor:
    """Evaluate the Padé unit; differentiable by autograd, any number of times.

    Args:
        x: input of any shape and floating type.
        numerator: (m + 1,) coefficients a0 … am.
        denominator: (n,) coefficients b1 … bn.
        form: one of ``FORMS``.

    Returns:
        F(x), of the shape and type of ``x``.
    """
    dtype = compute_dtype(x.dtype)
    z, a, b = x.to(dtype), numerator.to(dtype), denominator.to(dtype)
    p = horner(z, a)
    if form == "abs_of_sum":
        q = 1 + (z * horner(z, b)).abs()
    elif form == "sum_of_abs":
        q = 1 + z.abs() * horner(z.abs(), b.abs())
    else:
        q = 1 + z * horner(z, b)
    return (p / q).to(x.dtype)


def rpau(
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str = "abs_of_sum",
    noise: float = 0.01,
    training: bool = True,
) -> Tensor:
    """Evaluate the randomized Padé unit, Eq. 3 of the paper.

    While training, every coefficient c_j is drawn afresh for every element x_i,
    c_ij = c_j (1 + noise u_ij) with u_ij ~ U(-1, 1), and gradients reach c_j through c_ij.
    Otherwise this is ``pau``.

    Args:
        x: input of any shape and floating type.
        numerator: (m + 1,) coefficients a0 … am.
        denominator: (n,) coefficients b1 … bn.
        form: one of ``FORMS``.
        noise: half the width of the relative noise, α in the paper.
        training: whether to draw noise, from torch's default generator.

    Returns:
        F(x), of the shape and type of ``x``.
    """
    if not training:
        return pau(x, numerator, denominator, form)
    coefficients = torch.cat([numerator, denominator]).to(compute_dtype(x.dtype))
    shape = (len(coefficients), *x.shape)
    u = 2 * torch.rand(shape, dtype=coefficients.dtype, device=x.device) - 1
    noisy = coefficients.view(-1, *(1 for _ in x.shape)) * (1 + noise * u)
    a, b = noisy.split([len(numerator), len(denominator)])
    return pau(x, a, b, form)
