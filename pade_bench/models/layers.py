"""A layer with the activation that follows it.

An activation with ``channel_multiplier`` = k takes k channels for each one that it returns
(Maxout), neighbors in dimension 1. The layer before it is then k times as wide, so that what
follows is the same for every activation.
"""

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
    """Return a convolution with bias and its activation: C_in to C_out channels."""
    act = activation()
    wide = out_channels * channel_multiplier(act)
    return [nn.Conv2d(in_channels, wide, kernel_size, padding=padding), act]


def conv_norm_activation(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    activation: ActivationFactory,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    norm_each_piece: bool = False,
) -> list[nn.Module]:
    """Return a padded convolution, batch norm and the activation: C_in to C_out channels.

    The k pieces of Maxout are reduced before batch norm, so that batch norm does not grow; with
    ``norm_each_piece`` after it. The paper's parameter counts need the former in VGG-8 and
    MobileNetV2, the latter in ResNet101 [derived].
    """
    act = activation()
    k = channel_multiplier(act)
    conv = nn.Conv2d(
        in_channels, k * out_channels, kernel_size, stride, kernel_size // 2, groups=groups,
        bias=bias,
    )  # fmt: skip
    if k == 1 or norm_each_piece:
        return [conv, nn.BatchNorm2d(k * out_channels), act]
    return [conv, act, nn.BatchNorm2d(out_channels)]


def linear_activation(
    in_features: int, out_features: int, activation: ActivationFactory
) -> list[nn.Module]:
    """Return a linear layer and its activation."""
    act = activation()
    return [nn.Linear(in_features, out_features * channel_multiplier(act)), act]


def channel_multiplier(activation: nn.Module) -> int:
    """How many channels the activation takes for each one that it returns."""
    return getattr(activation, "channel_multiplier", 1)
