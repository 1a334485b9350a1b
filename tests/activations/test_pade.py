from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from numpy.polynomial import polynomial
from omegaconf import OmegaConf
from torch import nn

import pade_bench
from pade_bench.activations import PAU, RPAU
from pade_bench.activations.coefficients import initial_coefficients
from pade_bench.errors import ConfigurationError
from pade_bench.ops import FORMS


def test_package_offers_both_units():
    assert pade_bench.PAU is PAU
    assert pade_bench.RPAU is RPAU


def test_default_is_the_papers_unit():
    unit = PAU()
    assert (unit.numerator.shape, unit.denominator.shape) == ((6,), (4,))
    assert unit.form == "abs_of_sum"
    assert unit.numerator.dtype == torch.float32


@pytest.mark.parametrize("form", FORMS)
def test_output_is_the_quotient_of_the_forms_polynomials(form):
    unit = PAU(form=form).double()
    with torch.no_grad():
        unit.denominator[0] = -0.4
    x = np.linspace(-5, 5, 101)
    a, b = unit.numerator.detach().numpy(), unit.denominator.detach().numpy()
    q = {
        "abs_of_sum": 1 + np.abs(polynomial.polyval(x, [0, *b])),
        "sum_of_abs": 1 + polynomial.polyval(np.abs(x), [0, *np.abs(b)]),
        "unsafe": 1 + polynomial.polyval(x, [0, *b]),
    }[form]
    y = unit(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(y, polynomial.polyval(x, a) / q, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("degrees", [(1, 1), (3, 2), (4, 5), (10, 10)])
def test_any_degrees_start_near_the_named_function(degrees, form):
    unit = PAU(degrees=degrees, init="lrelu_0.20", form=form)
    assert len(unit.numerator) == degrees[0] + 1
    assert len(unit.denominator) == degrees[1]
    x = torch.linspace(-3, 3, 301)
    error = (unit(x) - nn.functional.leaky_relu(x, 0.2)).abs().max()
    assert error < (1.0 if degrees == (1, 1) else 0.11)


@pytest.mark.parametrize("form", FORMS)
def test_any_function_can_be_the_start(form):
    unit = PAU(degrees=(7, 6), init=torch.sin, form=form)
    x = torch.linspace(-3, 3, 301)
    torch.testing.assert_close(unit(x), x.sin(), rtol=0, atol=1e-4)
    assert "init=sin" in repr(unit)


UNITS = pytest.mark.parametrize(
    "unit", [PAU, RPAU, lambda **k: PAU((3, 2), torch.sin, form="sum_of_abs", **k)]
)


@UNITS
def test_reset_parameters_gives_the_start_values_again(unit):
    trained, fresh = unit(), unit()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    trained.reset_parameters()
    for name, parameter in fresh.named_parameters():
        assert torch.equal(trained.get_parameter(name), parameter), name
    assert all(parameter.requires_grad for parameter in trained.parameters())


@UNITS
def test_a_unit_made_on_the_meta_device_starts_as_any_other(unit):
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(3, 3), unit())
    assert network[1].numerator.is_meta
    network.to_empty(device="cpu")
    for module in network:
        module.reset_parameters()
    for name, parameter in unit().named_parameters():
        assert torch.equal(network[1].get_parameter(name), parameter), name


@pytest.mark.parametrize("unit", [PAU, RPAU])
def test_device_and_dtype_are_those_of_the_parameters(unit):
    made = unit(device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in made.parameters()} == {("meta", torch.float64)}
    (a0, *_), *_ = initial_coefficients("lrelu_0.01", (5, 4), "abs_of_sum")
    assert unit(dtype=torch.float64).numerator[0].item() == a0  # not rounded to float32 first
    skipped = nn.utils.skip_init(unit, (3, 2), "tanh", form="unsafe")
    assert (skipped.numerator.device.type, len(skipped.numerator)) == ("cpu", 4)


def test_inplace_is_accepted_and_ignored():
    x = torch.linspace(-1, 1, 5)
    before = x.clone()
    assert torch.equal(PAU(inplace=True)(x), PAU()(x))
    assert torch.equal(x, before)
    assert repr(RPAU(inplace=True)) == repr(RPAU())


def test_a_unit_that_starts_from_a_lambda_can_be_pickled():
    unit = PAU(init=lambda x: x.square())
    again = pickle.loads(pickle.dumps(unit))
    again.reset_parameters()
    assert torch.equal(again.numerator, unit.numerator)


def test_degrees_may_be_hydras_lists():
    assert len(PAU(degrees=OmegaConf.create([3, 2]), init="tanh").numerator) == 4


def test_large_inputs_stay_finite_in_float32():
    x = torch.tensor([-1e6, 1e6], requires_grad=True)
    y = PAU()(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.isfinite().all()
    assert gradient.isfinite().all()


def test_printout_names_degrees_start_and_form():
    assert repr(PAU()) == "PAU(degrees=(5, 4), init=lrelu_0.01, form=abs_of_sum)"
    assert repr(RPAU(noise=0.1, form="sum_of_abs")) == (
        "RPAU(degrees=(5, 4), init=lrelu_0.01, form=sum_of_abs, noise=0.1)"
    )


@pytest.mark.parametrize("degrees", [(0, 4), (5, 0), (11, 4), (5,), (5, 4, 3), 5, (5.0, 4), "54"])
def test_impossible_degrees_are_refused(degrees):
    with pytest.raises(ConfigurationError, match=r"degrees=.*two whole numbers from 1 to 10"):
        PAU(degrees=degrees)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match=r"init='lrely'.*Did you mean 'lrelu'"):
        PAU(init="lrely")
    with pytest.raises(ConfigurationError, match=r"form='abs_sum'.*mean 'abs_of_sum'"):
        PAU(form="abs_sum")


@pytest.mark.parametrize("noise", [-0.1, 1.0, float("nan"), "much", None])
def test_impossible_noise_is_refused(noise):
    with pytest.raises(ConfigurationError, match=r"noise=.* is not a number in \[0, 1\)"):
        RPAU(noise=noise)


def identity_times(noise: float, *numerator: float) -> RPAU:
    """Return a unit without denominator, in training mode: Σ a_j (1 + noise u_ij) x_i^j."""
    unit = RPAU(degrees=(len(numerator) - 1, 1), noise=noise)
    with torch.no_grad():
        unit.numerator.copy_(torch.tensor(numerator))
        unit.denominator.zero_()
    return unit


@pytest.mark.parametrize("form", FORMS)
def test_rpau_in_evaluation_is_exactly_pau(form):
    x = torch.linspace(-5, 5, 1001)
    assert torch.equal(RPAU(noise=0.5, form=form).eval()(x), PAU(form=form)(x))


def test_rpau_without_noise_is_pau_in_training_too():
    x = torch.linspace(-5, 5, 101)
    torch.testing.assert_close(RPAU(noise=0.0).train()(x), PAU()(x))


def test_rpau_noise_is_uniform_in_the_papers_interval():
    torch.manual_seed(0)
    y = identity_times(0.1, 0.0, 1.0)(torch.ones(200_000)).detach()
    assert y.min() >= 0.9
    assert y.max() <= 1.1
    # The mean and the variance of U(0.9, 1.1), within five standard errors.
    assert y.mean().item() == pytest.approx(1, abs=5 * 0.0577 / 200_000**0.5)
    assert y.var().item() == pytest.approx(0.1**2 / 3, rel=0.02)


def test_rpau_draws_for_each_coefficient_and_each_element():
    torch.manual_seed(0)
    y = identity_times(0.1, 1.0, 1.0)(torch.ones(200_000)).detach() - 2
    assert y.var().item() == pytest.approx(2 * 0.1**2 / 3, rel=0.02)
    neighbors = torch.corrcoef(torch.stack([y[:-1], y[1:]]))[0, 1]
    assert abs(neighbors) < 0.015


def test_rpau_mean_of_many_draws_is_pau():
    torch.manual_seed(0)
    x = torch.linspace(-3, 3, 25)
    mean = RPAU(noise=0.01)(x.expand(20_000, 25)).mean(0)
    torch.testing.assert_close(mean, PAU()(x), rtol=0, atol=2e-3)


def test_rpau_repeats_under_the_same_seed_and_differs_between_calls():
    unit, x = RPAU(noise=0.1), torch.linspace(-3, 3, 64)
    torch.manual_seed(7)
    first, second = unit(x), unit(x)
    torch.manual_seed(7)
    assert torch.equal(unit(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("form", FORMS)
def test_rpau_gradients_flow_through_the_noisy_coefficients(form):
    unit = RPAU(noise=0.3, form=form).double()
    x = torch.linspace(-2.9, 3.1, 12, dtype=torch.float64, requires_grad=True)
    a = unit.numerator.detach().requires_grad_()
    b = (unit.denominator.detach() + 0.2).requires_grad_()

    def function(x, a, b):
        torch.manual_seed(3)  # the same noise at every evaluation
        return torch.func.functional_call(unit, {"numerator": a, "denominator": b}, (x,))

    assert torch.autograd.gradcheck(function, (x, a, b))
