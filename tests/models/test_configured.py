import sys
import types

import pytest
import torch
from torch import nn

from pade_bench.activations import PAU
from pade_bench.config.fields import Component
from pade_bench.errors import ConfigurationError
from pade_bench.models.configured import configured_network


@pytest.fixture
def mine(monkeypatch):
    """A module of the user's, in which a test puts a network."""
    module = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def network(target, in_channels=3, num_classes=7, image_size=32, **arguments):
    component = Component(target, arguments)
    return configured_network(component, PAU, in_channels, num_classes, image_size)


def units(model):
    return sum(isinstance(module, PAU) for module in model.modules())


def test_a_network_of_torchvision_is_built_for_the_data_and_converted():
    model = network("torchvision.models.get_model", name="resnet18")
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert units(model) == 9
    assert not any(isinstance(module, nn.ReLU) for module in model.modules())
    assert all(module.training for module in model.modules())


def test_a_network_of_timm_takes_the_number_of_channels():
    pytest.importorskip("timm")
    model = network("timm.create_model", in_channels=1, model_name="test_resnet")
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    assert units(model) > 0


def test_initial_weights_depend_on_the_seed_alone():
    weights = []
    for activation in (nn.ReLU, PAU):
        torch.manual_seed(3)
        component = Component("torchvision.models.get_model", {"name": "resnet18"})
        weights.append(configured_network(component, activation, 3, 10, 32).fc.weight)
    assert torch.equal(*weights)


def test_a_class_without_an_argument_for_the_activation_is_converted(mine):
    class Mine(nn.Sequential):
        def __init__(self, width: int, num_classes: int):
            super().__init__(
                nn.Conv2d(3, width, 3), nn.GELU(), nn.Flatten(), nn.LazyLinear(num_classes)
            )

    mine.Mine = Mine
    Mine.__module__ = "mine"
    with pytest.raises(ConfigurationError, match=r"width"):
        network("mine.Mine", widht=4)
    assert units(network("mine.Mine", width=4)) == 1


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("torchvision.models.get_model", {"name": "resnet19"}, "Unknown model resnet19"),
        ("torchvision.models.resnet18", {"in_channels": 1}, "for images of three"),
        ("torchvision.models.inception_v3", {}, "model"),
        ("mine.headless", {}, r"maps \(2, 3, 32, 32\) images to \(2, 16\), not to \(2, 7\)"),
        ("mine.functional", {}, "relu"),
    ],
)
def test_a_network_that_cannot_be_had_is_one_clear_error(mine, target, arguments, message):
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(32, 7)

        def forward(self, x):
            return self.layer(torch.relu(x).mean((1, 2)))

    def headless():
        return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AvgPool2d(30), nn.Flatten())

    def functional():
        return Functional()

    mine.headless, mine.functional = headless, functional
    with pytest.raises(ConfigurationError, match=message):
        network(target, **arguments)
