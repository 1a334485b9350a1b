"""ResNet101 (He et al., 2016) for 32×32 images."""

from __future__ import annotations

from torch import Tensor, nn

from pade_bench.activations.factory import ActivationFactory
from pade_bench.models.layers import channel_multiplier, conv_norm_activation

EXPANSION = 4
STAGES = ((64, 3, 1), (128, 4, 2), (256, 23, 2), (512, 3, 2))  # width, blocks, stride of the first


class Bottleneck(nn.Module):
    """Narrow, filter, widen, add the input: (N, C, H, W) to (N, 4·width, H/stride, W/stride).

    The last activation follows the sum of residual h and shortcut s. For Maxout the shortcut has k
    pieces, and as max(h + s1, h + s2) = h + max(s1, s2), only they pass through it; a shortcut
    that is the input itself has one piece, and nothing follows its sum [derived: this gives the
    paper's count].
    """

    def __init__(
        self, in_channels: int, width: int, stride: int, activation: ActivationFactory
    ) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.residual = nn.Sequential(
            *conv_norm_activation(in_channels, width, 1, activation, norm_each_piece=True),
            *conv_norm_activation(width, width, 3, activation, stride=stride, norm_each_piece=True),
            nn.Conv2d(width, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        act = activation()
        k = channel_multiplier(act)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(nn.Conv2d(in_channels, k * out_channels, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(k * out_channels))
            if k > 1:
                self.shortcut.append(act)
        self.activation = act if k == 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return self.activation(self.residual(x) + self.shortcut(x))


class ResNet101(nn.Sequential):
    """ResNet101 with a 3×3 stem and no pooling after it [derived from the paper's counts, A.4.2].

    42,512,970 parameters and 100 activations; with Maxout (k = 2) 75,454,090 parameters.
    (N, in_channels, 32, 32) to (N, num_classes).
    """

    def __init__(
        self, activation: ActivationFactory, in_channels: int = 3, num_classes: int = 10
    ) -> None:
        layers = conv_norm_activation(in_channels, 64, 3, activation, norm_each_piece=True)
        channels = 64
        for width, blocks, stride in STAGES:
            for i in range(blocks):
                layers.append(Bottleneck(channels, width, stride if i == 0 else 1, activation))
                channels = EXPANSION * width
        super().__init__(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)
        )
