from __future__ import annotations

import pytest
import torch
from torch import nn

from pade_bench.activations import check_activation
from pade_bench.activations.factory import activation_factory
from pade_bench.errors import ConfigurationError


class Function(nn.Module):
    def __init__(self, function, channel_multiplier=1):
        super().__init__()
        self.function = function
        self.channel_multiplier = channel_multiplier

    def forward(self, x):
        return self.function(x)


def maxout(x):
    return x.unflatten(1, (x.shape[1] // 2, 2)).amax(2)


def test_an_activation_that_reduces_channels_passes():
    check_activation(Function(maxout, channel_multiplier=2))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Function(maxout), r"Function maps \(2, 8, 4, 4\) to \(2, 4, 4, 4\).*channel_multiplier"),
        (Function(torch.relu, 2), r"Function maps \(2, 16, 4, 4\) to \(2, 16, 4, 4\)"),
        (Function(lambda x: x.flatten(1)), r"must return \(2, 8, 4, 4\)"),
        (Function(lambda x: x.half()), r"of torch.float16; it must return"),
        (Function(lambda x: (x,)), r"Function returns a tuple, not a tensor"),
        (Function(lambda x: x.detach()), r"Function is not differentiable"),
        (Function(lambda x: torch.ones_like(x, requires_grad=True)), r"not differentiable"),
        (Function(lambda x: x + torch.ones(3)), r"fails on an input of .*RuntimeError: The size"),
        (nn.Conv2d(8, 8, 1), r"Conv2d fails on an input of shape \(2, 8\)"),
        (Function(torch.relu, 0), r"channel_multiplier=0 is not a positive whole number"),
        (Function(torch.relu, "2"), r"channel_multiplier='2' is not a positive whole number"),
    ],
)
def test_what_cannot_serve_is_refused_by_name(module, message):
    with pytest.raises(ConfigurationError, match=message):
        check_activation(module)


def test_check_leaves_no_trace():
    module = Noisy()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        check_activation(module)
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert module.scale.grad is None


class Noisy(nn.Module):
    """Draws random numbers, counts its calls in a buffer and has a parameter."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        self.calls += 1
        return self.scale * x * torch.rand_like(x)


def test_a_class_outside_of_the_package_works_by_its_target(tmp_path, monkeypatch):
    (tmp_path / "my_activations.py").write_text(
        "import torch\n"
        "class Sine(torch.nn.Module):\n"
        "    def __init__(self, frequency):\n"
        "        super().__init__()\n"
        "        self.frequency = torch.nn.Parameter(torch.tensor(frequency))\n"
        "    def forward(self, x):\n"
        "        return torch.sin(self.frequency * x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    make = activation_factory({"_target_": "my_activations.Sine", "frequency": 2.0})
    first, second = make(), make()
    check_activation(first)
    assert first.frequency is not second.frequency
    torch.testing.assert_close(first(torch.ones(1)), torch.tensor([2.0]).sin())
