"""Padé units of every kind, intervals that are hard for them, and what violates their bounds."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from pade_bench import functional
from pade_bench.activations.coefficients import FUNCTIONS, initial_coefficients
from pade_bench.bounds.rational import Rational
from pade_bench.ops import Unit, reference

KINDS = (
    "trained", "initial", "normal", "near_cancelling", "steep", "huge", "subnormal", "sparse",
    "other_degrees",
)  # fmt: skip
SAFE_FORMS = ("abs_of_sum", "sum_of_abs")


def trained_units():
    """Return (a, b) of the 24 units of six LeNets trained on MNIST for 20 epochs."""
    with open(Path(__file__).parent / "trained_units.csv") as file:
        return [
            (
                np.array([float(row[f"a{j}"]) for j in range(6)]),
                np.array([float(row[f"b{k}"]) for k in range(1, 5)]),
            )
            for row in csv.DictReader(file)
        ]


def draw(kind, random, form):
    """Return coefficients (a, b) of a kind, as float64 arrays."""
    if kind == "trained":
        units = trained_units()
        return units[random.integers(len(units))]
    if kind == "initial":
        name = list(FUNCTIONS)[random.integers(len(FUNCTIONS))]
        start = initial_coefficients(name, (5, 4), form)
        return np.array(start.numerator), np.array(start.denominator)
    m, n = (random.integers(1, 11, 2) if kind == "other_degrees" else (5, 4)).__iter__()
    a, b = random.normal(size=m + 1), random.normal(size=n)
    if kind == "near_cancelling":
        # A = c x (x - r)(x - s)… with roots that nearly meet, and P small where A is.
        roots = random.normal() + random.normal(size=3) * 10.0 ** random.uniform(-8, -1)
        b = np.polynomial.polynomial.polyfromroots(roots) * 10.0 ** random.uniform(0, 4)
        a = np.polynomial.polynomial.polyfromroots([*roots, *roots[:2] * (1 + 1e-9)])
    elif kind == "steep":
        b = b * 10.0 ** random.uniform(2, 7)
        a = a * 10.0 ** random.uniform(0, 7)
    elif kind == "huge":
        a, b = a * 10.0 ** random.uniform(10, 35, m + 1), b * 10.0 ** random.uniform(10, 35, n)
    elif kind == "subnormal":
        a, b = a * 10.0 ** random.uniform(-320, -300), b * 10.0 ** random.uniform(-320, -300)
        a[random.integers(len(a))] = random.normal()
    elif kind == "sparse":
        a, b = a * (random.random(m + 1) < 0.4), b * (random.random(n) < 0.4)
    # Half of them are what a float32 parameter can hold.
    if random.random() < 0.5 and kind != "subnormal":
        a, b = np.float64(np.float32(a)), np.float64(np.float32(b))
    return a, b


def draw_unit(kind, random, forms=SAFE_FORMS):
    """Return a unit of a kind as (a, b, form)."""
    form = forms[random.integers(len(forms))]
    return (*draw(kind, random, form), form)


def curve(a, b, form):
    """Return the relaxation of a unit."""
    return Rational([Fraction(float(c)) for c in a], [Fraction(float(c)) for c in b], form)


def special_points(unit):
    """Return the turning points, knots and seams of a relaxation, and their neighbors."""
    points = {x for e in unit.extrema for x in (e.left, e.right)}
    points |= {x for knot in unit.knots for x in knot}
    points = np.array([0.0, *points])
    return np.concatenate((points, np.nextafter(points, -np.inf), np.nextafter(points, np.inf)))


def draw_intervals(unit, random, n):
    """Return (lower, upper) of n intervals: of all sizes, some with ends at special points."""
    special = special_points(unit)
    center = random.normal(size=n) * 10.0 ** random.uniform(-3, 1.5, n)
    near = random.random(n) < 0.5
    center[near] = special[random.integers(len(special), size=near.sum())]
    width = 10.0 ** random.uniform(-18, 1, n) * (1 + np.abs(center) * random.integers(0, 2, n))
    share = random.choice([0.0, 0.5, 1.0], n)
    share = np.where(random.random(n) < 0.5, share, random.random(n))
    lower, upper = center - share * width, center + (1 - share) * width
    return torch.from_numpy(np.minimum(lower, upper)), torch.from_numpy(np.maximum(lower, upper))


def draw_points(unit, lower, upper, random):
    """Return one point of each interval: anywhere, at an end, or at a special point."""
    lower, upper = lower.numpy(), upper.numpy()
    n = len(lower)
    special = special_points(unit)
    x = lower + random.random(n) * (upper - lower)
    x = np.where(random.random(n) < 0.3, special[random.integers(len(special), size=n)], x)
    x = np.where(random.random(n) < 0.1, lower, np.where(random.random(n) < 0.1, upper, x))
    return torch.from_numpy(np.clip(x, lower, upper))


def computed(a, b, form, x):
    """Return F(x) as the kernel computes it, and as plain torch does."""
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    return functional.pau(x, a, b, form), reference.forward(x, Unit(a, b, form))


def violations(unit, coefficients, intervals, x):
    """Count the points whose value lies outside of the range or on the wrong side of a line."""
    low, high = unit.interval(*intervals)
    (k1, c1), (k2, c2) = unit.lines(*intervals)
    for k in (k1, k2):
        assert k.isfinite().all()
    wrong = torch.zeros(len(x), dtype=torch.bool)
    for y in computed(*coefficients, x):
        assert not y[low.isfinite()].isnan().any()  # where it may overflow, nothing is claimed
        wrong |= (y < low) | (y > high)
        for k, c, side in ((k1, c1, 1), (k2, c2, -1)):
            room = 2**-51 * (k.abs() * x.abs() + c.abs())  # of evaluating the line here
            wrong |= side * (y - (k * x + c)) < -room
    return int(wrong.sum())


def count_violations(kinds, units, points, change=lambda unit: None):
    total = 0
    for number, kind in enumerate(kinds):
        for i in range(units):
            random = np.random.default_rng([number, i])
            coefficients = draw_unit(kind, random)
            unit = curve(*coefficients)
            intervals = draw_intervals(unit, random, points)
            x = draw_points(unit, *intervals, random)
            change(unit)
            total += violations(unit, coefficients, intervals, x)
    return total
