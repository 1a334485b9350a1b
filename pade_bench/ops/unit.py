"""A Padé unit as its implementations see it, and what they accept."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pade_bench.errors import one_of

FORMS = ("abs_of_sum", "sum_of_abs", "unsafe")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
MAX_DEGREE = 10

# Raised whenever the kernels' results change in their bits; records and checkpoints hold it.
# 2: RPAU draws six bits for a coefficient instead of twelve; on a GPU, PAU rounds less often.
NUMERICS = 2


class Unit(NamedTuple):
    """The coefficients of a Padé unit, the form of its denominator, and its noise.

    In the order of the operators' arguments: ``torch.ops.pade_bench.pau(x, *unit)``.

    Attributes:
        numerator: (m + 1,) coefficients a0 … am.
        denominator: (n,) coefficients b1 … bn.
        form: one of ``FORMS``.
        noise_state: for RPAU in training, (2,) int64 seed and offset, see ``pade_bench.ops.noise``.
        noise: relative half-width of RPAU's noise; unused without ``noise_state``.
    """

    numerator: Tensor
    denominator: Tensor
    form: str = "abs_of_sum"
    noise_state: Tensor | None = None
    noise: float = 0.0

    @property
    def coefficients(self) -> int:
        """The number of coefficients, m + 1 + n."""
        return self.numerator.numel() + self.denominator.numel()


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which an input of type ``dtype`` is evaluated."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def check(x: Tensor, unit: Unit) -> None:
    """Refuse what no implementation accepts.

    Raises:
        TypeError: an argument is no tensor, or of a type that is not real floating point.
        ValueError: the shape or device of a coefficient tensor, a degree or the form.
    """
    numerator, denominator = unit.numerator, unit.denominator
    for name, tensor in (("x", x), ("numerator", numerator), ("denominator", denominator)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, not {type(tensor).__name__}")
        if tensor.dtype not in DTYPES:
            raise TypeError(
                f"{name} has the type {tensor.dtype}; it must be one of "
                f"{', '.join(map(str, DTYPES))}"
            )
    for name, tensor, most in (
        ("numerator", numerator, MAX_DEGREE + 1),
        ("denominator", denominator, MAX_DEGREE),
    ):
        if tensor.dim() != 1 or not 1 <= tensor.numel() <= most:
            raise ValueError(
                f"{name} has the shape {tuple(tensor.shape)}; it must be a vector of 1 to {most} "
                "coefficients"
            )
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, but x is on {x.device}")
    if unit.form not in FORMS:
        raise ValueError(one_of("form", unit.form, FORMS))
