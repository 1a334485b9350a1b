"""DenseNet121 (Huang et al., 2017) for 32×32 images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pade_bench.activations.factory import ActivationFactory
from pade_bench.models.layers import channel_multiplier

GROWTH = 32
BLOCKS = (6, 12, 24, 16)  # layers in each dense block


class DenseLayer(nn.Module):
    """Add ``GROWTH`` feature maps to those that came before: (N, C, H, W) to (N, C + 32, H, W)."""

    def __init__(self, in_channels: int, activation: ActivationFactory, k: int) -> None:
        super().__init__()
        self.grow = nn.Sequential(
            *norm_activation_conv(in_channels, 4 * GROWTH, 1, activation, k),
            *norm_activation_conv(4 * GROWTH, GROWTH, 3, activation, k),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return torch.cat((x, self.grow(x)), dim=1)


class DenseNet121(nn.Sequential):
    """DenseNet121 with a 3×3 stem and no pooling after it [derived from the paper's counts, A.4.2].

    6,956,298 parameters and 120 activations. (N, in_channels, 32, 32) to (N, num_classes).

    The paper did not run it with Maxout. The natural analogue is taken: every convolution makes k
    pieces of each feature map, which are normalized, concatenated with those of other layers, and
    reduced where a layer's activation reads them; 13,902,346 parameters for k = 2.
    """

    def __init__(
        self, activation: ActivationFactory, in_channels: int = 3, num_classes: int = 10
    ) -> None:
        k = channel_multiplier(activation())
        channels = 2 * GROWTH
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, k * channels, 3, padding=1, bias=False),
        ]
        for i, depth in enumerate(BLOCKS):
            if i > 0:
                layers += norm_activation_conv(channels, channels // 2, 1, activation, k)
                layers.append(nn.AvgPool2d(2))
                channels //= 2
            for _ in range(depth):
                layers.append(DenseLayer(channels, activation, k))
                channels += GROWTH
        super().__init__(
            *layers,
            nn.BatchNorm2d(k * channels),
            activation(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, num_classes),
        )


def norm_activation_conv(
    in_channels: int, out_channels: int, kernel_size: int, activation: ActivationFactory, k: int
) -> list[nn.Module]:
    """Return batch norm, activation and a padded convolution: k·C_in to k·C_out channels."""
    return [
        nn.BatchNorm2d(k * in_channels),
        activation(),
        nn.Conv2d(in_channels, k * out_channels, kernel_size, padding=kernel_size // 2, bias=False),
    ]
