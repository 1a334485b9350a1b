"""Running a converted network to see what it really computes, and leaving no trace of that."""

import copy
import re
import types

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from pade_bench import PAU, convert_activations
from pade_bench.errors import ConfigurationError
from pade_bench.models.recognize import is_activation_operator


def x(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Hides(nn.Module):
    """Computes ReLU in a way that no reading of its code can see."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return HIDDEN[self.how](x)


def by_name(x):
    return getattr(F, "".join(["re", "lu"]))(x)


def by_table(x):
    return {"relu": vars(F)["relu"]}["relu"](x)


HIDDEN = {
    "getattr": by_name,
    "table": by_table,
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0.0),
    "clamp to 6": lambda x: x.clamp(0, 6),
    "maximum": lambda x: torch.maximum(x, torch.tensor(0.0)),
    "threshold": lambda x: F.threshold(x, 0, 0),
    "hardtanh": lambda x: F.hardtanh(x, 0, 6),
    "in place": lambda x: x.clone().clamp_(min=0),
    "an operator": lambda x: torch.ops.aten.relu(x),
    "fused": lambda x: torch._addmm_activation(torch.zeros(3), x, torch.eye(3)),
    "a Padé unit": lambda x: torch.ops.pade_bench.pau(
        x, torch.ones(6), torch.ones(4), "abs_of_sum", None, 0.0
    ),
}


@pytest.mark.parametrize("how", HIDDEN)
def test_an_activation_that_only_running_shows_is_refused_with_its_place(how):
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), Hides(how), nn.Linear(3, 3))
    before = copy.deepcopy(network)
    convert_activations(copy.deepcopy(network), "pau")  # its code gives nothing away
    with pytest.raises(ConfigurationError) as refusal:
        convert_activations(network, "pau", example_input=x(4, 3))
    (line,) = str(refusal.value).splitlines()[1:]
    assert line.strip().startswith(f"2 (Hides), {__file__}:")
    assert str(network) == str(before)
    assert type(network[1]) is nn.ReLU


BOUNDS = {
    "from below elsewhere": lambda x: x.clamp(min=1e-6),
    "on both sides": lambda x: x.clamp(0, 255),
    "from above": lambda x: x.clamp(max=0),
    "of indices": lambda x: x + torch.arange(3).clamp(min=0),
    "hardtanh": F.hardtanh,
    "a gate": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
}


@pytest.mark.parametrize("how", BOUNDS)
def test_other_bounds_and_gates_are_no_activations(how, monkeypatch):
    monkeypatch.setitem(HIDDEN, how, BOUNDS[how])
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), Hides(how))
    assert convert_activations(network, "pau", example_input=x(4, 3)).verified


@pytest.mark.parametrize(
    ("library", "name", "arguments"),
    [
        ("quantized", "linear_relu", ()),
        ("quantized", "conv2d_relu", ()),
        ("quantized", "add_relu", ()),
        ("mkldnn", "_linear_pointwise", (0, 0, 0, "relu", [], "")),
        ("mkldnn", "_linear_pointwise", (0, 0, 0, "gelu", [], "none")),
        ("aten", "cudnn_convolution_relu", ()),
        ("aten", "_transformer_encoder_layer_fwd", ()),
        ("aten", "_addmm_activation", ()),
        ("aten", "silu_", ()),
    ],
)
def test_fused_operators_are_activations(library, name, arguments):
    packet = getattr(getattr(torch.ops, library), name)
    operator = getattr(packet, packet.overloads()[0])
    assert is_activation_operator(operator, arguments, {})


@pytest.mark.parametrize("name", ["gelu_backward", "native_batch_norm", "addmm", "add", "glu"])
def test_other_operators_are_not(name):
    packet = getattr(torch.ops.aten, name)
    operator = getattr(packet, packet.overloads()[0])
    assert not is_activation_operator(operator, (), {})
    linear = torch.ops.mkldnn._linear_pointwise.default
    assert not is_activation_operator(linear, (0, 0, 0, "none", [], ""), {})


def test_what_a_unit_computes_itself_is_not_held_against_it():
    for activation in ("srelu", "apl", "mixture", nn.ReLU, "gelu"):
        network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
        assert convert_activations(network, activation, example_input=x(4, 3)).verified


def test_gates_made_of_activations_are_left_alone():
    class HardSigmoid(nn.Module):  # timm's
        def forward(self, x):
            return getattr(F, "relu" + "6")(x + 3) / 6

    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), HardSigmoid())
    assert convert_activations(network, "pau", example_input=x(4, 3)).verified


def test_torchvisions_quantizable_resnet18_is_refused_and_untouched():
    network = torchvision.models.quantization.resnet18()
    state = copy.deepcopy(network.state_dict())
    with pytest.raises(
        ConfigurationError, match=r"resnet\.py:\d+: out = self\.add_relu\.add_relu"
    ) as e:
        convert_activations(network, "pau", example_input=x(2, 3, 64, 64))
    assert "layer1.0 (QuantizableBasicBlock) and 7 more" in str(e.value)
    assert not any(isinstance(m, PAU) for m in network.modules())
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


def test_the_unused_activations_of_torchvisions_quantizable_resnet50_are_all_listed():
    network, images = torchvision.models.quantization.resnet50(), x(2, 3, 64, 64)
    with pytest.raises(ConfigurationError, match=r"out = self\.skip_add_relu") as refusal:
        convert_activations(network, "pau", example_input=images)
    (place,) = re.findall(r"resnet\.py:\d+", str(refusal.value))
    with pytest.raises(ConfigurationError) as refusal:
        convert_activations(network, "pau", example_input=images, ignore=[place])
    unused = [line.strip() for line in str(refusal.value).splitlines()[1:]]
    assert len(unused) == 16
    assert unused[0] == "layer1.0.relu: ReLU()"


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.used, self.unused = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        return self.used(self.layer(x))


def test_units_that_never_run_are_refused_by_name_unless_they_are_to_stay():
    network = Unused()
    with pytest.raises(ConfigurationError, match=r"never be trained") as refusal:
        convert_activations(network, "pau", example_input=x(4, 3))
    assert str(refusal.value).splitlines()[1:] == ["  unused: ReLU()"]
    assert type(network.used) is nn.ReLU
    done = convert_activations(network, "pau", example_input=x(4, 3), ignore=["unused"])
    assert [r.name for r in done] == ["used"]
    assert type(network.unused) is nn.ReLU


def test_a_unit_that_runs_in_one_mode_only_is_reached():
    class Auxiliary(Unused):
        def forward(self, x):
            y = super().forward(x)
            return self.unused(y) if self.training else y

    assert convert_activations(Auxiliary(), "pau", example_input=x(4, 3)).verified


def test_an_activation_of_evaluation_mode_only_is_seen():
    class Different(Unused):
        def forward(self, x):
            y = self.unused(super().forward(x))
            return y if self.training else by_name(y)

    with pytest.raises(ConfigurationError, match=r"the network itself \(Different\).*aten::relu"):
        convert_activations(Different(), "pau", example_input=x(4, 3))


def test_a_forward_set_on_an_instance_is_seen():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Identity())
    network[2].forward = by_name
    with pytest.raises(ConfigurationError, match=r"2 \(Identity\).*aten::relu"):
        convert_activations(network, "pau", example_input=x(4, 3))
    network[2].forward = types.MethodType(lambda self, x: F.relu(x), network[2])
    with pytest.raises(ConfigurationError, match=r"2 \(Identity\), .*F\.relu"):
        convert_activations(network, "pau")
    network[2].forward = nn.Identity().forward
    network[1].forward = by_name
    with pytest.raises(ConfigurationError, match=r"1 \(ReLU\): its forward is set on the instance"):
        convert_activations(network, "pau")


def test_modules_outside_of_the_network_are_seen():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.elsewhere = [nn.ReLU()]  # not registered

        def forward(self, x):
            for f in self.elsewhere:
                x = f(x)
            return x

    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), Keeps())
    with pytest.raises(ConfigurationError, match=r"2 \(Keeps\), .*: x = f\(x\) \[aten::relu\]"):
        convert_activations(network, "pau", example_input=x(4, 3))


def test_compiled_networks_are_seen_through():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), Hides("getattr"))
    with pytest.raises(ConfigurationError, match=r"aten::relu"):
        convert_activations(torch.compile(network), "pau", example_input=x(4, 3))


@pytest.mark.parametrize(
    "example", [x(4, 3), (x(4, 3), 2.0), {"x": x(4, 3), "scale": 2.0}], ids=["one", "many", "named"]
)
def test_inputs_are_tensors_tuples_or_mappings_and_keep_their_values(example):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x, scale=1.0):
            return self.act(x.mul_(scale))

    before = copy.deepcopy(example)
    assert convert_activations(Scaled(), "pau", example_input=example).verified
    torch.testing.assert_close(example, before, rtol=0, atol=0)


def test_an_input_that_does_not_fit_is_refused_with_torchs_reason():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(
        ConfigurationError,
        match=r"Sequential fails on example_input in training mode: RuntimeError: mat1 and mat2",
    ):
        convert_activations(network, "pau", example_input=x(4, 5))
    assert type(network[1]) is nn.ReLU
    with pytest.raises(ConfigurationError, match="more than 1 value per channel"):
        convert_activations(
            nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU()),
            "pau",
            example_input=x(1, 3),
        )


def test_layers_without_weights_yet_must_run_first():
    network = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    with pytest.raises(ConfigurationError, match="Run it once before"):
        convert_activations(network, "pau", example_input=x(4, 3))
    assert not convert_activations(network, "pau").verified


def test_code_that_cannot_be_read_is_no_obstacle_to_a_network_that_was_run():
    names = {"nn": nn}
    exec("class Typed(nn.Module):\n    def forward(self, x):\n        return x.relu()\n", names)
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), names["Typed"]())
    with pytest.raises(ConfigurationError, match=r"2 \(Typed\), <string>:3: .*\[aten::relu\]"):
        convert_activations(network, "pau", example_input=x(4, 3))
    network[2].relu = None
    exec("class Plain(nn.Module):\n    def forward(self, x):\n        return x + 1\n", names)
    network[2] = names["Plain"]()
    assert convert_activations(network, "pau", example_input=x(4, 3)).verified


def test_the_result_says_whether_it_is_verified_and_how_to():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    done = convert_activations(network, "srelu")
    assert not done.verified
    *replaced, proof = str(done).splitlines()
    assert replaced == ["1: ReLU()"]
    assert proof.startswith("unverified")
    assert "example_input=x" in proof
    done = convert_activations(network, "srelu", example_input=x(4, 3))
    assert done.verified
    assert str(done).splitlines()[-1].startswith("verified")


def test_the_result_names_an_input_where_a_library_does():
    network = torchvision.models.mnasnet0_5()
    assert "example_input=torch.randn(2, 3, 224, 224))" in convert_activations(network, "pau").proof
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    network.pretrained_cfg = {"input_size": (3, 96, 160)}
    assert "example_input=torch.randn(2, 3, 96, 160))" in convert_activations(network, "pau").proof


def test_what_is_to_be_ignored_is_named_by_module_or_place():
    line = by_name.__code__.co_firstlineno + 1
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), Hides("getattr"), nn.ReLU())
    for place in ("2", f"test_watch.py:{line}", f"{__file__}:{line}"):
        trial = copy.deepcopy(network)
        done = convert_activations(trial, "pau", example_input=x(4, 3), ignore=[place, "3"])
        assert [r.name for r in done] == ["1"]
        assert type(trial[3]) is nn.ReLU


@pytest.mark.parametrize(
    ("ignore", "message"),
    [
        (["lst"], r"'lst' is neither the name of a module nor .* Did you mean 'last'"),
        (["test_watch.py:1"], r"neither the name of a module nor the place"),
        ("last", r"must be a list"),
    ],
)
def test_what_is_to_be_ignored_must_exist(ignore, message):
    network = nn.Sequential()
    network.add_module("first", nn.ReLU())
    network.add_module("last", nn.ReLU())
    with pytest.raises(ConfigurationError, match=message):
        convert_activations(network, "pau", ignore=ignore, example_input=x(4, 3))
    assert type(network.first) is nn.ReLU
