"""Bounds of networks: they hold for what a network computes in float32, and are not too wide."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pade_bench import PAU, build_model
from pade_bench.activations import Maxout
from pade_bench.bounds.affine import Affine
from pade_bench.bounds.catalog import relaxation_of
from pade_bench.bounds.curves import Curve
from pade_bench.bounds.network import METHODS, BoundedNetwork
from pade_bench.errors import ConfigurationError


class Branches(nn.Module):
    """Sums, concatenations, batch norm and averages."""

    def __init__(self, activation):
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.third = nn.Conv2d(6, 4, (3, 2), stride=(2, 1), dilation=2, padding=(2, 1))
        self.activations = nn.ModuleList(activation() for _ in range(4))
        self.pool = nn.AvgPool2d(2)
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        x = self.norm(self.first(x))
        x = x + self.second(self.activations[0](x))
        y = self.third(self.pool(self.activations[1](x)))
        y = torch.cat((self.activations[2](y), y, self.activations[3](y), y), dim=1)
        return self.last(torch.flatten(F.adaptive_avg_pool2d(y, 1), 1))


def convolutional(activation, pooling=None):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), activation(), pooling or nn.MaxPool2d(2), nn.Dropout(),
        nn.Conv2d(4, 6, 3, padding=1), activation(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(24, 12), nn.BatchNorm1d(12), activation(), nn.Linear(12, 4),
    )  # fmt: skip


def maxout(_):
    k = Maxout().channel_multiplier
    return nn.Sequential(
        nn.Conv2d(1, 3 * k, 3), Maxout(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(48, 5 * k), Maxout(), nn.Linear(5, 4),
    )  # fmt: skip


NETWORKS = {
    "convolutional": (convolutional, 1),
    "overlapping": (lambda a: convolutional(a, nn.MaxPool2d(3, stride=2, padding=0)), 1),
    "max-pooling": (lambda a: convolutional(a, nn.Sequential(nn.Identity(), nn.MaxPool2d(2))), 1),
    "branches": (Branches, 2),
    "maxout": (maxout, 1),
}


def make(name, activation=PAU, seed=0):
    """Return a network with statistics and weights as after training, and images for it."""
    torch.manual_seed(seed)
    build, channels = NETWORKS[name]
    size = 11 if name == "overlapping" else 10
    network, images = build(activation), torch.rand(3, channels, size, size)
    with torch.no_grad():
        network.train()(torch.randn(64, channels, size, size))
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network.eval(), images


def bound(network, images, epsilon, method):
    """Return bounds of the outputs for all images that close."""
    images = images.double()
    classes = network(images[:1].float()).shape[1]
    rows = torch.cat((torch.eye(classes), -torch.eye(classes)))[None]
    bounded = BoundedNetwork(network)
    found = bounded.lower_bounds(images - epsilon, images + epsilon, rows, method)
    low, high = found.chunk(2, dim=1)
    return low, -high


@torch.no_grad()
def count_violations(network, images, epsilon, method, samples):
    """Count the inputs with an output outside of its bounds: corners, faces and the inside."""
    low, high = bound(network, images, epsilon, method)
    wrong = 0
    for i, image in enumerate(images):
        for batch in range(samples // 500):
            noise = 2 * torch.rand(500, *image.shape) - 1
            noise = (noise * (1, 2, 1e4)[batch % 3]).clamp(-1, 1)
            # Not on the border itself, which rounding to float32 might cross.
            y = network(image + noise * epsilon * (1 - 1e-5)).double()
            wrong += int(((y < low[i]) | (y > high[i])).any(1).sum())
    return wrong


@torch.no_grad()
def pushed(network, images, epsilon, steps=30):
    """Return the lowest and highest outputs that gradients lead to."""
    ends = []
    for side in (-1, 1):
        outputs = []
        for c in range(network(images).shape[1]):
            x = images.clone()
            for _ in range(steps):
                with torch.enable_grad():
                    x.requires_grad_()
                    (g,) = torch.autograd.grad(network(x)[:, c].sum(), x)
                x = x.detach() + side * epsilon / 8 * g.sign()
                x = torch.minimum(torch.maximum(x, images - epsilon), images + epsilon)
            outputs.append(network(x)[:, c])
        ends.append(torch.stack(outputs, 1).double())
    return ends


@pytest.mark.parametrize("epsilon", [1e-6, 0.01, 0.2])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_output_lies_outside(name, method, epsilon):
    network, images = make(name)
    assert count_violations(network, images, epsilon, method, samples=1500) == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_output_of_a_hundred_thousand_lies_outside(name, method):
    network, images = make(name, seed=1)
    assert count_violations(network, images, 0.02, method, samples=34_000) == 0


@pytest.mark.parametrize("name", ["convolutional", "branches"])
@pytest.mark.parametrize("activation", [PAU, nn.ReLU, nn.SiLU])
def test_gradients_lead_close_to_the_bounds_but_not_across(name, activation):
    network, images = make(name, activation)
    low, high = bound(network, images, 0.003, "crown")
    least, most = pushed(network, images, 0.003)
    assert (low <= least).all()
    assert (most <= high).all()
    assert (high - low).mean() < 1.25 * (most - least).mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_linear_bounds_are_tighter_than_intervals(name):
    network, images = make(name)
    crown, ibp = (bound(network, images, 0.02, method) for method in ("crown", "ibp"))
    assert (crown[1] - crown[0]).mean() < 0.9 * (ibp[1] - ibp[0]).mean()


@pytest.mark.parametrize("method", METHODS)
def test_of_a_single_image_only_the_rounding_is_left(method):
    network, images = make("convolutional")
    low, high = bound(network, images, 0.0, method)
    y = network(images).double()
    assert ((low < y) & (y < high)).all()
    assert (high - low).max() < 1e-3


@pytest.mark.parametrize("name", ["convolutional", "branches"])
def test_bounds_do_not_depend_on_what_else_is_in_the_batch(name):
    network, images = make(name)
    together = bound(network, images, 0.01, "crown")
    alone = [bound(network, image[None], 0.01, "crown") for image in images]
    for side in range(2):
        apart = torch.cat([ends[side] for ends in alone])
        torch.testing.assert_close(together[side], apart, rtol=1e-5, atol=1e-5)


def test_infinite_ranges_are_no_errors():
    network, images = make("convolutional")
    low, high = bound(network, images, 1e30, "crown")
    assert (low == -torch.inf).all()
    assert (high == torch.inf).all()


# The paper's networks.


@pytest.mark.parametrize("activation", ["relu", "pau", "maxout"])
def test_lenet_is_bounded(activation):
    assert check_model("lenet", activation, 1, "crown") < math.inf


@pytest.mark.slow
@pytest.mark.parametrize("in_channels", [1, 3])
def test_both_vgg8_are_bounded_by_lines(in_channels):
    assert check_model("vgg8", "pau", in_channels, "crown") < math.inf


def test_vgg8_is_bounded_by_intervals():
    assert check_model("vgg8", "pau", 3, "ibp") < math.inf


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("mobilenetv2", 1e16), ("densenet121", 1e31), ("resnet101", math.inf)]
)
def test_deep_networks_are_bounded_by_intervals_that_say_nothing(name, size):
    # They widen from layer to layer: of a hundred, what begins as rounding exceeds float32.
    width = check_model(name, "relu", 3, "ibp")
    assert width == size or size / 100 < width < 100 * size


def check_model(name, activation, in_channels, method):
    """Return the mean width of the bounds, which hold for sampled inputs."""
    torch.manual_seed(0)
    network = build_model(name, activation, in_channels=in_channels).eval()
    image = torch.rand(1, in_channels, 32, 32)
    low, high = bound(network, image, 1e-5, method)
    assert count_violations(network, image, 1e-5, method, samples=500) == 0
    return (high - low).mean()


# That the tests can fail.


def caught():
    return sum(
        count_violations(*make(name), 0.01, "crown", samples=500)
        for name in ("convolutional", "branches")
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_rounding_error_left_out_is_caught(method, monkeypatch):
    torch.manual_seed(0)
    layers = [nn.Linear(50, 50) for _ in range(2)]
    with torch.no_grad():  # the second layer undoes the first, but for the rounding of both
        layers[0].weight.copy_(torch.randn(50, 50) + 1e3)
        layers[1].weight.copy_(layers[0].weight.double().inverse())
    network = nn.Sequential(nn.Flatten(), *layers).eval()
    images = torch.rand(2, 1, 5, 10)
    assert count_violations(network, images, 0.0, method, samples=500) == 0
    monkeypatch.setattr(Affine, "error", lambda self, x, _: torch.zeros_like(self.apply(x[0])))
    assert count_violations(network, images, 0.0, method, samples=500) > 0


def test_slopes_of_the_wrong_sign_are_caught(monkeypatch):
    right = Curve.lines

    def wrong(*arguments, **options):
        return tuple((-slope, intercept) for slope, intercept in right(*arguments, **options))

    monkeypatch.setattr(Curve, "lines", wrong)
    assert caught() > 0


def test_an_affine_constant_left_out_is_caught(monkeypatch):
    right = Affine.linearize

    def wrong(self, *inputs):
        found = right(self, *inputs)
        found.constant = None
        return found

    monkeypatch.setattr(Affine, "linearize", wrong)
    assert caught() > 0


# Bad input.


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.Linear(3, 2), nn.Hardtanh()), r"1 \(Hardtanh\): Hardtanh has no bounds"),
        (nn.Sequential(nn.Linear(3, 2).double()), "parameters of torch.float64"),
        (nn.Sequential(nn.MaxPool2d(2, padding=1)), "pooling with padding"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding="same")), "padding='same' has no bounds"),
        (nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), "the batch's own statistics"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_bounded_is_refused_with_the_place(network, message):
    with pytest.raises(ConfigurationError, match=message):
        BoundedNetwork(network.eval())


def test_a_function_that_cannot_be_bounded_is_named_with_its_line():
    class Product(nn.Module):
        def forward(self, x):
            return x * x

    with pytest.raises(
        ConfigurationError, match=r"test_networks.py, line \d+.*: mul has no bounds"
    ):
        BoundedNetwork(Product().eval())


def test_a_network_in_training_mode_is_refused():
    with pytest.raises(ConfigurationError, match="training mode; call eval"):
        BoundedNetwork(nn.Sequential(nn.Linear(2, 2)))


def test_weights_that_are_not_finite_are_refused_with_their_place():
    network, _ = make("convolutional")
    network[4].weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ConfigurationError, match=r"4 \(Conv2d\): weight is not finite"):
        BoundedNetwork(network)
    network, _ = make("convolutional")
    network[1].numerator.data[0] = torch.inf
    with pytest.raises(ConfigurationError, match=r"1 \(PAU\): .* numerator is not finite"):
        BoundedNetwork(network)


def test_relaxations_are_found_once_for_equal_coefficients():
    assert relaxation_of(PAU()) is relaxation_of(PAU())
