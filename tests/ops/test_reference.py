"""The specification itself, against numpy's polynomials and automatic differentiation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pade_bench.ops import FORMS, Unit, reference

DEGREES = [(5, 4), (0, 1), (1, 1), (3, 7), (10, 10)]
STATE = torch.tensor([0x1234_5678_9ABC_DEF0, (1 << 61) + 12])


def leaves(m, n, size=64, seed=0, dtype=torch.float64):
    """x, numerator and denominator that require gradients, and a gradient of y."""
    g = torch.Generator().manual_seed(seed)
    sizes = (size, m + 1, n, size)
    x, a, b, grad = (torch.randn(s, generator=g, dtype=torch.float64) for s in sizes)
    return *(t.to(dtype).requires_grad_() for t in (x, a, 0.2 * b)), grad.to(dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("m", "n"), DEGREES)
def test_value_is_the_rational_function_of_the_paper(form, m, n):
    x, a, b, _ = (t.detach() for t in leaves(m, n))
    terms = np.stack([c * x.numpy() ** k for k, c in enumerate(b.numpy(), start=1)])
    q = {
        "abs_of_sum": 1 + np.abs(terms.sum(0)),
        "sum_of_abs": 1 + np.abs(terms).sum(0),
        "unsafe": 1 + terms.sum(0),
    }[form]
    expected = np.polynomial.Polynomial(a.numpy())(x.numpy()) / q
    np.testing.assert_allclose(reference.formula(x, Unit(a, b, form)).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("m", "n"), DEGREES)
def test_explicit_gradients_match_autograd_in_float64(form, m, n):
    x, a, b, grad = leaves(m, n)
    expected = torch.autograd.grad(reference.formula(x, Unit(a, b, form)), (x, a, b), grad)
    torch.testing.assert_close(
        reference.gradients(grad, x, Unit(a, b, form)), expected, rtol=1e-11, atol=1e-13
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("m", "n"), DEGREES)
def test_explicit_noisy_gradients_match_autograd_in_float64(form, m, n):
    x, a, b, grad = leaves(m, n)
    expected = torch.autograd.grad(
        reference.formula(x, Unit(a, b, form, STATE, 0.3)), (x, a, b), grad
    )
    actual = reference.gradients(grad, x, Unit(a, b, form, STATE, 0.3))
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_match_finite_differences(form):
    def formula(x, a, b):
        return reference.formula(x, Unit(a, b, form))

    assert torch.autograd.gradcheck(formula, leaves(5, 4, size=8)[:3])


@pytest.mark.parametrize("form", FORMS)
def test_gradients_at_zero_are_those_of_autograd(form):
    # The absolute values have a kink there: sign(0) = 0.
    _, a, b, _ = leaves(5, 4)
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    grad = torch.ones_like(x)
    expected = torch.autograd.grad(reference.formula(x, Unit(a, b, form)), (x, a, b), grad)
    torch.testing.assert_close(reference.gradients(grad, x, Unit(a, b, form)), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10), st.integers(1, 10), st.sampled_from(FORMS), st.integers(0, 1 << 30))
def test_explicit_gradients_match_autograd_for_any_degrees(m, n, form, seed):
    x, a, b, grad = leaves(m, n, size=16, seed=seed)
    if form == "unsafe":  # keep away from the poles, where both are wrong
        b = b.detach().abs().requires_grad_()
        x = x.detach().abs().requires_grad_()
    expected = torch.autograd.grad(reference.formula(x, Unit(a, b, form)), (x, a, b), grad)
    actual = reference.gradients(grad, x, Unit(a, b, form))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_rounded_once(dtype):
    x, a, b, _ = (t.detach().float() for t in leaves(5, 4))
    x = x.to(dtype)
    assert torch.equal(
        reference.formula(x, Unit(a, b)), reference.formula(x.float(), Unit(a, b)).to(dtype)
    )


@pytest.mark.parametrize("noise", [(), (STATE, 0.2)], ids=["pau", "rpau"])
@pytest.mark.parametrize("form", FORMS)
def test_chunks_match_the_whole(form, noise, monkeypatch):
    monkeypatch.setattr(reference, "CPU_CHUNK", 100)
    x, a, b, grad = leaves(5, 4, size=2 * 3 * 7 * 11)
    x, grad = (
        t.detach().reshape(2, 3, 7, 11).to(memory_format=torch.channels_last) for t in (x, grad)
    )
    x.requires_grad_()
    unit = Unit(a, b, form, *noise)
    y = reference.formula(x, unit)
    expected = torch.autograd.grad(y, (x, a, b), grad)
    with torch.no_grad():
        assert torch.equal(reference.forward(x, unit), y)
        actual = reference.backward(grad, x, unit)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-13)
    assert actual[0].stride() == x.stride()


def test_chunks_of_an_expanded_input_match_the_whole():
    x, a, b, _ = (t.detach() for t in leaves(5, 4, size=5))
    x = x[:, None].expand(5, 3)
    assert torch.equal(reference.forward(x, Unit(a, b)), reference.formula(x, Unit(a, b)))
