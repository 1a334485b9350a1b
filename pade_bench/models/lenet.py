"""LeNet (LeCun et al., 1998) as in the paper's appendix A.3.1."""

from __future__ import annotations

from torch import nn

from pade_bench.activations.factory import ActivationFactory
from pade_bench.models.layers import conv_activation, linear_activation


class LeNet(nn.Sequential):
    """LeNet for 32×32 images: 61,706 parameters and 4 activations [paper, A.3.1].

    (N, in_channels, 32, 32) to (N, num_classes).
    """

    def __init__(
        self, activation: ActivationFactory, in_channels: int = 1, num_classes: int = 10
    ) -> None:
        super().__init__(
            *conv_activation(in_channels, 6, 5, activation),
            nn.MaxPool2d(2),
            *conv_activation(6, 16, 5, activation),
            nn.MaxPool2d(2),
            *conv_activation(16, 120, 5, activation),
            nn.Flatten(),
            *linear_activation(120, 84, activation),
            nn.Linear(84, num_classes),
        )
