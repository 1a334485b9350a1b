"""The Padé unit as an operation on tensors."""

from pade_bench.ops.library import backend, pau
from pade_bench.ops.noise import noise_state
from pade_bench.ops.reference import FORMS

__all__ = ["FORMS", "backend", "noise_state", "pau"]
