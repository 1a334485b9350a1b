"""Walking a tensor in the order of its memory.

``torch.empty_like(x)`` has the strides of ``x`` wherever ``x`` is dense and does not overlap
itself: contiguous, channels_last, or any other permutation. So a kernel can walk a dense input, its
output and its gradients as one row of numbers, and only other inputs are copied.
"""

from __future__ import annotations

import torch
from torch import Tensor


def in_layout_of(like: Tensor, tensor: Tensor) -> Tensor:
    """Return ``tensor``, copied only if its memory does not hold it as that of ``like`` would."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like).copy_(tensor)


def memory_order(x: Tensor) -> Tensor:
    """Return the position in memory, from 0, of every element of ``torch.empty_like(x)``."""
    dense = torch.empty_like(x, dtype=torch.int64)
    return torch.arange(x.numel(), device=x.device).as_strided(dense.shape, dense.stride())


def flat(dense: Tensor) -> Tensor:
    """Return a dense tensor as a vector, in the order of its memory."""
    return dense.as_strided((dense.numel(),), (1,))
