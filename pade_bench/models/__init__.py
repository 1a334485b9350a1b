"""The paper's networks, each with the activation left open.

A network takes an *activation factory*, a callable that returns a new module, and calls it
once per activation layer, as the paper shares one unit per layer. It never mentions an
activation by name, so a new activation touches no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from pade_bench.activations.factory import ActivationFactory, activation_factory
from pade_bench.errors import ConfigurationError, one_of
from pade_bench.models.convert import convert_activations
from pade_bench.models.densenet import DenseNet121
from pade_bench.models.lenet import LeNet
from pade_bench.models.mobilenetv2 import MobileNetV2, mobilenetv2_imagenet
from pade_bench.models.resnet import ResNet101
from pade_bench.models.vgg import vgg8

__all__ = [
    "DenseNet121",
    "LeNet",
    "MobileNetV2",
    "ResNet101",
    "build_model",
    "convert_activations",
    "mobilenetv2_imagenet",
    "vgg8",
]

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "lenet": LeNet,
    "vgg8": vgg8,
    "mobilenetv2": MobileNetV2,
    "resnet101": ResNet101,
    "densenet121": DenseNet121,
    "mobilenetv2_imagenet": mobilenetv2_imagenet,
}


def build_model(
    name: str,
    activation: str | Mapping[str, Any] | ActivationFactory,
    in_channels: int = 1,
    num_classes: int = 10,
) -> nn.Module:
    """Build one of the paper's networks.

    Args:
        name: ``lenet``, ``vgg8``, ``mobilenetv2``, ``resnet101`` or ``densenet121`` for 32×32
            images, or ``mobilenetv2_imagenet`` for 224×224.
        activation: a name (``"pau"``), a configuration, or a callable such as ``torch.nn.ReLU``;
            see :func:`pade_bench.activations.factory.activation_factory`.
        in_channels: 1 for gray images, 3 for color; ``vgg8`` has a form for each, and
            ``mobilenetv2_imagenet`` takes 3 only.
        num_classes: length of the output.

    Returns:
        A module that maps (N, in_channels, 32, 32) to (N, num_classes) logits.

    Raises:
        ConfigurationError: an unknown network or activation, or one that the network cannot have.
    """
    if name not in NETWORKS:
        raise ConfigurationError(one_of("model", name, NETWORKS))
    return NETWORKS[name](
        activation=activation_factory(activation), in_channels=in_channels, num_classes=num_classes
    )
