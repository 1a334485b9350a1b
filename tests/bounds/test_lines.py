"""Lines around Padé units: how close they come to the best ones, and where there are none."""

import copy
import functools

import numpy as np
import pytest
import torch
from random_units import count_violations, curve, trained_units, violations

from pade_bench import PAU, bounds
from pade_bench.bounds.rational import Rational

POINTS = 401  # of each interval


@functools.cache
def trained_curves():
    return [curve(a, b, "abs_of_sum") for a, b in trained_units()]


def best_height(x, y):
    """Return how high above the middle of x the highest line below all points (x, y) is."""
    # By duality, that is the lowest chord over the middle.
    half = len(x) // 2
    left, right = slice(0, half + 1), slice(half + 1, None)
    share = (x[half] - x[left, None]) / (x[right] - x[left, None])
    return ((1 - share) * y[left, None] + share * y[right]).min()


@pytest.mark.parametrize("width", [0.01, 0.1, 0.5, 1.0, 2.0, 4.0])
def test_lines_of_trained_units_are_nearly_the_best(width):
    """The mean distance between both lines, over that of the best two lines there are."""
    ratios = []
    for number, unit in enumerate(trained_curves()):
        lower = torch.from_numpy(np.random.default_rng(number).uniform(-4, 4 - width, 20))
        middle = lower + width / 2
        (k1, c1), (k2, c2) = unit.lines(lower, lower + width)
        ours = (k2 * middle + c2 - k1 * middle - c1).numpy()
        for left, distance in zip(lower.tolist(), ours, strict=True):
            x = np.linspace(left, left + width, POINTS)
            y = unit.value(torch.from_numpy(x)).numpy()
            best = -best_height(x, -y) - best_height(x, y)
            # The grid lets the best lines cut off what lies between two points.
            assert distance >= best * (1 - 1e-9) - 1e-12
            ratios.append((distance + 1e-12) / (best + 1e-12 + 1e-5 * width**2))
    assert np.median(ratios) < 1.03
    assert np.quantile(ratios, 0.95) < 1.25
    assert max(ratios) < 2


def test_lines_are_closer_than_ranges():
    lower = torch.linspace(-3, 2, 50, dtype=torch.float64)
    low, high = bounds.interval(PAU(), lower, lower + 1)
    (k1, c1), (k2, c2) = bounds.lines(PAU(), lower, lower + 1)
    middle = lower + 0.5
    distance = k2 * middle + c2 - k1 * middle - c1
    assert (distance <= (high - low) * (1 + 1e-12)).all()
    assert distance.mean() < 0.1 * (high - low).mean()


def test_a_point_has_lines_through_its_value():
    x = torch.tensor([-1.0, 0.0, 1e-300, 0.7], dtype=torch.float64)
    unit = PAU(dtype=torch.float64)
    (k1, c1), (k2, c2) = bounds.lines(unit, x, x)
    y = unit(x).detach()
    for k, c in ((k1, c1), (k2, c2)):
        torch.testing.assert_close(k * x + c, y, rtol=0, atol=1e-13)


def test_an_infinite_interval_has_level_lines():
    ends = torch.tensor([-torch.inf]), torch.tensor([0.0])
    for slope, _ in bounds.lines(PAU(), *ends):
        assert slope == 0


def test_lines_have_the_shape_of_their_intervals():
    lower = torch.randn(2, 3, 4)
    for line in bounds.lines(PAU(), lower, lower + 1):
        for part in line:
            assert part.shape == lower.shape
            assert part.dtype == torch.float64


# That the test of soundness can fail.


def test_bends_of_the_wrong_sign_are_caught():
    def turn(unit):
        unit.bends = [-bend for bend in unit.bends]

    assert count_violations(["trained", "normal"], units=4, points=500, change=turn) > 0


def test_a_knot_left_out_is_caught():
    caught = 0
    for (a, b), whole in zip(trained_units()[:8], trained_curves(), strict=False):
        for left_out in range(len(whole.knots)):
            unit = copy.deepcopy(whole)
            at = unit.knots[left_out][0]
            del unit.knots[left_out], unit.bends[left_out], unit._sides[left_out]
            lower = torch.full((1000,), at - 0.5, dtype=torch.float64)
            x = torch.linspace(at - 0.5, at + 0.5, 1000, dtype=torch.float64)
            caught += violations(unit, (a, b, "abs_of_sum"), (lower, lower + 1), x) > 0
    assert caught >= 8


@pytest.mark.parametrize("upper", [False, True])
def test_lines_that_are_swapped_or_too_steep_are_caught(upper, monkeypatch):
    right = Rational.lines

    def wrong(self, *arguments, **options):
        lines = right(self, *arguments, **options)
        slope, intercept = lines[upper]
        changed = 1.0001 * slope + 1e-4 * (1 - 2 * upper), intercept
        return (lines[0], changed) if upper else (changed, lines[1])

    monkeypatch.setattr(Rational, "lines", wrong)
    assert count_violations(["trained", "normal"], units=2, points=500) > 0
