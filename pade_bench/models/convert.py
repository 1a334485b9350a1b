"""Giving an existing network other activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pade_bench.activations.factory import ActivationFactory, activation_factory
from pade_bench.errors import ConfigurationError
from pade_bench.models.calls import activation_calls, calls_of_children, is_activation
from pade_bench.models.layers import channel_multiplier


@dataclass(frozen=True)
class Replacement:
    """One activation that was replaced."""

    name: str  # of the module in the network, "features.0.2"
    was: str  # what stood there, "ReLU6(inplace=True)"
    calls: int  # how often the network's code calls it; more than one call shares one activation

    def __str__(self) -> str:
        """Return it in a line."""
        shared = f", one for {self.calls} calls" if self.calls > 1 else ""
        return f"{self.name}: {self.was}{shared}"


def convert_activations(
    model: nn.Module, activation: str | Mapping[str, Any] | ActivationFactory
) -> list[Replacement]:
    """Replace the activations of ``model`` in place, each by a new one of its own.

    What counts as an activation is a module of torch's rectifying kinds (ReLU, ELU, SiLU, GELU …),
    timm's, or this package's. Gates (Sigmoid, Tanh, Hardsigmoid, Softmax) are left as they are.
    Where the network's code calls one module in several places, as torchvision's ResNet does within
    a block, these places go on sharing one.

    Args:
        model: any network whose Python code can be read.
        activation: see :func:`pade_bench.build_model`.

    Returns:
        what was replaced, in the order of the network's modules.

    Raises:
        ConfigurationError: there is no activation to replace; or parts of the network are hidden:
            compiled to TorchScript, or activations called as functions (``F.relu(x)``), all of
            which are listed by file and line; or ``activation`` is unknown, or takes another
            number of channels than it returns (Maxout). The network is then left as it was.
    """
    factory = activation_factory(activation)
    if (k := channel_multiplier(factory())) != 1:
        raise ConfigurationError(
            f"activation takes {k} channels for each one that it returns: an existing network "
            "cannot be widened. Build one of pade_bench's own networks with it."
        )
    if hidden := list(activation_calls(model)):
        raise ConfigurationError(
            f"{type(model).__name__} has activations that are no modules of their own and cannot "
            "be replaced. Make each a module, called in forward:\n  " + "\n  ".join(hidden)
        )
    found = list(_find(model))
    if not found:
        raise ConfigurationError(
            f"{type(model).__name__} has no activation to replace; its modules are "
            f"{', '.join(sorted({type(m).__name__ for m in model.modules()}))}."
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    replacements = []
    for prefix, parent, attribute, old in found:
        new = factory().to(device).train(old.training)
        setattr(parent, attribute, new)
        # In a Sequential no code names it; there it is called once.
        calls = max(1, calls_of_children(parent)[attribute])
        replacements.append(Replacement(prefix + attribute, repr(old), calls))
    return replacements


def _find(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    """Yield (prefix, parent, attribute, activation) for every place that holds one."""
    for name, parent in model.named_modules():
        # Not named_children(), which would name a shared module only once.
        for attribute, child in parent._modules.items():
            if child is not None and is_activation(child):
                yield f"{name}." if name else "", parent, attribute, child
