"""Every activation of ``configs/activation`` against its formula and the promises of all."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import hydra.utils
import numpy as np
import pade_bench.configs
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from torch import nn

from pade_bench.activations import APL, SLAF, check_activation
from pade_bench.activations.factory import parse_catalog_entry
from pade_bench.errors import ConfigurationError

FOLDER = Path(pade_bench.configs.__file__).parent / "activation"
NAMES = sorted(file.stem for file in FOLDER.glob("*.yaml"))
RANDOM_IN_TRAINING = {"rrelu", "rpau"}

erf = np.vectorize(math.erf)


def make(name: str) -> nn.Module:
    return hydra.utils.instantiate(OmegaConf.load(FOLDER / f"{name}.yaml"))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def apl(x, slopes, offsets):
    hinges = (a * np.maximum(0, b - x) for a, b in zip(slopes, offsets, strict=True))
    return np.maximum(0, x) + sum(hinges)


def srelu(x, left_threshold, left_slope, right_threshold, right_slope):
    left = left_threshold + left_slope * (x - left_threshold)
    right = right_threshold + right_slope * (x - right_threshold)
    return np.select([x >= right_threshold, x <= left_threshold], [right, left], x)


def slaf(x, coefficients):
    return sum(c * x**k / math.factorial(k) for k, c in enumerate(coefficients))


def pau(x, numerator, denominator):
    a_x = sum(b * x**k for k, b in enumerate(denominator, start=1))
    return sum(a * x**j for j, a in enumerate(numerator)) / (1 + np.abs(a_x))


# In evaluation mode; keyword arguments are the module's parameters.
FORMULAS = {
    "relu": lambda x: np.maximum(0, x),
    "relu6": lambda x: np.minimum(np.maximum(0, x), 6),
    "lrelu": lambda x: leaky(x, 0.01),
    "rrelu": lambda x: leaky(x, (1 / 8 + 1 / 3) / 2),
    "elu": elu,
    "celu": elu,
    "swish": lambda x: x * sigmoid(x),
    "prelu": lambda x, weight: leaky(x, weight),
    "apl": apl,
    "srelu": srelu,
    "slaf": slaf,
    "mixture": lambda x, logit: sigmoid(logit) * x + (1 - sigmoid(logit)) * np.maximum(0, x),
    "pau": pau,
    "rpau": pau,
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "mish": lambda x: x * np.tanh(softplus(x)),
    "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "softplus": softplus,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
}
INITIAL = {
    "prelu": {"weight": [0.25]},
    "apl": {"slopes": [0.0] * 5, "offsets": [-0.640776, -0.262200, 0.0, 0.262200, 0.640776]},
    "srelu": {
        "left_threshold": 0.0,
        "left_slope": 0.2,
        "right_threshold": 1.0,
        "right_slope": 1.0,
    },
    "slaf": {"coefficients": [0.1, 1.0, 0.0, 0.0, 0.0]},
    "mixture": {"logit": 0.0},
    "pau": {
        "numerator": [0.033557856, 0.505, 1.65345101, 2.01003546, 0.931917238, 0.152427102],
        "denominator": [0.0, 3.98026824, 0.0, 0.301835845],
    },
}
INITIAL["rpau"] = INITIAL["pau"]

each = pytest.mark.parametrize("name", NAMES)


def perturbed(name: str) -> nn.Module:
    """Return the activation in float64, with parameters off their initial values."""
    module = make(name).double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p += 0.03 * (1 + torch.arange(p.numel(), dtype=p.dtype)).sin().reshape(p.shape)
    return module


def numpy_parameters(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def test_all_named_activations_exist():
    assert {*FORMULAS, "maxout"} <= set(NAMES)


@each
def test_file_says_formula_and_paper_before_its_target(name):
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    header = lines[: lines.index(next(line for line in lines if line.startswith("_target_")))]
    assert len(header) >= 2
    assert all(line.startswith("# ") for line in header)


@pytest.mark.parametrize("name", FORMULAS)
def test_output_matches_formula(name):
    module = perturbed(name)
    x = torch.cat([torch.linspace(-8, 8, 401, dtype=torch.float64), torch.tensor([-1e4, 1e4])])
    with np.errstate(over="ignore"):
        expected = FORMULAS[name](x.numpy(), **numpy_parameters(module))
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_infinities_match_formula(name):
    module = make(name).double().eval()
    x = torch.tensor([-math.inf, math.inf], dtype=torch.float64)
    y = module(x).detach().numpy()
    if name in {"slaf", "pau", "rpau"}:  # polynomials of infinity have no definite value
        assert not np.isfinite(y).any()
        return
    with np.errstate(invalid="ignore", over="ignore"):
        expected = FORMULAS[name](x.numpy(), **numpy_parameters(module))
    if name in {"apl"}:  # ReLU at the start, where 0 · ∞ is not a number
        expected = np.array([np.nan, np.inf])
    np.testing.assert_array_equal(y, expected)


@each
def test_nan_stays_nan(name):
    for module in (make(name).train(), make(name).eval()):
        assert module(torch.full((1, 2), math.nan)).isnan().all()


@each
def test_gradients_pass_gradcheck_in_float64(name):
    module = perturbed(name)
    names, values = zip(*module.named_parameters(), strict=True) if INITIAL.get(name) else ((), ())
    x = torch.linspace(-2.93, 3.07, 24, dtype=torch.float64).reshape(3, 8).requires_grad_()

    def function(x, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x, *values))


@each
def test_parameters_start_at_the_documented_values(name):
    expected = INITIAL.get(name, {})
    parameters = dict(make(name).named_parameters())
    assert parameters.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(parameters[key].data, torch.tensor(value), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", INITIAL)
def test_every_parameter_learns(name):
    torch.manual_seed(0)
    module = make(name)
    before = [p.detach().clone() for p in module.parameters()]
    x, target = torch.linspace(-3, 3, 101), torch.linspace(-3, 3, 101).sin()
    for _ in range(2):  # in the first step some have no gradient: those of a hinge of slope 0
        loss = (module(x) - target).square().mean()
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        for p, g in zip(module.parameters(), gradients, strict=True):
            assert g.isfinite().all()
            p.data -= 0.01 * g
    for p, old in zip(module.parameters(), before, strict=True):
        assert (p != old).all()


@each
def test_construction_draws_no_random_numbers(name):
    state = torch.get_rng_state()
    make(name)
    assert torch.equal(torch.get_rng_state(), state)


@each
def test_each_module_has_parameters_of_its_own(name):
    first, second = make(name), make(name)
    with torch.no_grad():
        for p in first.parameters():
            p += 1
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert (p != q).all()


@each
def test_state_dict_and_deepcopy_carry_everything(name):
    module = perturbed(name)
    loaded = make(name).double().eval()
    loaded.load_state_dict(module.state_dict())
    x = torch.linspace(-4, 4, 34, dtype=torch.float64).reshape(1, 34)
    assert torch.equal(loaded(x), module(x))
    assert torch.equal(copy.deepcopy(module)(x), module(x))


@each
def test_only_randomized_activations_differ_in_training(name):
    module = make(name)
    x = torch.linspace(-2, 2, 64).reshape(2, 2, 4, 4)
    assert torch.equal(module.eval()(x), module.eval()(x))
    same = torch.equal(module.train()(x), module.eval()(x))
    assert same == (name not in RANDOM_IN_TRAINING)


@each
def test_bfloat16_input_gives_nearby_bfloat16_output(name):
    module = make(name).eval()
    x = torch.linspace(-3, 3, 64).reshape(1, 64).bfloat16()
    expected = module(x.float())
    y = module.bfloat16()(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("name", ["apl", "srelu", "slaf", "mixture", "pau", "rpau"])
def test_float32_parameters_keep_the_type_of_the_input(name):
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert make(name)(torch.linspace(-3, 3, 8, dtype=dtype)).dtype == dtype


@each
def test_passes_the_check_before_training(name):
    check_activation(make(name))


OURS = ["apl", "srelu", "slaf", "mixture", "pau", "rpau"]


@pytest.mark.parametrize("name", OURS)
def test_reset_parameters_sets_the_initial_values_again(name):
    module = perturbed(name)
    module.reset_parameters()
    for p, initial in zip(module.parameters(), make(name).parameters(), strict=True):
        torch.testing.assert_close(p, initial.double(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", OURS)
def test_a_module_made_without_values_gets_them_from_reset_parameters(name):
    kind, expected = type(make(name)), list(make(name).parameters())
    with torch.device("meta"):
        empty = kind()
    assert all(p.is_meta for p in empty.parameters())
    for module in (empty.to_empty(device="cpu"), nn.utils.skip_init(kind)):
        module.reset_parameters()
        for p, initial in zip(module.parameters(), expected, strict=True):
            assert torch.equal(p, initial)
            assert p.requires_grad


@pytest.mark.parametrize("name", OURS)
def test_device_and_type_are_those_asked_for(name):
    module = type(make(name))(device="meta", dtype=torch.float64)
    assert {(p.device.type, p.dtype) for p in module.parameters()} == {("meta", torch.float64)}


def test_rrelu_draws_a_slope_between_an_eighth_and_a_third_for_each_element():
    torch.manual_seed(0)
    slopes = -make("rrelu").train()(-torch.ones(100_000))
    assert slopes.min() >= 1 / 8
    assert slopes.max() <= 1 / 3
    assert slopes.mean().item() == pytest.approx(11 / 48, abs=1e-3)


def test_mixture_stays_between_identity_and_relu():
    module = make("mixture")
    x = torch.linspace(-3, 3, 13)
    for logit in (-20.0, -1.0, 5.0, 20.0):
        module.logit.data.fill_(logit)
        assert ((module(x) >= x) & (module(x) <= x.relu())).all()


@pytest.mark.parametrize("count", [0, -1, 2.0, "two", True])
def test_impossible_numbers_of_terms_are_refused(count):
    with pytest.raises(ConfigurationError, match=r"hinges=.* is not a positive whole number"):
        APL(hinges=count)
    with pytest.raises(ConfigurationError, match=r"degree=.* is not a positive whole number"):
        SLAF(degree=count)


def test_other_numbers_of_terms_change_the_number_of_parameters():
    assert sum(p.numel() for p in APL(hinges=2).parameters()) == 4
    assert sum(p.numel() for p in SLAF(degree=1).parameters()) == 2
    assert repr(APL(hinges=2)) == "APL(hinges=2)"
    assert repr(SLAF(degree=3)) == "SLAF(degree=3)"


@pytest.mark.parametrize("name", NAMES)
def test_the_catalog_is_read_without_a_yaml_library_as_with_one(name):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert parse_catalog_entry(text) == yaml.safe_load(text)
