"""Ranges of Padé units: never too narrow, hardly ever too wide."""

import arb
import numpy as np
import pytest
import torch
from random_units import (
    KINDS,
    count_violations,
    curve,
    draw_intervals,
    draw_points,
    draw_unit,
    trained_units,
    violations,
)
from torch import nn

from pade_bench import PAU, RPAU, bounds
from pade_bench.bounds.conditioning import Conditioning
from pade_bench.bounds.curves import Extremum
from pade_bench.errors import ConfigurationError
from pade_bench.ops import FORMS

# The error of A alone lets what the kernel computes miss F by this factor times more.
CANCELLING = ("near_cancelling", "steep", "huge", "subnormal", "other_degrees")


def test_no_value_lies_outside():
    assert count_violations(KINDS, units=4, points=3000) == 0


@pytest.mark.slow
def test_no_value_of_ten_million_lies_outside():
    assert count_violations(KINDS, units=56, points=20_000) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_ranges_are_those_of_interval_arithmetic(kind):
    # The roots of some take long; of each kind there are 225 intervals.
    units, intervals = (5, 45) if kind in ("other_degrees", "subnormal") else (15, 15)
    for i in range(units):
        random = np.random.default_rng([7, i])
        coefficients = draw_unit(kind, random)
        unit, exact = curve(*coefficients), arb.Unit(*coefficients)
        lower, upper = draw_intervals(unit, random, intervals)
        low, high = unit.interval(lower, upper)
        for ends, range_ in zip(
            torch.stack((lower, upper), 1).tolist(), torch.stack((low, high), 1).tolist(),
            strict=True,
        ):  # fmt: skip
            if not np.isfinite(range_).all():
                assert kind in ("huge", "subnormal")
                continue
            least, most = (exact.value(x) for x in exact.extremes(*ends))
            assert arb.number(range_[0]) <= least
            assert most <= arb.number(range_[1])
            excess = max(float(least - arb.number(range_[0])), float(arb.number(range_[1]) - most))
            conditions = [exact.condition(x) for x in exact.candidates(*ends)]
            allowed = max(float(p * (q if kind in CANCELLING else 1)) for p, q in conditions)
            assert excess <= 1e-9 * allowed + 1e-290


# That the tests above can fail: each way to be wrong is caught by one of them.


def test_an_extremum_left_out_is_caught():
    caught = 0
    for a, b in trained_units()[:8]:
        unit = curve(a, b, "abs_of_sum")
        for left_out in unit.extrema:
            lower = torch.tensor([left_out.left - 0.01], dtype=torch.float64)
            x = torch.tensor([left_out.left], dtype=torch.float64)
            intervals = lower, lower + 0.02
            assert violations(unit, (a, b, "abs_of_sum"), intervals, x) == 0
            kept = unit.extrema
            unit.extrema = [e for e in kept if e is not left_out]
            caught += violations(unit, (a, b, "abs_of_sum"), intervals, x)
            unit.extrema = kept
    assert caught >= 14


def test_extrema_of_the_wrong_sign_are_caught():
    def turn(unit):
        unit.extrema = [Extremum(e.left, e.right, e.high, e.low) for e in unit.extrema]

    assert count_violations(["trained", "normal"], units=6, points=500, change=turn) > 0


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_rounding_to_nearest_and_inward_are_caught(factor, monkeypatch):
    bound = Conditioning.bound
    monkeypatch.setattr(
        Conditioning, "bound", lambda *arguments, **options: factor * bound(*arguments, **options)
    )
    assert count_violations(["trained", "initial"], units=6, points=500) > 0


def test_a_denominator_of_the_wrong_sign_is_caught():
    wrong = 0
    for i in range(8):
        random = np.random.default_rng([1, i])
        a, b, _ = draw_unit("normal", random)
        unit = curve(a, b, "sum_of_abs")
        intervals = draw_intervals(unit, random, 500)
        x = draw_points(unit, *intervals, random)
        wrong += violations(unit, (a, b, "abs_of_sum"), intervals, x)
    assert wrong > 0


