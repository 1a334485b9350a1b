"""Bounds of the other activations: what they promise, held against what the modules compute."""

import math

import pytest
import torch
from derivatives import SMOOTH, derivative, sign
from torch import nn

from pade_bench import bounds
from pade_bench.activations import APL, PAU, Maxout, Mixture, SReLU
from pade_bench.activations.factory import activation_factory
from pade_bench.bounds.catalog import relaxation_of
from pade_bench.errors import ConfigurationError

ELEMENTWISE = (
    "relu", "relu6", "lrelu", "rrelu", "elu", "celu", "swish", "prelu", "mixture", "apl", "srelu",
    "slaf", "gelu", "mish", "selu", "softplus", "tanh", "sigmoid", "pau", "rpau",
)  # fmt: skip
PIECEWISE_LINEAR = ("relu", "relu6", "lrelu", "rrelu", "prelu", "mixture", "apl", "srelu")
INTERVALS = 4000


def make(name, dtype=torch.float64, trained=True):
    """Return an activation whose parameters have moved away from where they start."""
    torch.manual_seed(len(name))
    activation = activation_factory(name)().to(dtype).eval()
    with torch.no_grad():
        for parameter in activation.parameters() if trained else ():
            parameter += 0.3 * torch.randn_like(parameter)
    return activation


def draw_intervals(dtype=torch.float64):
    """Return intervals of all sizes, many of which have an end where something changes."""
    generator = torch.Generator().manual_seed(0)

    def uniform():
        return torch.rand(INTERVALS, generator=generator, dtype=torch.float64)

    center = (uniform() - 0.5) * 10 ** (4 * uniform() - 2)
    special = torch.tensor([0.0, 1.0, -1.0, 6.0, 20.0, -20.0, -1.2784645, 1.4142135])
    center = torch.where(uniform() < 0.3, special[(uniform() * 8).long()].double(), center)
    width = 10 ** (8 * uniform() - 7)
    share = (uniform() * 3).floor() / 2
    lower = (center - share * width).to(dtype)
    return lower, torch.maximum((center + (1 - share) * width).to(dtype), lower)


def draw_points(lower, upper):
    """Return points of each interval, (17, N), the ends among them."""
    share = torch.linspace(0, 1, 17, dtype=lower.dtype)[:, None]
    x = torch.lerp(lower, upper, share)
    return torch.minimum(torch.maximum(x, lower), upper)


