"""Replacing the activations of networks that others wrote."""

import copy
import functools

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from pade_bench import PAU, convert_activations
from pade_bench.activations import SReLU
from pade_bench.errors import ConfigurationError


def names(replacements):
    return [r.name for r in replacements]


def test_torchvisions_mobilenet_is_converted_layer_by_layer():
    network = torchvision.models.mobilenet_v2()
    replaced = convert_activations(network, "pau")
    units = [m for m in network.modules() if isinstance(m, PAU)]
    assert len(replaced) == len(set(units)) == 35
    assert replaced[0].name == "features.0.2"
    assert str(replaced[0]) == "features.0.2: ReLU6(inplace=True)"
    assert not any(isinstance(m, nn.ReLU6) for m in network.modules())
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(unit.numerator.grad.abs().sum() > 0 for unit in units)


def test_a_module_that_the_code_calls_often_stays_one_and_that_is_said():
    replaced = convert_activations(torchvision.models.resnet18(), "pau")
    assert [r.calls for r in replaced] == [1] + [2] * 8
    assert str(replaced[1]).endswith("ReLU(inplace=True), one for 2 calls")


def test_gates_are_left_alone():
    network = torchvision.models.efficientnet_b0()
    gates = sum(isinstance(m, nn.Sigmoid) for m in network.modules())
    replaced = convert_activations(network, nn.ReLU)
    assert {r.was for r in replaced} == {"SiLU(inplace=True)"}
    assert sum(isinstance(m, nn.Sigmoid) for m in network.modules()) == gates > 0


def test_one_module_at_two_places_becomes_two():
    shared = nn.ReLU()
    network = nn.Sequential(nn.Linear(3, 3), shared, nn.Linear(3, 3), shared)
    assert names(convert_activations(network, "pau")) == ["1", "3"]
    assert network[1] is not network[3]


def test_a_converted_network_is_converted_again():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    convert_activations(network, "pau")
    (again,) = convert_activations(network, "srelu")
    assert again.was.startswith("PAU(")
    assert isinstance(network[1], SReLU)


def test_mode_and_device_are_the_networks():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).to("meta").eval()
    convert_activations(network, "pau")
    assert network[1].numerator.device.type == "meta"
    assert not network[1].training


class Helper(nn.Module):
    def forward(self, x):
        return rectified(x)


def rectified(x):
    return F.relu(x)


class Base(nn.Module):
    def forward(self, x):
        return F.gelu(x)


class Overrides(Base):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(x)


class Extends(Base):
    def forward(self, x):
        return super().forward(x) + 1


class Method(nn.Module):
    def forward(self, x):
        return x.relu()


class OwnMethod(nn.Module):
    def forward(self, x):
        return self.inner(x)

    def inner(self, x):
        return torch.relu(x)


class Passed(nn.Module):
    def forward(self, x):
        return functools.reduce(lambda y, f: f(y), [F.silu], x)


class Attribute(nn.Module):
    def __init__(self):
        super().__init__()
        self.function = F.elu

    def forward(self, x):
        return self.function(x)


class Built(nn.Module):
    def forward(self, x):
        return nn.ReLU()(x)


class LocalImport(nn.Module):
    def forward(self, x):
        from torch.nn import functional

        return functional.selu(x)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Helper, "return F.relu(x)"),
        (Base, "return F.gelu(x)"),
        (Extends, "return F.gelu(x)"),
        (Method, "return x.relu()"),
        (OwnMethod, "return torch.relu(x)"),
        (Passed, "[F.silu]"),
        (Attribute, "return self.function(x)"),
        (Built, "return nn.ReLU()(x)"),
        (LocalImport, "return functional.selu(x)"),
    ],
)
def test_an_activation_called_as_a_function_is_refused_with_its_place(kind, code):
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), kind(), kind())
    before = copy.deepcopy(network)
    with pytest.raises(ConfigurationError) as refusal:
        convert_activations(network, "pau")
    (line,) = str(refusal.value).splitlines()[1:]
    assert line.strip().startswith(f"2 ({kind.__name__}) and 1 more, {__file__}:")
    assert code in line
    assert str(network) == str(before)


def test_a_method_that_is_overridden_is_not_held_against_a_network():
    assert names(convert_activations(Overrides(), "pau")) == ["act"]


def test_torchvisions_functional_calls_are_all_listed():
    with pytest.raises(ConfigurationError, match=r"densenet\.py:\d+: out = F\.relu\(features"):
        convert_activations(torchvision.models.densenet121(), "pau")
    with pytest.raises(ConfigurationError, match=r"conv1 \(BasicConv2d\) and 58 more"):
        convert_activations(torchvision.models.googlenet(init_weights=False), "pau")


def test_a_function_that_torchs_own_module_holds_is_seen():
    layer = nn.TransformerEncoderLayer(8, 2)
    with pytest.raises(ConfigurationError, match=r"TransformerEncoderLayer\): activation = relu"):
        convert_activations(nn.Sequential(layer, nn.ReLU()), "pau")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
def test_a_scripted_network_is_refused():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    with pytest.raises(ConfigurationError, match="compiled to TorchScript"):
        convert_activations(nn.Sequential(scripted, nn.ReLU()), "pau")


def test_code_that_cannot_be_read_is_refused():
    names = {"nn": nn}
    exec("class Typed(nn.Module):\n    def forward(self, x):\n        return x\n", names)
    with pytest.raises(ConfigurationError, match="its source cannot be read"):
        convert_activations(nn.Sequential(names["Typed"](), nn.ReLU()), "pau")


def test_a_network_without_activations_is_refused():
    with pytest.raises(ConfigurationError, match=r"no activation to replace.*Linear, Sequential"):
        convert_activations(nn.Sequential(nn.Linear(3, 3)), "pau")


def test_an_activation_that_changes_the_number_of_channels_is_refused():
    with pytest.raises(ConfigurationError, match="takes 2 channels"):
        convert_activations(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), "maxout")
