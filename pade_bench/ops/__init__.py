"""The Padé unit as an operation on tensors."""

from pade_bench.ops.reference import FORMS, pau

__all__ = ["FORMS", "pau"]
