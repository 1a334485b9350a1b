"""MobileNetV2 (Sandler et al., 2018) for 32×32 images and for ImageNet."""

from __future__ import annotations

from torch import Tensor, nn

from pade_bench.activations.factory import ActivationFactory
from pade_bench.errors import ConfigurationError
from pade_bench.models.convert import convert_activations
from pade_bench.models.layers import conv_norm_activation

# expansion, channels, blocks, stride of the first; 32×32 images take stride 1 in the stem and in
# the second stage, where ImageNet takes 2.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project: (N, C, H, W) to (N, C', H/stride, W/stride).

    Where the size stays the same the input is added, through a projection where channels differ.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        stride: int,
        activation: ActivationFactory,
    ) -> None:
        super().__init__()
        wide = expansion * in_channels
        self.residual = nn.Sequential(
            *conv_norm_activation(in_channels, wide, 1, activation),
            *conv_norm_activation(wide, wide, 3, activation, stride=stride, groups=wide),
            nn.Conv2d(wide, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.adds_input = stride == 1
        self.shortcut = nn.Sequential()
        if self.adds_input and in_channels != out_channels:
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = self.residual(x)
        return y + self.shortcut(x) if self.adds_input else y


class MobileNetV2(nn.Sequential):
    """MobileNetV2 for 32×32 images [derived from the paper's counts, A.4.2].

    2,296,922 parameters and 36 activations, one also in the expansion by 1 of the first block;
    with Maxout (k = 2) 3,524,506 parameters. (N, in_channels, 32, 32) to (N, num_classes).
    """

    def __init__(
        self, activation: ActivationFactory, in_channels: int = 3, num_classes: int = 10
    ) -> None:
        layers = conv_norm_activation(in_channels, 32, 3, activation)
        channels = 32
        for expansion, width, blocks, stride in STAGES:
            for i in range(blocks):
                first = stride if i == 0 else 1
                layers.append(InvertedResidual(channels, width, expansion, first, activation))
                channels = width
        layers += conv_norm_activation(channels, 1280, 1, activation)
        super().__init__(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, num_classes)
        )


def mobilenetv2_imagenet(
    activation: ActivationFactory, in_channels: int = 3, num_classes: int = 1000
) -> nn.Module:
    """Build torchvision's MobileNetV2, its 35 activations replaced: 3,504,872 parameters.

    The paper took "reference implementations in PyTorch" (A.4.2) and states no count for this one.
    (N, 3, 224, 224) to (N, num_classes).

    Raises:
        ConfigurationError: ``in_channels`` is not 3, or the activation changes the number of
            channels (Maxout), which the paper did not run on ImageNet.
    """
    if in_channels != 3:
        raise ConfigurationError(
            f"model=mobilenetv2_imagenet takes images of 3 channels, not {in_channels}."
        )
    # Imported here: the other networks and the activations need torch alone.
    import torchvision

    network = torchvision.models.mobilenet_v2(num_classes=num_classes)
    convert_activations(network, activation)
    return network
