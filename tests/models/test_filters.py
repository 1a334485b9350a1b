"""Filters are really removed: a pruned network computes what the masked one does."""

import copy

import pytest
import torch
from torch import nn

from pade_bench import PAU, build_model
from pade_bench.activations.factory import activation_factory
from pade_bench.errors import ConfigurationError
from pade_bench.models.filters import (
    check_share,
    filter_groups,
    multiply_adds,
    remove_other_filters,
    strongest_filters,
)

NETWORKS = [
    ("lenet", 1), ("vgg8", 1), ("vgg8", 3), ("mobilenetv2", 3), ("resnet101", 3), ("densenet121", 3)
]  # fmt: skip
each = pytest.mark.parametrize(("name", "channels"), NETWORKS)


def make(name, channels, activation="relu"):
    """Return a network in evaluation mode with lively batch norms, its activations' class, images.

    Small images, where the network takes them, make the deep ones quick.
    """
    torch.manual_seed(0)
    network = build_model(name, activation, in_channels=channels).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(module.running_var, 0.5, 2)
    size = 32 if name in ("lenet", "vgg8") else 8
    kind = type(activation_factory(activation)())
    return network, kind, torch.randn(2, channels, size, size)


def everything(groups):
    return {group.name: list(range(group.filters)) for group in groups}


class MaskOfConvolution(nn.Module):
    """Stands for a convolution in a network of masks: says which channels it reads and makes."""

    def __init__(self, conv, kept):
        super().__init__()
        self.made = torch.zeros(1, conv.out_channels, 1, 1)
        self.made[:, kept] = 1
        self.shape = nn.MaxPool2d(conv.kernel_size, conv.stride, conv.padding)

    def forward(self, mask):
        self.read = (mask.amax((0, 2, 3)) > 0).float()
        return self.made.expand(-1, -1, *self.shape(mask).shape[2:])


class MaskOfLinear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.features = linear.out_features

    def forward(self, mask):
        self.read = (mask.amax(0) > 0).float()
        return torch.ones(1, self.features)


def masked(network, groups, kept, images):
    """Return a copy in which every layer reads zeros for the filters that are not kept.

    Which channels these are is found without the code that is tested: masks flow through the same
    network, with a mask in place of each layer that mixes channels.
    """
    masks = copy.deepcopy(network)
    members = {name: kept[group.name] for group in groups for name in group.convolutions}
    for name, module in list(masks.named_modules()):
        parent, _, attribute = name.rpartition(".")
        if isinstance(module, nn.Conv2d):
            stand_in = MaskOfConvolution(module, members[name])
        elif isinstance(module, nn.Linear):
            stand_in = MaskOfLinear(module)
        elif isinstance(module, (nn.BatchNorm2d, nn.ReLU, PAU)):
            stand_in = nn.Identity()
        else:
            continue
        setattr(masks.get_submodule(parent), attribute, stand_in)
    masks(torch.ones_like(images[:1]))
    silenced = copy.deepcopy(network)
    for name, module in silenced.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            shape = (-1, 1, 1) if isinstance(module, nn.Conv2d) else (-1,)
            module.read = masks.get_submodule(name).read.view(shape)
            module.register_forward_pre_hook(lambda module, x: (x[0] * module.read,))
    return silenced


@each
@pytest.mark.parametrize("activation", ["relu", "pau"])
def test_a_pruned_network_computes_what_the_masked_one_does(name, channels, activation):
    network, kind, images = make(name, channels, activation)
    groups = filter_groups(network, kind, images)
    kept = strongest_filters(network, groups, everything(groups), 30, "sum_of_abs")
    with torch.no_grad():
        expected = masked(network, groups, kept, images)(images)
        unpruned = network(images)
        remove_other_filters(network, kind, images, kept)
        found = network(images)
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, rtol=1e-4, atol=1e-5)
    assert ((unpruned - expected).abs().max() / scale) > 0.01


