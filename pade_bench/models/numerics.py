"""How torch computes a network where it has a choice: repeatable, and compiled if wanted."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn


def repeat_to_the_bit() -> None:
    """Let torch, in this process and from now on, take what gives the same bits each time.

    To be called before the first convolution and matrix product on a GPU, as cuDNN and cuBLAS are
    asked once. An operator for which torch has nothing that repeats itself warns.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    # This would also fill every new tensor with NaN before a kernel writes into it: one more
    # launch for each on a GPU, and the same bits without.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False  # what is fastest differs from time to time
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The better of cuDNN's two guesses at which algorithm is fast. By the other it takes for the
    # gradient of LeNet's first weights one that alone needs 0.39 ms on an H200, where the whole
    # step takes 0.49 ms with this.
    os.environ.setdefault("TORCH_CUDNN_USE_HEURISTIC_MODE_B", "1")


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what computes a network through torch.compile; the network stays what it is.

    It is compiled for each size of a batch, as else the code that a batch runs would depend on
    which sizes the process has met before.
    """

    # The frame that is compiled is this one: torch 2.11 compiles none of its own, such as the call
    # of an nn.Sequential, and network.compile() had no effect on that.
    @torch.compile(dynamic=False)
    def compute(network: nn.Module, images: Tensor) -> Tensor:
        return network(images)

    return lambda images: compute(network, images)
