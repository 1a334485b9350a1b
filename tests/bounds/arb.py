"""Padé units in rigorous interval arithmetic (Arb): what the bounds are held against.

Nothing here is shared with the package: coefficients become exact fractions, extrema are found by
Arb's isolation of complex roots, and every value is a ball of 400 bits that is certain to hold it.
"""

from __future__ import annotations

from fractions import Fraction

import flint

flint.ctx.prec = 400


def exact(number):
    """Return a float64 as a fraction of flint's."""
    fraction = Fraction(float(number))
    return flint.fmpq(fraction.numerator, fraction.denominator)


def number(x):
    """Return a float64 as a ball of radius 0, or a large one for an infinity."""
    if x in (float("inf"), float("-inf")):
        return flint.arb("inf") if x > 0 else flint.arb("-inf")
    return flint.arb(flint.fmpq(*Fraction(float(x)).as_integer_ratio()))


class Unit:
    """P / Q with real coefficients that are known exactly."""

    def __init__(self, a, b, form):
        self.p = flint.fmpq_poly([exact(c) for c in a])
        inner = flint.fmpq_poly([0, *(exact(c) for c in b)])
        # All formulas that Q may have; which one holds where is decided by the value of A.
        if form == "sum_of_abs":
            right = flint.fmpq_poly([0, *(abs(exact(c)) for c in b)])
            left = flint.fmpq_poly([c * (-1) ** k for k, c in enumerate(right.coeffs())])
            self.qs, self.seams = [1 + left, 1 + right], [flint.arb(0)]
        elif form == "abs_of_sum":
            self.qs, self.seams = [1 + inner, 1 - inner], real_roots(inner)
        else:
            self.qs, self.seams = [1 + inner], []
        self.inner, self.form = inner, form
        self.size = flint.fmpq_poly([abs(exact(c)) for c in a])
        self.inner_size = flint.fmpq_poly([0, *(abs(exact(c)) for c in b)])
        self.turns = [
            root
            for q in self.qs
            for root in real_roots(self.p.derivative() * q - self.p * q.derivative())
        ]

    def denominator(self, x):
        if self.form == "sum_of_abs":
            return 1 + evaluate(self.inner_size, abs(x))
        inner = evaluate(self.inner, x)
        return 1 + (abs(inner) if self.form == "abs_of_sum" else inner)

    def value(self, x):
        return evaluate(self.p, x) / self.denominator(x)

    def condition(self, x):
        """Return Σ|a_j x^j| / Q and (1 + Σ|b_k x^k|) / Q."""
        q = self.denominator(x)
        return evaluate(self.size, abs(x)) / q, (1 + evaluate(self.inner_size, abs(x))) / q

    def candidates(self, lower, upper):
        """Return the points of [lower, upper] where F can be smallest or largest."""
        low, high = number(lower), number(upper)
        # What may lie outside by less than a ball's radius is as good as the end.
        return [low, high, *(x for x in (*self.turns, *self.seams) if not (x < low or x > high))]

    def extremes(self, lower, upper):
        """Return the points of [lower, upper] where F is smallest and largest."""
        points = sorted(self.candidates(lower, upper), key=lambda x: float(self.value(x)))
        return points[0], points[-1]


def evaluate(polynomial, x):
    value = flint.arb(0)
    for c in reversed(polynomial.coeffs()):
        value = value * x + flint.arb(c)
    return value


def real_roots(polynomial):
    if polynomial.degree() < 1:
        return []
    whole = polynomial.numer()
    squarefree = whole // whole.gcd(whole.derivative())
    return [root.real for root, _ in squarefree.complex_roots() if root.imag == 0]
