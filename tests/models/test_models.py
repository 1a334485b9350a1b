"""The paper's networks (facts: appendix A.3.1)."""

import pytest
import torch
from torch import nn

from pade_bench import PAU, build_model
from pade_bench.errors import ConfigurationError


class PairMaximum(nn.Module):
    """Maxout with k = 2: the greater of two channels."""

    channel_multiplier = 2

    def forward(self, x):
        return x.unflatten(1, (2, -1)).amax(1)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "fixed", "layers"), [("lenet", 61_706, 4), ("vgg8", 9_224_458, 5)]
)
def test_parameter_counts_are_the_papers(name, fixed, layers):
    relu, pau = build_model(name, "relu"), build_model(name, "pau")
    assert count(relu) == fixed
    assert count(pau) == fixed + 10 * layers
    assert sum(isinstance(m, PAU) for m in pau.modules()) == layers
    assert sum(isinstance(m, nn.ReLU) for m in relu.modules()) == layers


@pytest.mark.parametrize("name", ["lenet", "vgg8"])
@pytest.mark.parametrize("activation", [nn.ReLU, "pau", PairMaximum])
def test_32x32_images_become_logits(name, activation):
    network = build_model(name, activation, num_classes=7)
    assert network(torch.randn(3, 1, 32, 32)).shape == (3, 7)


@pytest.mark.parametrize("name", ["lenet", "vgg8"])
def test_each_layer_has_an_activation_of_its_own(name):
    units = [m for m in build_model(name, "pau").modules() if isinstance(m, PAU)]
    assert len({id(u.numerator) for u in units}) == len(units)


@pytest.mark.parametrize("name", ["lenet", "vgg8"])
def test_initial_weights_do_not_depend_on_the_activation(name):
    weights = []
    for activation in ("relu", "pau", "srelu", "apl", "slaf"):
        torch.manual_seed(3)
        network = build_model(name, activation)
        weights.append(
            [
                p
                for m in network
                if not list(m.children())
                for p in m.parameters()
                if isinstance(m, (nn.Conv2d, nn.Linear))
            ]
        )
    for other in weights[1:]:
        for a, b in zip(weights[0], other, strict=True):
            assert torch.equal(a, b)


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match=r"model='lennet'.*Did you mean 'lenet'"):
        build_model("lennet", "relu")


def test_an_unknown_activation_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match=r"activation='pua'.*Did you mean 'pau'"):
        build_model("lenet", "pua")


def test_vgg8_refuses_channels_that_the_paper_has_no_form_for():
    with pytest.raises(ConfigurationError, match="not 2"):
        build_model("vgg8", "relu", in_channels=2)
