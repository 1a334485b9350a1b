"""Conversion changes nothing of a network but its activations."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pade_bench import PAU, convert_activations
from pade_bench.errors import ConfigurationError


def x(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Stateful(nn.Module):
    """Changes whatever a network can change by running."""

    def __init__(self):
        super().__init__()
        self.layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3))
        self.norm, self.act, self.drop = nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout()
        self.register_buffer("steps", torch.zeros(()))
        self.weight = nn.Parameter(torch.ones(3))
        self.seen, self.table, self.plain, self.last = [], {}, torch.zeros(3), None

    def forward(self, x):
        self.steps += 1
        self.plain += 1
        self.weight.data.mul_(0.5)
        self.table["last"] = random.random() + np.random.rand()  # noqa: NPY002
        y = self.drop(self.act(self.norm(self.layer(x)))) * self.weight
        self.seen.append(y)
        self.last, self.new = y, y
        return y


@pytest.mark.parametrize("refused", [False, True])
def test_nothing_but_the_units_differs_afterwards(refused):
    torch.manual_seed(0)
    network = Stateful().train()
    network.norm.eval()  # a mode of its own
    called = []
    handle = network.act.register_forward_hook(lambda *_: called.append(1))
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    before = copy.deepcopy(network)
    old = network.act
    if refused:
        network.drop.forward = F.relu
        with pytest.raises(ConfigurationError):
            convert_activations(network, "pau", example_input=x(4, 3))
        del network.drop.forward
        assert network.act is old
    else:
        convert_activations(network, "pau", example_input=x(4, 3))
        assert type(network.act) is PAU
        network.act = nn.ReLU()
        vars(network.act)["_forward_hooks"] = before.act._forward_hooks
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == states[1:]  # noqa: NPY002
    for (name, now), then in zip(network.named_modules(), before.modules(), strict=True):
        assert now.training == then.training, name
        assert vars(now).keys() == vars(then).keys(), name
    for (name, now), (_, then) in zip(
        network.state_dict().items(), before.state_dict().items(), strict=True
    ):
        assert torch.equal(now, then), name
    assert torch.equal(network.plain, torch.zeros(3))
    assert (network.seen, network.table, network.last) == ([], {}, None)
    assert all(p.grad is None for p in network.parameters())
    handle.remove()


def test_hooks_stay_at_their_place_and_their_handles_work():
    network, called = nn.Sequential(nn.Linear(3, 3), nn.ReLU()), []
    handle = network[1].register_forward_hook(lambda module, *_: called.append(type(module)))
    convert_activations(network, "pau")
    network(x(4, 3))
    assert called == [PAU]
    handle.remove()
    network(x(4, 3))
    assert called == [PAU]