def count_violations(activation, dtype):
    """Count points where what the module computes lies outside of its bounds."""
    lower, upper = draw_intervals(dtype)
    x = draw_points(lower, upper)
    with torch.no_grad():
        y = activation(x).double()
    x, ends = x.double(), (lower.double(), upper.double())
    relaxation = relaxation_of(activation)
    low, high = relaxation.interval(*ends, dtype=dtype)
    (k1, c1), (k2, c2) = relaxation.lines(*ends, dtype=dtype)
    wrong = (y < low) | (y > high)
    for k, c, side in ((k1, c1, 1), (k2, c2, -1)):
        wrong |= side * (y - (k * x + c)) < -(2**-51) * (k.abs() * x.abs() + c.abs())
    return int(wrong.sum())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nothing_lies_outside(name, dtype):
    assert count_violations(make(name, dtype), dtype) == 0
    assert count_violations(make(name, dtype, trained=False), dtype) == 0


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_ranges_are_not_wider_than_the_values(name):
    activation = make(name)
    lower = torch.linspace(-8, 7, 40, dtype=torch.float64)
    upper = lower + torch.linspace(0.1, 6, 40, dtype=torch.float64)
    low, high = bounds.interval(activation, lower, upper)
    x = torch.lerp(lower, upper, torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None])
    with torch.no_grad():
        y = activation(x)
    reached = 2e-4 * (upper - lower)  # between two of the points, where there is a kink
    assert (low >= y.amin(0) - reached).all()
    assert (high <= y.amax(0) + reached).all()


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_of_one_piece_both_lines_are_the_piece(name):
    activation = make(name)
    lower = torch.linspace(-30, 30, 13, dtype=torch.float64)
    lower = lower[lower.abs() > 8]
    (k1, c1), (k2, c2) = bounds.lines(activation, lower, lower + 1)
    torch.testing.assert_close(k1, k2, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(c1, c2, rtol=1e-9, atol=1e-8)


def test_lines_around_relu_are_those_of_crown():
    lower = torch.tensor([-1.0, -3.0, -2.0, 1.0])
    (k1, _), (k2, c2) = bounds.lines(nn.ReLU(), lower, torch.tensor([3.0, 1.0, -1.0, 2.0]))
    torch.testing.assert_close(k1, torch.tensor([1.0, 0.0, 0.0, 1.0]).double())
    torch.testing.assert_close(k2, torch.tensor([0.75, 0.25, 0.0, 1.0]).double())
    torch.testing.assert_close(c2, torch.tensor([0.75, 0.75, 0.0, 0.0]).double(), rtol=0, atol=1e-9)


def pieces(points):
    """Return what lies between points that are enclosed, within [-6, 6]."""
    # At a zero that is known exactly the sign has a limit, and no value.
    enclosures = [(x - 1e-9, x + 1e-9) if x == y else (x, y) for x, y in points]
    edges = [-6.0, *(x for enclosure in enclosures for x in enclosure), 6.0]
    return zip(edges[::2], edges[1::2], strict=True)


@pytest.mark.parametrize("name", SMOOTH)
def test_turning_points_and_inflections_are_where_they_are_said_to_be(name):
    curve, function = relaxation_of(make(name)), SMOOTH[name]
    assert [sign(function, *ends, order=2) for ends in pieces(curve.knots)] == curve.bends
    turns = [(e.left, e.right) for e in curve.extrema]
    assert [sign(function, *ends, order=1) for ends in pieces(turns)] == [-1, 1][-1 - len(turns) :]
    for extremum in curve.extrema:
        assert extremum.high is None
        for x in (extremum.left, extremum.right):
            value = derivative(function, x, order=0)
            assert extremum.low < value
            assert value - extremum.low < 1e-15


def test_a_wrong_constant_is_caught():
    function = SMOOTH["swish"]
    assert sign(function, 0, 2.3993572805154675, order=2) == 1
    assert sign(function, 0, 2.3993572805154684, order=2) is None


# That the tests above can fail.


@pytest.mark.parametrize("name", ["swish", "srelu", "tanh"])
def test_an_error_left_out_is_caught(name, monkeypatch):
    activation = make(name, torch.float32)
    kind = type(relaxation_of(activation))
    monkeypatch.setattr(kind, "error", lambda self, lower, *_: torch.zeros_like(lower))
    assert count_violations(activation, torch.float32) > 0


@pytest.mark.parametrize("name", ["swish", "gelu", "tanh", "softplus"])
def test_a_bend_of_the_wrong_sign_is_caught(name, monkeypatch):
    activation = make(name)
    curve = relaxation_of(activation)
    curve.bends = [-bend for bend in curve.bends]
    monkeypatch.setattr(type(activation), "relaxation", lambda _: curve, raising=False)
    assert count_violations(activation, torch.float64) > 0


def test_crossed_thresholds_of_srelu_jump():
    activation = SReLU().double()
    with torch.no_grad():
        activation.left_threshold.fill_(1.0)
        activation.right_threshold.fill_(-1.0)
        activation.right_slope.fill_(2.0)
        activation.left_slope.fill_(-0.5)
    assert count_violations(activation, torch.float64) == 0


def test_hinges_of_apl_bend_either_way():
    activation = APL().double()
    with torch.no_grad():
        activation.slopes.copy_(torch.linspace(-1, 1, activation.slopes.numel()))
        activation.offsets.copy_(torch.linspace(-1, 1, activation.offsets.numel()))
    assert count_violations(activation, torch.float64) == 0


@pytest.mark.parametrize("logit", [-30.0, -1.0, 0.0, 12.0])
def test_mixtures_of_every_weight_are_bounded(logit):
    activation = Mixture()
    with torch.no_grad():
        activation.logit.fill_(logit)
    assert count_violations(activation, torch.float32) == 0


@pytest.mark.parametrize("beta", [0.5, 1.0, 8.0])
def test_softplus_of_every_beta_is_bounded_where_torch_cuts_it_off(beta):
    assert count_violations(nn.Softplus(beta, threshold=3.0), torch.float64) == 0


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 3.0])
def test_elu_of_every_alpha_is_bounded(alpha):
    assert count_violations(nn.ELU(alpha), torch.float32) == 0


