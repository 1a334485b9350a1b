"""Activations in networks that torch.fx traces, and in what is built on it."""

import copy
import pickle
from pathlib import Path

import pade_bench.configs
import pytest
import torch
from torch import nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.fx import symbolic_trace
from torchvision.models.feature_extraction import create_feature_extractor

from pade_bench import PAU, RPAU, functional
from pade_bench.activations.factory import activation_factory
from pade_bench.models.layers import channel_multiplier

NAMES = sorted(
    p.stem
    for p in (Path(pade_bench.configs.__file__).parent / "activation").iterdir()
    if p.suffix == ".yaml"
)
each = pytest.mark.parametrize("name", NAMES)


def network(name):
    torch.manual_seed(0)
    make = activation_factory(name)
    k = channel_multiplier(make())
    return nn.Sequential(
        nn.Linear(5, 8 * k), make(), nn.Sequential(nn.Linear(8, 8 * k), make()), nn.Linear(8, 3)
    )


def x():
    return torch.randn(16, 5, generator=torch.Generator().manual_seed(1))


def same_in_both_modes(traced, original, output=lambda y: y):
    for mode in (True, False):
        results = []
        for module in (traced.train(mode), original.train(mode)):
            torch.manual_seed(2)
            results.append(module(x()))
        assert torch.equal(output(results[0]), results[1]), f"training={mode}"


@each
def test_a_traced_network_computes_the_same_in_both_modes(name):
    original = network(name)
    traced = symbolic_trace(original)
    traced.graph.lint()
    for form in (traced, copy.deepcopy(traced), symbolic_trace(traced)):
        same_in_both_modes(form, original)
    same_in_both_modes(pickle.loads(pickle.dumps(traced)), original)


@each
def test_features_are_extracted_from_a_network_with_units(name):
    original = network(name)
    last = "3"
    features = create_feature_extractor(original, [last])
    same_in_both_modes(features, original, lambda found: found[last])


@each
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
def test_fx_quantization_leaves_units_as_they_are(name):
    original = network(name).eval()
    observed = prepare_fx(copy.deepcopy(original), get_default_qconfig_mapping("x86"), (x(),))
    assert torch.equal(observed(x()), original(x()))
    quantized = convert_fx(observed)
    torch.testing.assert_close(quantized(x()), original(x()), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("kind", [PAU, RPAU])
def test_a_traced_unit_stays_a_module(kind):
    traced = symbolic_trace(nn.Sequential(nn.Linear(3, 3), kind()))
    assert isinstance(traced.get_submodule("1"), kind)
    assert [node.op for node in traced.graph.nodes].count("call_module") == 2


@pytest.mark.parametrize("unit", [PAU(), RPAU(noise=0.5)])
def test_a_unit_that_is_traced_by_itself_follows_its_mode(unit):
    same_in_both_modes(symbolic_trace(unit), unit)


def test_functions_of_units_are_single_calls():
    class Net(nn.Module):
        def forward(self, x, a, b):
            return functional.pau(x, a, b) + functional.rpau(x, a, b, training=False)

    traced = symbolic_trace(Net())
    assert [node.op for node in traced.graph.nodes].count("call_function") == 3
    a, b = torch.ones(6), torch.ones(4)
    assert torch.equal(traced(x(), a, b), Net()(x(), a, b))