# The public function.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [PAU, RPAU])
def test_modules_have_ranges_of_the_shape_of_their_intervals(kind, form):
    activation = kind(form=form).eval()
    lower = torch.linspace(-3, 2, 24, dtype=torch.float64).reshape(2, 3, 4)
    low, high = bounds.interval(activation, lower, lower + 1)
    assert low.shape == high.shape == lower.shape
    assert low.dtype == high.dtype == torch.float64
    with torch.no_grad():
        for share in (0, 0.3, 1):
            y = activation(lower + share)
            assert ((low <= y) & (y <= high)).all()


def test_the_range_is_that_of_the_coefficients_of_now():
    activation = PAU()
    ends = torch.tensor([-1.0]), torch.tensor([1.0])
    before = bounds.interval(activation, *ends)
    with torch.no_grad():
        activation.numerator.mul_(2)
    after = bounds.interval(activation, *ends)
    torch.testing.assert_close(after, (2 * before[0], 2 * before[1]), rtol=1e-9, atol=0)


def test_float64_coefficients_are_not_rounded():
    activation = PAU(dtype=torch.float64)
    with torch.no_grad():
        activation.numerator.copy_(torch.tensor([0.1, 0.7, 0, 0, 0, 0], dtype=torch.float64))
        activation.denominator.zero_()
    x = torch.tensor([0.3], dtype=torch.float64)
    low, high = bounds.interval(activation, x, x)
    assert low < 0.1 + 0.7 * 0.3 < high
    assert high - low < 1e-14


def test_infinite_ends_give_infinite_ranges():
    low, high = bounds.interval(PAU(), torch.tensor([-torch.inf]), torch.tensor([0.0]))
    assert (low, high) == (-torch.inf, torch.inf)


def test_where_the_evaluation_overflows_nothing_is_claimed():
    low, high = bounds.interval(PAU(), torch.tensor([0.0]), torch.tensor([1e200]).double())
    assert (low, high) == (-torch.inf, torch.inf)


def test_ranges_of_no_intervals_are_none():
    low, high = bounds.interval(PAU(), torch.empty(0, 3), torch.empty(0, 3))
    assert low.shape == high.shape == (0, 3)


def unsafe_with_pole_at(x):
    activation = PAU(form="unsafe")
    with torch.no_grad():
        activation.denominator.zero_()
        activation.denominator[0] = -1 / x
    return activation


def test_an_interval_that_holds_a_pole_is_refused():
    activation = unsafe_with_pole_at(2.0)
    bounds.interval(activation, torch.tensor([0.0]), torch.tensor([1.9]))
    for function in (bounds.interval, bounds.lines):
        with pytest.raises(ConfigurationError, match=r"pole in \[1.5, 2\], at \[1\]"):
            function(activation, torch.tensor([0.0, 1.5]), torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_coefficients_that_are_not_finite_are_refused(value):
    activation = PAU()
    activation.numerator.data[2] = value
    with pytest.raises(ConfigurationError, match="its parameter numerator is not finite"):
        bounds.interval(activation, torch.zeros(1), torch.ones(1))


@pytest.mark.parametrize(("lower", "upper"), [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("nan"))])
def test_what_is_no_interval_is_refused(lower, upper):
    with pytest.raises(ConfigurationError, match=r"at \[1\], is no interval"):
        bounds.interval(PAU(), torch.tensor([0.0, lower]), torch.tensor([0.0, upper]))


def test_ends_of_different_shapes_are_refused():
    with pytest.raises(ConfigurationError, match=r"lower has the shape \(2,\), upper \(3,\)"):
        bounds.interval(PAU(), torch.zeros(2), torch.ones(3))


def test_a_random_activation_is_refused():
    with pytest.raises(ConfigurationError, match=r"RPAU.*training mode, in which it is random"):
        bounds.interval(RPAU(), torch.zeros(1), torch.ones(1))


def test_an_activation_of_which_nothing_is_known_is_refused_by_name():
    class Mine(nn.ReLU):  # a derived class may compute anything
        def forward(self, x):
            return x.sin()

    with pytest.raises(ConfigurationError, match=r"activation Mine\(\) has no bounds"):
        bounds.interval(Mine(), torch.zeros(1), torch.ones(1))
