"""Units that start as another function, for all inputs."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pade_bench import PAU
from pade_bench.activations.coefficients import FUNCTIONS
from pade_bench.activations.factory import activation_factory, activation_names
from pade_bench.activations.inputs import Inputs
from pade_bench.activations.matching import match
from pade_bench.errors import ConfigurationError
from pade_bench.ops import FORMS

ZOO = [name for name in activation_names() if name != "maxout"]


def unit(init, degrees=(5, 4), form="abs_of_sum", inputs=None):
    made = PAU(degrees, form=form).double()
    made.start_from(init, inputs)
    return made


def zoo(name):
    return activation_factory(name)().double().eval()


def line(*bounds, steps=4001):
    return torch.linspace(*bounds, steps, dtype=torch.float64)


def relative(y, expected):
    return ((y - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ZOO)
def test_far_out_no_unit_is_much_larger_than_what_it_matches(name, form):
    function = zoo(name)
    x = torch.tensor([-50.0, 50.0], dtype=torch.float64)
    assert unit(function, form=form)(x).abs().max() <= 1.25 * function(x).abs().max()
    if name in FUNCTIONS:  # by its name it is the paper's fit
        assert unit(name, form=form)(x).abs().max() <= 50
    else:
        assert torch.equal(unit(name, form=form)(x), unit(function, form=form)(x))


@pytest.mark.parametrize(
    ("function", "at"),
    [  # the function at -50 and 50 where a rational of these degrees can follow it
        (F.silu, (0, 50)),
        (F.softplus, (0, 50)),
        (F.tanh, (-1, 1)),
        (F.hardtanh, (-1, 1)),
        (F.softsign, (-50 / 51, 50 / 51)),
        (torch.abs, (50, 50)),
        (lambda x: x, (-50, 50)),
        (torch.ones_like, (1, 1)),
    ],
)
def test_tails_are_the_functions(function, at):
    y = unit(function)(torch.tensor([-50.0, 50.0], dtype=torch.float64))
    np.testing.assert_allclose(y.detach(), at, atol=0.07 * max(map(abs, at)))


@pytest.mark.parametrize(
    ("function", "power"),
    [(F.relu, 1), (F.gelu, 1), (F.hardswish, 1), (F.relu6, 0), (torch.sigmoid, 0), (F.elu, 1)],
)
@pytest.mark.parametrize("form", FORMS)
def test_growth_is_the_functions(function, power, form):
    x = torch.tensor([2.0**19, 2.0**20], dtype=torch.float64)
    near, far = unit(function, form=form)(x).tolist()
    assert math.log2(far / near) == pytest.approx(power, abs=0.02)


@pytest.mark.parametrize("function", [F.gelu, F.silu, F.mish, F.softplus, F.hardswish, torch.tanh])
def test_value_and_slope_at_zero_are_those_of_a_smooth_function(function):
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    ours, its = (f(x) for f in (unit(function), function))
    slopes = (torch.autograd.grad(y, x)[0].item() for y in (ours, its))
    assert ours.item() == pytest.approx(its.item(), abs=1e-9)
    assert next(slopes) == pytest.approx(next(slopes), abs=1e-4)


@pytest.mark.parametrize(
    ("function", "expected"),
    [(F.gelu, 0.01), (F.silu, 0.01), (F.mish, 0.01), (F.relu, 0.03), (F.hardswish, 0.02)],
)
def test_error_over_normal_inputs_is_small(function, expected):
    x = torch.randn(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert relative(unit(function)(x), function(x)) < expected


def normal(deviation, number=100_000):
    generator = torch.Generator().manual_seed(0)
    return deviation * torch.randn(number, dtype=torch.float64, generator=generator)


def test_relu_is_matched_for_inputs_of_a_quarter_to_four():
    errors = {}
    for init in (F.relu, "lrelu_0.01"):
        made = unit(init)
        inputs = [normal(deviation) for deviation in (0.25, 0.5, 1, 1.5, 2, 3, 4)]
        errors[init] = [relative(made(x), F.relu(x)) for x in inputs]
    assert max(errors[F.relu]) < 0.07 < 0.19 < max(errors["lrelu_0.01"])


@pytest.mark.parametrize("function", [F.relu, F.leaky_relu, F.relu6, F.relu_])
@pytest.mark.parametrize("deviation", [1e-6, 0.02, 0.3, 1, 5])
def test_of_an_example_the_size_decides_for_which_inputs_a_kink_is_matched(function, deviation):
    example = Inputs(exact=False)
    example.add(deviation * torch.tensor([-1.5, 0.5, 1.0]))
    fitted, x = unit(function, inputs=example), normal(deviation)
    # ReLU6 of large inputs has two kinks.
    assert relative(fitted(x), function(x.clone())) < (0.08 if deviation == 5 else 0.025)
    assert fitted.start.high == -fitted.start.low
    assert 2 * deviation < fitted.start.high < 8 * deviation


def test_an_example_of_another_distribution_and_nearly_its_size_gives_the_same_start():
    starts = set()
    for values in ([1.0], [0.0, 1.3], [-0.9, 1.1]):
        example = Inputs(exact=False)
        example.add(torch.tensor(values))
        starts.add(unit(F.relu, inputs=example).start)
    assert len(starts) == 1


def test_of_an_example_without_a_size_or_for_a_smooth_function_nothing_is_made():
    example = Inputs(exact=False)
    assert unit(F.relu, inputs=example).start == unit(F.relu).start
    example.add(torch.zeros(5))
    assert unit(F.relu, inputs=example).start == unit(F.relu).start
    example.add(torch.full((5,), 0.1))
    for function in (F.gelu, F.silu, F.hardswish):
        assert unit(function, inputs=example).start == unit(function).start


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12])
def test_examples_of_any_size_give_coefficients_that_float32_holds(size):
    example = Inputs(exact=False)
    example.add(torch.tensor([size]))
    made = unit(F.relu, inputs=example).float()
    assert all(p.isfinite().all() for p in made.parameters())
    assert made(torch.tensor([-100.0, -50.0, 0.0, 50.0, 100.0])).isfinite().all()


@pytest.mark.parametrize("init", ["lrelu_0.01", "gelu", F.silu])
@pytest.mark.parametrize("degrees", [(5, 4), (3, 2)])
def test_the_error_that_is_reported_is_the_largest_on_the_range(init, degrees):
    made = unit(init, degrees)
    function = {"lrelu_0.01": FUNCTIONS["lrelu_0.01"], "gelu": F.gelu}.get(init, init)
    x = line(made.start.low, made.start.high, steps=40_001)
    assert made.start.error == pytest.approx((made(x) - function(x)).abs().max().item(), rel=1e-3)


@pytest.mark.parametrize("degrees", [(1, 1), (2, 1), (3, 2), (4, 4), (3, 5), (7, 6)])
@pytest.mark.parametrize("form", FORMS)
def test_any_degrees_give_a_finite_unit_of_these_degrees(degrees, form):
    made = unit(F.gelu, degrees, form)
    assert made.degrees == degrees
    assert made(line(-50, 50)).abs().max() <= 75


def test_a_fit_is_the_same_every_time():
    first, second = (match(lambda x: F.gelu(x) * 1.5, (5, 4), "abs_of_sum") for _ in range(2))
    assert first == second


def test_equal_functions_are_fitted_once(monkeypatch):
    from pade_bench.activations import matching

    match(lambda x: 0.7 * F.silu(x), (5, 4), "abs_of_sum")
    monkeypatch.setattr(matching, "fit_points", None)  # any other fit would call it
    match(lambda x: 0.7 * F.silu(x), (5, 4), "abs_of_sum")


def test_a_function_without_simple_tails_is_fitted_on_the_papers_range():
    for function in (torch.sin, torch.exp):
        made = unit(function)
        assert (made.start.low, made.start.high) == (-3, 3)
        assert made.start.error < 0.01


def test_inputs_decide_where_the_error_is_small():
    x = 0.02 * torch.randn(10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs = Inputs()
    inputs.add(x)
    fitted = unit(F.relu, inputs=inputs)
    assert (fitted.start.low, fitted.start.high) == pytest.approx((x.min().item(), x.max().item()))
    assert relative(fitted(x), F.relu(x)) < 0.02 < 0.3 < relative(unit(F.relu)(x), F.relu(x))
    assert unit(F.relu, inputs=Inputs()).start == unit(F.relu).start  # nothing arrived


def test_a_histogram_holds_each_value_in_a_bin_4_percent_wide():
    inputs = Inputs()
    inputs.add(torch.tensor([[-3.0, 0.0], [1e-5, 7.0]]))
    inputs.add(torch.tensor([7.0, float("nan"), float("inf")], dtype=torch.bfloat16))
    values, shares = inputs.distribution()
    np.testing.assert_allclose(values, [-3, 0, 1e-5, 7], rtol=0.025)
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.2, 0.4])
    assert (inputs.low, inputs.high) == (-3, 7)


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
def test_values_of_nested_tensors_are_counted_and_of_the_meta_device_none(layout):
    inputs = Inputs()
    parts = [torch.tensor([[1.0], [2.0]]), torch.tensor([[-4.0]])]
    inputs.add(torch.nested.nested_tensor(parts, layout=layout))
    inputs.add(torch.empty(5, device="meta"))
    np.testing.assert_allclose(inputs.distribution()[0], [-4, 1, 2], rtol=0.025)
    assert inputs.size() == pytest.approx(math.sqrt(7), rel=0.03)


def test_a_function_that_works_in_place_may_be_matched():
    assert unit(lambda x: F.relu(x, inplace=True)).start == unit(F.relu).start


def test_maxout_is_no_function_to_start_from():
    with pytest.raises(ConfigurationError, match="'maxout' is not a function of one value"):
        PAU(init="maxout")


def test_a_unit_made_without_values_matches_as_any_other():
    with torch.device("meta"):
        made = PAU(init="prelu")
    made.to_empty(device="cpu").reset_parameters()
    assert torch.equal(made.numerator, PAU(init="prelu").numerator)
