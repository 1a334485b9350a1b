"""The Padé unit as an operation on tensors."""

from pade_bench.ops.backends import backend
from pade_bench.ops.dispatch import apply
from pade_bench.ops.noise import noise_state
from pade_bench.ops.unit import DTYPES, FORMS, MAX_DEGREE, NUMERICS, Unit, check

__all__ = [
    "DTYPES",
    "FORMS",
    "MAX_DEGREE",
    "NUMERICS",
    "Unit",
    "apply",
    "backend",
    "check",
    "noise_state",
]