@each
def test_every_convolution_loses_the_share_and_the_network_trains_on(name, channels):
    network, kind, images = make(name, channels, "pau")
    groups = filter_groups(network, kind, images)
    parameters, operations = count(network), multiply_adds(network, images)
    before = {n: m.out_channels for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    assert {n for group in groups for n in group.convolutions} == before.keys()
    kept = strongest_filters(network, groups, everything(groups), 50, "sum_of_abs")
    remove_other_filters(network, kind, images, kept)
    for conv, filters in before.items():
        assert network.get_submodule(conv).out_channels == filters // 2
    assert count(network) < parameters / 2
    assert multiply_adds(network, images) < operations / 2
    assert network(images).shape == (2, 10)
    units = [m for m in network.modules() if isinstance(m, PAU)]
    network.train()(images).sum().backward()
    assert all(unit.numerator.grad.abs().sum() > 0 for unit in units)


@pytest.mark.parametrize(
    ("name", "groups_and_convolutions"),
    [
        ("lenet", (3, 3)),
        ("mobilenetv2", (26, 57)),
        ("resnet101", (71, 104)),
        ("densenet121", (120, 120)),
    ],
)
def test_a_residual_sum_ties_and_a_concatenation_does_not(name, groups_and_convolutions):
    network, kind, images = make(name, 1 if name == "lenet" else 3)
    groups = filter_groups(network, kind, images)
    convolutions = [n for group in groups for n in group.convolutions]
    assert (len(groups), len(set(convolutions))) == groups_and_convolutions
    assert len(convolutions) == len(set(convolutions))


def test_the_filters_whose_weights_sum_lowest_go_first():
    network, kind, images = make("lenet", 1)
    groups = filter_groups(network, kind, images)
    with torch.no_grad():
        for i, value in enumerate([3.0, -9.0, 2.0, 0.5, -1.0, 4.0]):
            network[0].weight[i] = value
    first = groups[0].name
    start = everything(groups)
    a_third = strongest_filters(network, groups, start, 33, "sum_of_abs")
    assert a_third[first] == [0, 1, 2, 5]
    assert strongest_filters(network, groups, start, 33, "sum")[first] == [0, 2, 3, 5]
    remove_other_filters(network, kind, images, a_third)
    # Shares are of the filters before any pruning, and their numbers stay.
    half = strongest_filters(network, groups, a_third, 50, "sum_of_abs")
    assert half[first] == [0, 1, 5]


@pytest.mark.parametrize(("share", "left"), [(0, 6), (8, 6), (9, 5), (10, 5), (60, 2), (91, 1)])
def test_shares_are_rounded_to_the_nearest_number_of_filters(share, left):
    network, kind, images = make("lenet", 1)
    groups = filter_groups(network, kind, images)
    kept = strongest_filters(network, groups, everything(groups), share, "sum_of_abs")
    assert len(kept[groups[0].name]) == left


def test_a_share_that_leaves_a_layer_nothing_is_refused_with_its_name():
    network, kind, images = make("lenet", 1)
    groups = filter_groups(network, kind, images)
    check_share(groups, 91)
    with pytest.raises(ConfigurationError, match="92 % of the 6 filters of layer 0 would be all"):
        check_share(groups, 92)


def test_a_share_that_removes_nothing_is_refused():
    network, kind, images = make("lenet", 1)
    groups = filter_groups(network, kind, images)
    check_share(groups, 0)
    check_share(groups, 0.5)  # one of 120
    with pytest.raises(ConfigurationError, match=r"0\.2 % of the filters would be none"):
        check_share(groups, 0.2)


def test_multiply_adds_are_those_of_the_layers():
    network, _, images = make("lenet", 1)
    expected = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 120 * 16 * 25 + 120 * 84 + 84 * 10
    assert multiply_adds(network, images) == expected


def count(network):
    return sum(p.numel() for p in network.parameters())
