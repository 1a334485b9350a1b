"""Polynomials in exact arithmetic: signs, and real roots enclosed between neighboring floats.

Every float64 is a fraction, so the coefficients of a trained unit are exact fractions, and so are
the polynomials whose roots are its extrema. Python's whole numbers decide all signs: no rounding
error has to be estimated here. A polynomial is a list of coefficients, lowest degree first,
without zeros at its end; the empty list is the polynomial 0.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise, zip_longest

Polynomial = list[Fraction]
Integers = list[int]
Enclosure = tuple[float, float]  # of a root: both ends the same if it is a float64, else neighbors

LARGEST = sys.float_info.max


def trim(p: Sequence[Fraction]) -> Polynomial:
    """Return ``p`` without zeros at its end."""
    n = len(p)
    while n and p[n - 1] == 0:
        n -= 1
    return list(p[:n])


def add(p: Polynomial, q: Polynomial, times: int = 1) -> Polynomial:
    """Return p + ``times`` q."""
    return trim([a + times * b for a, b in zip_longest(p, q, fillvalue=Fraction(0))])


def multiply(p: Polynomial, q: Polynomial) -> Polynomial:
    """Return p q."""
    if not p or not q:
        return []
    product = [Fraction(0)] * (len(p) + len(q) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(q):
            product[i + j] += a * b
    return product


def derivative(p: Polynomial) -> Polynomial:
    """Return p'."""
    return [j * c for j, c in enumerate(p)][1:]


def value(p: Polynomial, x: Fraction) -> Fraction:
    """Return p(x)."""
    y = Fraction(0)
    for c in reversed(p):
        y = y * x + c
    return y


def _integers(p: Polynomial) -> Integers:
    """Return a positive multiple of ``p`` with whole coefficients that have no common factor."""
    scale = math.lcm(*(c.denominator for c in p))
    return _primitive([int(c * scale) for c in p])


def sign(p: Polynomial, x: Fraction) -> int:
    """Return the sign of p(x): -1, 0 or 1."""
    return _sign(_integers(p), x)


def _sign(p: Integers, x: Fraction) -> int:
    n, d = x.numerator, x.denominator
    value, power = 0, 1
    for c in reversed(p):
        value = value * n + c * power
        power *= d
    return (value > 0) - (value < 0)


def roots(polynomial: Polynomial) -> list[Enclosure]:
    """Enclose the real roots within the range of float64, in ascending order.

    There are none of the polynomial 0, which is 0 everywhere.

    Sturm's theorem counts the distinct roots in an interval; bisection over the float64 numbers
    themselves ends at one of them or between two neighbors. Several roots between the same two
    neighbors share an enclosure.
    """
    if not polynomial:
        return []
    p = _integers(polynomial)
    p = _quotient(p, _gcd(p, _derivative(p)))  # each root once
    if len(p) == 1:
        return []
    chain = [p, _derivative(p)]
    while len(chain[-1]) > 1:
        chain.append([-c for c in _remainder(chain[-2], chain[-1])])
    bound = _ordinal(_root_bound(p))
    found: list[Enclosure] = []
    pending = [(-bound, bound, _variations(chain, -bound), _variations(chain, bound))]
    while pending:
        low, high, at_low, at_high = pending.pop()
        if at_low == at_high:
            continue
        if at_low - at_high == 1:  # one root in (low, high]
            found.append(_bisect(p, low, high))
        elif high - low == 1:
            found.append((_float(low), _float(high)))
        else:
            middle = (low + high) // 2
            at_middle = _variations(chain, middle)
            pending.append((middle, high, at_middle, at_high))
            pending.append((low, middle, at_low, at_middle))
    return found


def _bisect(p: Integers, low: int, high: int) -> Enclosure:
    """Enclose the only root of ``p``, a simple one, in (low, high], given by ordinals."""
    right = _sign(p, Fraction(_float(high)))
    if right == 0:
        return _float(high), _float(high)
    while high - low > 1:
        middle = (low + high) // 2
        here = _sign(p, Fraction(_float(middle)))
        if here == 0:
            return _float(middle), _float(middle)
        if here == right:
            high = middle
        else:
            low = middle
    return _float(low), _float(high)


def _variations(chain: Sequence[Integers], ordinal: int) -> int:
    x = Fraction(_float(ordinal))
    signs = [s for p in chain if (s := _sign(p, x))]
    return sum(a != b for a, b in pairwise(signs))


def _root_bound(p: Integers) -> float:
    """Return a float64 that exceeds every root in absolute value, or the largest there is."""
    # Cauchy: 1 + max |c_j / c_n|.
    bits = max(c.bit_length() for c in p) - abs(p[-1]).bit_length() + 2
    return math.ldexp(1.0, max(bits, 1)) if bits < 1024 else LARGEST


def _derivative(p: Integers) -> Integers:
    return _primitive([j * c for j, c in enumerate(p)][1:])


def _primitive(p: Integers) -> Integers:
    divisor = math.gcd(*p)
    return [c // divisor for c in p] if divisor > 1 else list(p)


def _remainder(p: Integers, q: Integers) -> Integers:
    """Return a positive multiple of the remainder of p / q."""
    p, lead = list(p), q[-1]
    while len(p) >= len(q):
        factor = p[-1] if lead > 0 else -p[-1]
        shift = len(p) - len(q)
        p = [c * abs(lead) for c in p]
        for j, c in enumerate(q):
            p[shift + j] -= factor * c
        while p and p[-1] == 0:
            p.pop()
    return _primitive(p)


def _gcd(p: Integers, q: Integers) -> Integers:
    while q:
        p, q = q, _remainder(p, q)
    return p


def _quotient(p: Integers, q: Integers) -> Integers:
    """Return a positive multiple of p / q, which leaves no remainder."""
    rest, quotient = [Fraction(c) for c in p], [Fraction(0)] * (len(p) - len(q) + 1)
    for shift in reversed(range(len(quotient))):
        quotient[shift] = rest[shift + len(q) - 1] / q[-1]
        for j, c in enumerate(q):
            rest[shift + j] -= quotient[shift] * c
    return _integers(quotient)


# Float64 numbers in a row: equal steps of the ordinal are steps from neighbor to neighbor.


def _ordinal(x: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", x))[0]
    return bits if bits >= 0 else -(bits & 0x7FFFFFFFFFFFFFFF)


def _float(ordinal: int) -> float:
    x: float = struct.unpack("<d", struct.pack("<q", abs(ordinal)))[0]
    return x if ordinal >= 0 else -x


def rounded_down(x: Fraction) -> float:
    """Return the largest float64 that is not above ``x``."""
    try:
        nearest = float(x)
    except OverflowError:
        return LARGEST if x > 0 else -math.inf
    return nearest if nearest <= x else math.nextafter(nearest, -math.inf)


def rounded_up(x: Fraction) -> float:
    """Return the smallest float64 that is not below ``x``."""
    return -rounded_down(-x)


def enclose(p: Polynomial, left: Fraction, right: Fraction) -> tuple[Fraction, Fraction]:
    """Enclose the values of ``p`` between two points that are close to each other."""
    size = max(abs(left), abs(right))
    steepest = value([abs(c) for c in derivative(p)], size)
    middle, radius = value(p, left), (right - left) * steepest
    return middle - radius, middle + radius
