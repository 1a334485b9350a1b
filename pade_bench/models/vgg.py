"""VGG-8 (after Simonyan & Zisserman, 2015) in the paper's two forms."""

from __future__ import annotations

from torch import nn

from pade_bench.activations.factory import ActivationFactory
from pade_bench.errors import ConfigurationError
from pade_bench.models.layers import conv_activation, conv_norm_activation


def vgg8(activation: ActivationFactory, in_channels: int = 1, num_classes: int = 10) -> nn.Module:
    """Build the VGG-8 that the paper uses for images of ``in_channels`` channels.

    Raises:
        ConfigurationError: the paper has no form for that number of channels.
    """
    if in_channels == 1:
        return VGG8ForMNIST(activation, num_classes)
    if in_channels == 3:
        return VGG8ForCIFAR10(activation, num_classes)
    raise ConfigurationError(
        f"model=vgg8 takes images of 1 channel (the paper's form for MNIST) or of 3 (for "
        f"CIFAR-10), not {in_channels}."
    )


class VGG8ForMNIST(nn.Sequential):
    """Eight 3×3 convolutions in five groups, no batch norm [paper, A.3.1].

    9,224,458 parameters and 5 activations, one at the end of each group.
    (N, 1, 32, 32) to (N, num_classes).
    """

    def __init__(self, activation: ActivationFactory, num_classes: int = 10) -> None:
        layers: list[nn.Module] = []
        channels = 1
        for width, convolutions in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)):
            for _ in range(convolutions - 1):
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
            layers += [*conv_activation(channels, width, 3, activation, padding=1), nn.MaxPool2d(2)]
            channels = width
        super().__init__(*layers, nn.Flatten(), nn.Linear(channels, num_classes))


class VGG8ForCIFAR10(nn.Sequential):
    """Five 3×3 convolutions with bias and batch norm [derived from the paper's counts, A.4.2].

    3,918,858 parameters and 5 activations; with Maxout (k = 2) 7,829,642 parameters.
    (N, 3, 32, 32) to (N, num_classes).
    """

    def __init__(self, activation: ActivationFactory, num_classes: int = 10) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width in (64, 128, 256, 512, 512):
            layers += conv_norm_activation(channels, width, 3, activation, bias=True)
            layers.append(nn.MaxPool2d(2))
            channels = width
        super().__init__(*layers, nn.Flatten(), nn.Linear(channels, num_classes))