# Maxout takes several channels to one.


def test_maxout_has_the_range_of_the_largest_channel():
    activation = Maxout()
    k = activation.channel_multiplier
    lower = torch.randn(5, 3 * k, 4, dtype=torch.float64)
    upper = lower + torch.rand_like(lower)
    low, high = bounds.interval(activation, lower, upper)
    torch.testing.assert_close(low, activation(lower), rtol=0, atol=0)
    torch.testing.assert_close(high, activation(upper), rtol=0, atol=0)


def test_lines_around_maxout_hold_for_all_channels_together():
    activation = Maxout()
    k = activation.channel_multiplier
    torch.manual_seed(0)
    lower = torch.randn(2000, 3 * k, dtype=torch.float64)
    upper = lower + torch.rand_like(lower) * 2
    (k1, c1), (k2, c2) = bounds.lines(activation, lower, upper)
    for share in torch.rand(50, *lower.shape, dtype=torch.float64).round(decimals=1):
        x = torch.lerp(lower, upper, share)
        y = activation(x)
        below = (k1 * x).unflatten(1, (3, k)).sum(2) + c1
        above = (k2 * x).unflatten(1, (3, k)).sum(2) + c2
        assert (below <= y + 1e-14).all()
        assert (y <= above + 1e-14).all()


# Bad input, and classes of one's own.


@pytest.mark.parametrize(
    "activation", [nn.PReLU(3), nn.GELU("tanh"), nn.CELU(-1.0), nn.Softplus(-1.0), nn.Hardtanh()]
)
def test_what_is_not_known_is_refused_by_its_name(activation):
    with pytest.raises(ConfigurationError, match=rf"{type(activation).__name__}\(.* has no bounds"):
        bounds.interval(activation, torch.zeros(1), torch.ones(1))


def test_a_class_may_bring_its_own_relaxation():
    class Half(nn.Module):
        def forward(self, x):
            return 0.5 * x.relu()

        def relaxation(self):
            return Halved()

    class Halved(bounds.Relaxation):
        def interval(self, lower, upper, dtype=torch.float64):
            return 0.5 * lower.relu(), 0.5 * upper.relu()

        def lines(self, lower, upper, dtype=torch.float64):
            low, high = self.interval(lower, upper)
            return (torch.zeros_like(low), low), (torch.zeros_like(low), high)

    low, high = bounds.interval(Half(), -torch.ones(2), torch.ones(2))
    assert low.tolist() == [0, 0]
    assert high.tolist() == [0.5, 0.5]


def test_a_slaf_is_bounded_as_the_polynomial_that_it_is():
    activation = activation_factory("slaf")().double()
    low, high = bounds.interval(activation, torch.zeros(1).double(), torch.ones(1).double())
    degree = activation.coefficients.numel() - 1
    with torch.no_grad():
        activation.coefficients.zero_()
        activation.coefficients[degree] = math.factorial(degree)
    low, high = bounds.interval(activation, torch.zeros(1).double(), torch.full((1,), 2.0).double())
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(2**degree)


def test_parameters_that_are_not_finite_are_refused():
    activation = PAU()
    activation.denominator.data[1] = torch.nan
    with pytest.raises(ConfigurationError, match="its parameter denominator is not finite"):
        bounds.lines(activation, torch.zeros(1), torch.ones(1))
