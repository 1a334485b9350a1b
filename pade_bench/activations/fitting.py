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

from collections.abc import Callable, Sequence
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


def fit_function(
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

    def points(number: int) -> tuple[Array, Array, Array]:
        x = np.linspace(*interval, number)
        weights = np.ones_like(x)
        weights[[0, -1]] = 0.5  # the trapezoidal rule
        return x, evaluate(function, x), weights

    scale = max(abs(end) for end in interval)
    return fit_points(points(GRID_POINTS), degrees, form, scale, coarse=points(_COARSE_POINTS))


def fit_points(
    points: tuple[Array, Array, Array],
    degrees: tuple[int, int],
    form: str,
    scale: float,
    fixed: Sequence[float] = (),
    coarse: tuple[Array, Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Fit a Padé unit to values at points by weighted least squares; deterministic.

    Args:
        points: x, the values there, and the weights of their squared residuals, each (points,).
        degrees: m and n, the degrees of numerator and denominator.
        form: one of ``pade_bench.ops.FORMS``.
        scale: a typical |x|: the search runs in x / scale, where powers are well conditioned.
        fixed: the first coefficients of the numerator, where these are not to be searched.
        coarse: fewer points among which to search first.

    Returns:
        The coefficients a0 … am, of shape (m + 1,), and b1 … bn, of shape (n,).
    """
    # Imported here, as nobody who starts from tabulated coefficients needs it.
    from scipy.optimize import least_squares

    m, n = degrees
    given = np.asarray(fixed, float) * scale ** np.arange(len(fixed))
    fine = _Projection(points, scale, given, m, n, form)
    first = fine if coarse is None else _Projection(coarse, scale, given, m, n, form)
    theta = np.zeros(_parameters(n, form))
    if theta.size:
        starts = np.random.default_rng(0).normal(scale=2.0, size=(_STARTS, theta.size))
        found = [
            least_squares(first.residuals, start, first.jacobian, method="lm", max_nfev=_STEPS)
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

    def __init__(
        self,
        points: tuple[Array, Array, Array],
        scale: float,
        given: Array,
        m: int,
        n: int,
        form: str,
    ) -> None:
        x, target, weights = points
        self.t, self.n, self.form, self.given = x / scale, n, form, given
        roots = np.sqrt(weights)
        powers = roots[:, None] * np.vander(self.t, m + 1, increasing=True)
        self.target, self.powers = roots * target, powers[:, given.size :]
        self.fixed = powers[:, : given.size] @ given
        self._last: tuple[bytes, tuple[Array, Array, Array, Array]] | None = None

    def residuals(self, theta: Array) -> Array:
        basis, _, q, _ = self._basis(theta)
        rest = self.target - self.fixed / q
        return rest - basis @ (basis.T @ rest)

    def jacobian(self, theta: Array) -> Array:
        basis, _, q, dq = self._basis(theta)
        fixed = self.fixed / q
        fitted = fixed + basis @ (basis.T @ (self.target - fixed))
        slopes = (fitted / q)[:, None] * dq
        return slopes - basis @ (basis.T @ slopes)

    def numerator(self, theta: Array) -> Array:
        basis, triangle, q, _ = self._basis(theta)
        free = np.linalg.solve(triangle, basis.T @ (self.target - self.fixed / q))
        return np.concatenate([self.given, free])

    def _basis(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        # The search asks for the residuals and then for their derivatives at the same θ.
        key = theta.tobytes()
        if self._last is None or self._last[0] != key:
            q, dq = _denominator(theta, self.t, self.n, self.form)
            basis, triangle = np.linalg.qr(self.powers / q[:, None])
            self._last = key, (basis, triangle, q, dq)
        return self._last[1]


def evaluate(function: Callable[[Tensor], Tensor], x: Array) -> Array:
    """Return the values of a function of tensors at points.

    Raises:
        ConfigurationError: they are something other than one finite number per point.
    """
    with torch.no_grad():
        y = function(torch.tensor(x))  # a copy, which a function in place may overwrite
    if not (isinstance(y, Tensor) and y.shape == x.shape and bool(y.isfinite().all())):
        raise ConfigurationError(
            f"init={getattr(function, '__name__', function)!r} must map a tensor to finite values "
            f"of the same shape on [{x[0]:g}, {x[-1]:g}]."
        )
    return y.double().numpy()


def leading_power(n: int, form: str) -> int:
    """Return the highest power of x in the denominators that are searched."""
    if form == "sum_of_abs":
        return n
    r = _lowest_power(n, form)
    return r + 2 * ((n - r) // 2) if n >= r else 0


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
