"""Real roots of polynomials, enclosed between neighboring floats."""

import math
import sys
from fractions import Fraction

import flint
import numpy as np
import pytest

from pade_bench.bounds import exact


def with_roots(*roots):
    p = [Fraction(1)]
    for root in roots:
        p = exact.multiply(p, [-Fraction(root), Fraction(1)])
    return p


def test_a_root_that_is_a_float_is_found_exactly():
    assert exact.roots(with_roots(-2.5, 0, 1)) == [(-2.5, -2.5), (0.0, 0.0), (1.0, 1.0)]


def test_another_lies_between_two_neighbors():
    ((left, right),) = exact.roots(with_roots(Fraction(1, 3)))
    assert Fraction(left) < Fraction(1, 3) < Fraction(right)
    assert right == math.nextafter(left, math.inf)


def test_multiple_roots_are_found_once():
    p = with_roots(0, 0, 0.5, 0.5, 0.5, Fraction(1, 7), Fraction(1, 7))
    assert len(exact.roots(p)) == 3


@pytest.mark.parametrize("root", [5e-324, 1e-310, 1e-300, 1e300, sys.float_info.max])
def test_roots_of_every_size_are_found(root):
    assert exact.roots(with_roots(root, -1)) == [(-1.0, -1.0), (root, root)]


def test_two_roots_between_the_same_floats_share_an_enclosure():
    inside = [1 + Fraction(k, 2**60) for k in (1, 2)]
    assert exact.roots(with_roots(*inside)) == [(1.0, math.nextafter(1, 2))]
    apart = [1 + Fraction(1, 2**60), 1 + Fraction(3, 2**53)]
    assert len(exact.roots(with_roots(*apart))) == 2


@pytest.mark.parametrize("p", [[], [Fraction(3)], [Fraction(1), Fraction(0), Fraction(1)]])
def test_polynomials_without_real_roots_have_none(p):
    assert exact.roots(p) == []


def test_roots_beyond_the_range_of_floats_are_left_out():
    assert exact.roots([Fraction(1), Fraction(1, 10**320)]) == []


def test_random_polynomials_have_the_roots_that_arb_finds():
    random = np.random.default_rng(0)
    for degree in range(1, 20):
        p = [Fraction(x) for x in random.normal(size=degree + 1)]
        whole = flint.fmpq_poly([flint.fmpq(c.numerator, c.denominator) for c in p]).numer()
        expected = sorted(float(r.real.mid()) for r, _ in whole.complex_roots() if r.imag == 0)
        found = exact.roots(p)
        assert len(found) == len(expected)
        for (left, right), root in zip(found, expected, strict=True):
            assert math.nextafter(left, -math.inf) <= root <= math.nextafter(right, math.inf)
            assert exact.sign(p, Fraction(left)) * exact.sign(p, Fraction(right)) <= 0


@pytest.mark.parametrize("x", [Fraction(1, 3), Fraction(-7, 10), Fraction(10**400), Fraction(0)])
def test_fractions_are_rounded_outward(x):
    down, up = exact.rounded_down(x), exact.rounded_up(x)
    assert down == -math.inf or Fraction(down) <= x
    assert up == math.inf or x <= Fraction(up)
    assert math.nextafter(down, math.inf) >= up
