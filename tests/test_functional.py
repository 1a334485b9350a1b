"""What users may pass to the functions, and what they are told otherwise."""

import pytest
import torch

from pade_bench import functional

X, A, B = torch.randn(8), torch.rand(6), torch.rand(4)
UNITS = pytest.mark.parametrize("unit", [functional.pau, functional.rpau])


@UNITS
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1.0, A, B), TypeError, "x must be a tensor, not float"),
        ((X, [1.0], B), TypeError, "numerator must be a tensor, not list"),
        ((X.long(), A, B), TypeError, r"x has the type torch.int64; it must be one of .*float32"),
        ((X.cfloat(), A, B), TypeError, "x has the type torch.complex64"),
        ((X, A.int(), B), TypeError, "numerator has the type torch.int32"),
        ((X, A, B.cfloat()), TypeError, "denominator has the type torch.complex64"),
        ((X, A[:0], B), ValueError, r"numerator has the shape \(0,\).* 1 to 11 coefficients"),
        ((X, A[0], B), ValueError, r"numerator has the shape \(\); it must be a vector"),
        ((X, A[None], B), ValueError, r"numerator has the shape \(1, 6\)"),
        ((X, torch.rand(12), B), ValueError, r"numerator has the shape \(12,\)"),
        ((X, A, B[:0]), ValueError, r"denominator has the shape \(0,\).* 1 to 10 coefficients"),
        ((X, A, torch.rand(11)), ValueError, r"denominator has the shape \(11,\)"),
        ((X, A.to("meta"), B), ValueError, "numerator is on meta, but x is on cpu"),
        ((X, A, B.to("meta")), ValueError, "denominator is on meta, but x is on cpu"),
        (
            (X, A, B, "abs_of_sums"),
            ValueError,
            r"form='abs_of_sums' is not one of abs_of_sum, sum_of_abs, unsafe. Did you mean",
        ),
    ],
)
def test_bad_arguments_are_named(unit, arguments, error, message):
    with pytest.raises(error, match=message):
        unit(*arguments)


@pytest.mark.parametrize("noise", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("training", [True, False])
def test_noise_outside_its_range_is_refused(noise, training):
    with pytest.raises(ValueError, match=r"noise=.* must lie in \[0, 1\]"):
        functional.rpau(X, A, B, noise=noise, training=training)


@UNITS
def test_empty_input_gives_zero_gradients(unit):
    x, a, b = (t.clone().requires_grad_() for t in (X[:0], A, B))
    y = unit(x, a, b)
    assert y.shape == (0,)
    dx, da, db = torch.autograd.grad(y.sum(), (x, a, b))
    assert dx.shape == (0,)
    assert not da.any()
    assert not db.any()
