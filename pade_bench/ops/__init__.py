"""The Padé unit as an operation on tensors."""

import torch

from pade_bench.ops.reference import FORMS, pau, rpau

__all__ = ["FORMS", "backend", "pau", "rpau"]


def backend(device: torch.device) -> str:
    """Name the implementation that evaluates Padé units on ``device``."""
    return "reference"
