"""The network that a configuration names: one of the paper's, or anybody's, converted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from pade_bench.activations.factory import ActivationFactory
from pade_bench.config.components import arguments_of, make
from pade_bench.config.fields import Component
from pade_bench.errors import ConfigurationError
from pade_bench.models.convert import convert_activations


def configured_network(
    model: Component,
    activation: ActivationFactory,
    in_channels: int,
    num_classes: int,
    image_size: int,
    trust: Iterable[str] | None = None,
) -> nn.Module:
    """Return the network that ``model`` names, with new activations of one kind.

    A network whose constructor has an argument ``activation`` calls the factory for each of its
    layers, and gets ``in_channels`` and ``num_classes``. Any other, such as
    ``torchvision.models.get_model`` or ``timm.create_model``, is built as it is and converted,
    see :func:`pade_bench.convert_activations`. It is given ``num_classes`` and ``in_channels``, or
    timm's ``in_chans``, where it takes them.

    Args:
        model: a class or function and its arguments.
        activation: makes one activation at each call.
        in_channels: of the images.
        num_classes: length of the output.
        image_size: pixels to a side; a network that is converted is run on two images of it.
        trust: see :func:`pade_bench.config.targets.locate`.

    Raises:
        ConfigurationError: see :func:`pade_bench.config.components.make`; or the network does not
            map (2, in_channels, image_size, image_size) to (2, num_classes), takes images of three
            channels only, or cannot be converted as a whole.
    """
    takes, takes_others = arguments_of("model", model, nn.Module, trust)
    given: dict[str, Any] = {"num_classes": num_classes}
    if "activation" in takes:
        given |= {"activation": activation, "in_channels": in_channels}
        return make("model", model, nn.Module, trust, **given)
    if "num_classes" not in takes and not takes_others:
        del given["num_classes"]
    if "in_channels" in takes:
        given["in_channels"] = in_channels
    elif "in_chans" in takes or model.target.startswith("timm."):
        given["in_chans"] = in_channels
    elif in_channels != 3:
        raise ConfigurationError(
            f"model: {model.target} does not take a number of channels, so it is for images of "
            f"three; those of the data have {in_channels}."
        )
    network = make("model", model, nn.Module, trust, **given)
    images = torch.zeros(2, in_channels, image_size, image_size)
    if any(isinstance(p, UninitializedParameter) for p in network.parameters()):
        network(images)  # lazy layers take their sizes from the first input
    convert_activations(network, activation, example_input=images)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits = network.eval()(images)
    network.train()
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, num_classes):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ConfigurationError(
            f"model: {model.target} maps {tuple(images.shape)} images to {found}, "
            f"not to {(2, num_classes)} logits."
        )
    return network
