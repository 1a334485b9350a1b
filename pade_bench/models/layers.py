"""A layer with the activation that follows it."""

from __future__ import annotations

from torch import nn

from pade_bench.activations.factory import ActivationFactory


def conv_activation(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    activation: ActivationFactory,
    padding: int = 0,
) -> list[nn.Module]:
    """Return a convolution with bias and its activation: C_in to C_out channels.

    An activation with ``channel_multiplier`` = k reduces k·C channels to C (Maxout), so the
    convolution before it makes k·C_out.
    """
    act = activation()
    wide = out_channels * channel_multiplier(act)
    return [nn.Conv2d(in_channels, wide, kernel_size, padding=padding), act]


def linear_activation(
    in_features: int, out_features: int, activation: ActivationFactory
) -> list[nn.Module]:
    """Return a linear layer and its activation; wide as in :func:`conv_activation`."""
    act = activation()
    return [nn.Linear(in_features, out_features * channel_multiplier(act)), act]


def channel_multiplier(activation: nn.Module) -> int:
    """How many channels the activation takes for each one that it returns."""
    return getattr(activation, "channel_multiplier", 1)
