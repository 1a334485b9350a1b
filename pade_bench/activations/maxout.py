"""Maxout: the activation that takes more channels than it returns."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from pade_bench.errors import ConfigurationError


class Maxout(nn.Module):
    """The maximum of ``pieces`` neighboring channels.

    Goodfellow, Warde-Farley, Mirza, Courville, Bengio: *Maxout Networks* (ICML 2013):

        f_i(x) = max_j (w_ij · x + b_ij),   j = 1 … k

    The k affine functions are the layer before, which networks make k times as wide. As the pieces
    of a channel are neighbors, a depthwise convolution gives them filters of the same input, and
    concatenated feature maps keep theirs together.

    Args:
        pieces: the number k of channels for each one that is returned; the paper's is 2.

    Shape:
        (N, k·C, …) to (N, C, …).

    Raises:
        ConfigurationError: ``pieces`` is not a whole number of at least 2.
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        if type(pieces) is not int or pieces < 2:
            raise ConfigurationError(f"pieces={pieces!r} is not a whole number of at least 2.")
        self.channel_multiplier = pieces

    def forward(self, x: Tensor) -> Tensor:
        """Reduce the channels of ``x``."""
        # Slices keep the memory format, which a reduction over an unflattened dimension does not.
        return functools.reduce(
            torch.maximum,
            (x[:, i :: self.channel_multiplier] for i in range(self.channel_multiplier)),
        )

    def extra_repr(self) -> str:
        """Describe the unit in a network's printout."""
        return f"pieces={self.channel_multiplier}"
