"""Replacing the activations of networks that others wrote."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from pade_bench import PAU, convert_activations
from pade_bench.activations import SReLU
from pade_bench.errors import ConfigurationError


def names(replacements):
    return [r.name for r in replacements]


def test_torchvisions_mobilenet_is_converted_layer_by_layer():
    network = torchvision.models.mobilenet_v2()
    replaced = convert_activations(network, "pau")
    units = [m for m in network.modules() if isinstance(m, PAU)]
    assert len(replaced) == len(set(units)) == 35
    assert replaced[0].name == "features.0.2"
    assert str(replaced[0]) == (
        f"features.0.2: ReLU6(inplace=True), within {replaced[0].start.error:.2g} of ReLU6 "
        "on [-8, 8]"
    )
    assert not any(isinstance(m, nn.ReLU6) for m in network.modules())
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(unit.numerator.grad.abs().sum() > 0 for unit in units)


def test_a_module_that_the_code_calls_often_stays_one_and_that_is_said():
    replaced = convert_activations(torchvision.models.resnet18(), "pau")
    assert [r.calls for r in replaced] == [1] + [2] * 8
    assert str(replaced[1]).startswith("layer1.0.relu: ReLU(inplace=True), one for 2 calls, within")


def test_gates_are_left_alone():
    network = torchvision.models.efficientnet_b0()
    gates = sum(isinstance(m, nn.Sigmoid) for m in network.modules())
    replaced = convert_activations(network, nn.ReLU)
    assert {r.was for r in replaced} == {"SiLU(inplace=True)"}
    assert sum(isinstance(m, nn.Sigmoid) for m in network.modules()) == gates > 0


def test_one_module_at_two_places_becomes_two():
    shared = nn.ReLU()
    network = nn.Sequential(nn.Linear(3, 3), shared, nn.Linear(3, 3), shared)
    assert names(convert_activations(network, "pau")) == ["1", "3"]
    assert network[1] is not network[3]


def test_a_converted_network_is_converted_again():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    convert_activations(network, "pau")
    (again,) = convert_activations(network, "srelu")
    assert again.was.startswith("PAU(")
    assert isinstance(network[1], SReLU)


def test_mode_and_device_are_the_networks():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).to("meta").eval()
    convert_activations(network, "pau")
    assert network[1].numerator.device.type == "meta"
    assert not network[1].training


def test_a_network_without_activations_is_refused():
    with pytest.raises(ConfigurationError, match=r"no activation to replace.*Linear, Sequential"):
        convert_activations(nn.Sequential(nn.Linear(3, 3)), "pau")


def test_an_activation_that_changes_the_number_of_channels_is_refused():
    with pytest.raises(ConfigurationError, match="takes 2 channels"):
        convert_activations(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), "maxout")


def transformer(activation, layers=0, **settings):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, activation=activation, batch_first=True, **settings
    )
    return nn.TransformerEncoder(layer, layers) if layers else layer


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(
    "activation",
    ["relu", "gelu", F.relu, nn.ReLU(), nn.GELU()],
    ids=["'relu'", "'gelu'", "F.relu", "ReLU()", "GELU()"],
)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_a_transformer_computes_the_same_in_both_modes(activation, norm_first, layers):
    network = transformer(activation, layers, norm_first=norm_first)
    tokens = torch.randn(3, 5, 8)
    padding = torch.arange(5) >= torch.tensor([[5], [3], [1]])
    replaced = convert_activations(network, "srelu", example_input=tokens)
    assert len(replaced) == max(1, layers)
    for mask in (None, padding):
        trained = network.train()(tokens, src_key_padding_mask=mask)
        with torch.no_grad():
            evaluated = network.eval()(tokens, src_key_padding_mask=mask)
        torch.testing.assert_close(evaluated, trained, rtol=0, atol=1e-6)
        assert (trained - transformer(activation, layers)(tokens)).abs().max() > 1e-3


def test_a_transformer_with_units_follows_nested_tensors_no_more():
    network = transformer(nn.ReLU(), 2)
    assert network.use_nested_tensor
    convert_activations(network, "pau", example_input=(torch.randn(3, 5, 8),))
    assert not network.use_nested_tensor
    assert [layer.activation_relu_or_gelu for layer in network.layers] == [0, 0]


def test_a_transformer_layer_of_ones_own_with_torchs_fast_path_is_corrected_too():
    class Layer(nn.TransformerEncoderLayer):
        pass

    network = Layer(8, 2, 16, activation=nn.GELU(), batch_first=True).eval()
    done = convert_activations(network, "pau", example_input=torch.randn(3, 5, 8))
    assert names(done) == ["activation"]


def test_a_copy_of_the_fast_path_that_keeps_another_flag_is_refused():
    class Copied(nn.TransformerEncoderLayer):
        @property
        def activation_relu_or_gelu(self):
            return 1

        @activation_relu_or_gelu.setter
        def activation_relu_or_gelu(self, value):
            pass

    network = Copied(8, 2, 16, activation=nn.ReLU(), batch_first=True)
    with pytest.raises(ConfigurationError, match="aten::_transformer_encoder_layer_fwd"):
        convert_activations(network, "pau", example_input=torch.randn(3, 5, 8))


def test_functions_that_torchs_transformers_were_given_become_units():
    network = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True)
    source, target = torch.randn(3, 5, 8), torch.randn(3, 4, 8)
    done = convert_activations(network, "pau", example_input=(source, target))
    assert [(r.name, r.was) for r in done] == [
        ("encoder.layers.0.activation", "relu"),
        ("decoder.layers.0.activation", "relu"),
    ]
    assert all(isinstance(m, PAU) for m in (network.encoder.layers[0].activation,))
    assert len([m for m in network.modules() if isinstance(m, PAU)]) == 2


def test_a_unit_goes_where_the_layer_before_it_is():
    network = nn.Sequential(
        nn.Linear(3, 3, device="meta"),
        nn.ReLU(),
        nn.Linear(3, 3, dtype=torch.float64),
        nn.Sequential(nn.ReLU()),
        nn.Sequential(nn.ReLU(), nn.Linear(3, 3, dtype=torch.bfloat16)),
    )
    convert_activations(network, "pau")
    units = [m for m in network.modules() if isinstance(m, PAU)]
    places = [(u.numerator.device.type, u.numerator.dtype) for u in units]
    assert places == [
        ("meta", torch.float32),
        ("cpu", torch.float64),
        ("cpu", torch.bfloat16),  # nothing before it in its own block
    ]
    quantized = nn.Sequential(nn.Linear(3, 3).to(torch.float8_e4m3fn), nn.ReLU())
    convert_activations(quantized, "pau")
    assert quantized[1].numerator.dtype == torch.float32  # units have no such type


def test_a_failure_halfway_leaves_the_network_as_it_was():
    made = []

    def factory():
        made.append(1)
        if len(made) == 3:
            raise RuntimeError("no more")
        return nn.Tanh()

    network = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU())
    with pytest.raises(RuntimeError, match="no more"):
        convert_activations(network, factory)
    assert all(type(m) is nn.ReLU for m in network)
