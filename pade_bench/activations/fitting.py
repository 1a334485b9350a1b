"""Least-squares fits of the Padé unit to a function: where initial coefficients come from.

For a given denominator Q the best numerator is a linear least-squares problem. So only the
denominator is searched (variable projection: Golub and Pereyra 1973, with Kaufman's Jacobian),
and it is written so that no step can leave the shapes that are wanted:

    sum_of_abs   A(x) = Σ θ_k² |x|^k
    abs_of_sum   A(x) = c² x^r Π ((1 + u_i x)² + (v_i x)²),  r = 2 for even n, 1 for odd n
    unsafe       the same with r = 2; where n is odd, b_n = 0

Thus A vanishes at x = 0 alone. A change of sign elsewhere would be a pole of the unsafe form, and
in the abs-of-sum form a point where Q falls back to 1 while P goes on growing: a fit to LReLU(-0.5)
that is the best of all on [-3, 3] reaches -10^10 near x = -96.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.polynomial import polynomial
from numpy.typing import NDArray
from torch import Tensor

from pade_bench.errors import ConfigurationError

Array = NDArray[np.floating[Any]]

# The paper fits on steps of 1e-6. On [-3, 3] this is steps of 1e-3; with the trapezoidal rule's
# weights, ten times as many points change no tabulated coefficient by more than 0.01 %.
GRID_POINTS = 6001
_COARSE_POINTS = 601
_STARTS, _STEPS = 8, 100


def fit(
    function: Callable[[Tensor], Tensor],
    degrees: tuple[int, int],
    form: str = "abs_of_sum",
    interval: tuple[float, float] = (-3.0, 3.0),
) -> tuple[Array, Array]:
    """Fit a Padé unit to ``function`` by least squares over an interval.

    Deterministic: the search starts from fixed points.

    Args:
        function: maps a float64 tensor to one of the same shape, element by element.
        degrees: m and n, the degrees of numerator and denominator.
        form: one of ``pade_bench.ops.FORMS``.
        interval: where to fit.

    Returns:
        The coefficients a0 … am, of shape (m + 1,), and b1 … bn, of shape (n,).

    Raises:
        ConfigurationError: ``function`` returns something other than one finite number per point.
    """
    # Imported here, as nobody who starts from tabulated coefficients needs it.
    from scipy.optimize import least_squares

    m, n = degrees
    # The search runs in t = x / scale, where the powers of t are well conditioned.
    scale = max(abs(end) for end in interval)

    def projection(points: int) -> _Projection:
        x = np.linspace(*interval, points)
        return _Projection(x / scale, _evaluate(function, x), m, n, form)

    coarse, fine = projection(_COARSE_POINTS), projection(GRID_POINTS)
    theta = np.zeros(_parameters(n, form))
    if theta.size:
        starts = np.random.default_rng(0).normal(scale=2.0, size=(_STARTS, theta.size))
        found = [
            least_squares(coarse.residuals, start, coarse.jacobian, method="lm", max_nfev=_STEPS)
            for start in starts
        ]
        best = min(found, key=lambda result: result.cost)
        eps = np.finfo(float).eps
        tight = {"ftol": eps, "xtol": eps, "gtol": eps, "max_nfev": _STEPS}
        theta = least_squares(fine.residuals, best.x, fine.jacobian, method="lm", **tight).x
    numerator = fine.numerator(theta) / scale ** np.arange(m + 1)
    return numerator, _coefficients(theta, n, form) / scale ** np.arange(1, n + 1)


class _Projection:
    """What the best numerator leaves, as a function of the denominator's parameters θ alone."""

    def __init__(self, t: Array, target: Array, m: int, n: int, form: str) -> None:
        weights = np.ones_like(t)
        weights[[0, -1]] = np.sqrt(0.5)  # the trapezoidal rule, for squared residuals
        self.t, self.target = t, weights * target
        self.powers = weights[:, None] * np.vander(t, m + 1, increasing=True)
        self.n, self.form = n, form

    def residuals(self, theta: Array) -> Array:
        basis, *_ = self._basis(theta)
        return self.target - basis @ (basis.T @ self.target)

    def jacobian(self, theta: Array) -> Array:
        basis, _, q, dq = self._basis(theta)
        slopes = (basis @ (basis.T @ self.target) / q)[:, None] * dq
        return slopes - basis @ (basis.T @ slopes)

    def numerator(self, theta: Array) -> Array:
        basis, triangle, *_ = self._basis(theta)
        return np.linalg.solve(triangle, basis.T @ self.target)

    def _basis(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        q, dq = _denominator(theta, self.t, self.n, self.form)
        basis, triangle = np.linalg.qr(self.powers / q[:, None])
        return basis, triangle, q, dq


def _evaluate(function: Callable[[Tensor], Tensor], x: Array) -> Array:
    with torch.no_grad():
        y = function(torch.from_numpy(x))
    if not (isinstance(y, Tensor) and y.shape == x.shape and bool(y.isfinite().all())):
        raise ConfigurationError(
            f"init={getattr(function, '__name__', function)!r} must map a tensor to finite values "
            f"of the same shape on [{x[0]:g}, {x[-1]:g}]."
        )
    return y.double().numpy()


def _lowest_power(n: int, form: str) -> int:
    return 1 if form == "abs_of_sum" and n % 2 else 2


def _parameters(n: int, form: str) -> int:
    """Count the entries of θ."""
    if form == "sum_of_abs":
        return n
    r = _lowest_power(n, form)
    return 1 + 2 * ((n - r) // 2) if n >= r else 0


def _denominator(theta: Array, t: Array, n: int, form: str) -> tuple[Array, Array]:
    """Return Q, of shape (points,), and its derivatives by θ, of shape (points, len(θ))."""
    if form == "sum_of_abs":
        powers = np.abs(t)[:, None] ** np.arange(1, n + 1)
        return 1 + powers @ theta**2, 2 * powers * theta
    if not theta.size:
        return np.ones_like(t), np.empty((t.size, 0))
    c, u, v = theta[0], theta[1::2, None], theta[2::2, None]
    factors = (1 + u * t) ** 2 + (v * t) ** 2 + np.finfo(float).tiny
    product = np.abs(t) ** _lowest_power(n, form) * factors.prod(axis=0)
    dq = np.empty((theta.size, t.size))
    dq[0] = 2 * c * product
    dq[1::2] = c**2 * product / factors * 2 * t * (1 + u * t)
    dq[2::2] = c**2 * product / factors * 2 * v * t**2
    return 1 + c**2 * product, dq.T


def _coefficients(theta: Array, n: int, form: str) -> Array:
    """Return b1 … bn for the denominator with parameters θ."""
    if form == "sum_of_abs":
        return theta**2
    b = np.zeros(n)
    if theta.size:
        product = np.array([theta[0] ** 2])
        for u, v in zip(theta[1::2], theta[2::2], strict=True):
            product = polynomial.polymul(product, [1.0, 2 * u, u**2 + v**2])
        first = _lowest_power(n, form) - 1
        b[first : first + product.size] = product
    return b
