"""Reading a network's code for activations that are no modules."""

import copy
import functools
import linecache
import os

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from pade_bench import convert_activations
from pade_bench.errors import ConfigurationError

TABLE = {"relu": F.relu, "none": nn.Identity()}


class ByName(nn.Module):
    kind = "relu"

    def forward(self, x):
        return getattr(F, self.kind)(x)


class ByTable(nn.Module):
    kind = "relu"

    def forward(self, x):
        return TABLE[self.kind](x)


class ByUnknownKey(nn.Module):
    def forward(self, x, kind="none"):
        return TABLE[kind](x)


class ByUnboundMethod(nn.Module):
    def forward(self, x):
        return torch.Tensor.relu(x)


class AddsAndRectifies(nn.Module):
    def __init__(self):
        super().__init__()
        self.sum = torch.ao.nn.quantized.FloatFunctional()

    def forward(self, x):
        return self.sum.add_relu(x, x)


class UsesAMethodOfAChild(nn.Module):
    def __init__(self):
        super().__init__()
        self.child = nn.Module()
        self.child.step = OwnMethod.inner.__get__(self.child)

    def forward(self, x):
        return self.child.step(x)


class UsesTheStandardLibrary(nn.Module):
    def forward(self, x):
        return x if os.path.exists(str(x.shape)) else x.relu()  # whose source is not to be had


class Untidy(nn.Module):
    def forward(self, x):
        text = """
at the beginning of a line
"""
        # a comment at the beginning of a line
        x = F.relu(x) if text else x
        return x


class Helper(nn.Module):
    def forward(self, x):
        return rectified(x)


def rectified(x):
    return F.relu(x)


class Base(nn.Module):
    def forward(self, x):
        return F.gelu(x)


class Overrides(Base):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(x)


class Extends(Base):
    def forward(self, x):
        return super().forward(x) + 1


class Method(nn.Module):
    def forward(self, x):
        return x.relu()


class OwnMethod(nn.Module):
    def forward(self, x):
        return self.inner(x)

    def inner(self, x):
        return torch.relu(x)


class Passed(nn.Module):
    def forward(self, x):
        return functools.reduce(lambda y, f: f(y), [F.silu], x)


class Attribute(nn.Module):
    def __init__(self):
        super().__init__()
        self.function = F.elu

    def forward(self, x):
        return self.function(x)


class Built(nn.Module):
    def forward(self, x):
        return nn.ReLU()(x)


class LocalImport(nn.Module):
    def forward(self, x):
        from torch.nn import functional

        return functional.selu(x)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Helper, "return F.relu(x)"),
        (Base, "return F.gelu(x)"),
        (Extends, "return F.gelu(x)"),
        (Method, "return x.relu()"),
        (OwnMethod, "return torch.relu(x)"),
        (Passed, "[F.silu]"),
        (Attribute, "return self.function(x)"),
        (Built, "return nn.ReLU()(x)"),
        (LocalImport, "return functional.selu(x)"),
        (ByName, "return getattr(F, self.kind)(x)"),
        (ByTable, "return TABLE[self.kind](x)"),
        (ByUnknownKey, "return TABLE[kind](x)"),
        (ByUnboundMethod, "return torch.Tensor.relu(x)"),
        (AddsAndRectifies, "return self.sum.add_relu(x, x)"),
        (UsesAMethodOfAChild, "return torch.relu(x)"),
        (UsesTheStandardLibrary, "x.relu()"),
        (Untidy, "x = F.relu(x) if text else x"),
    ],
)
def test_an_activation_called_as_a_function_is_refused_with_its_place(kind, code):
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), kind(), kind())
    before = copy.deepcopy(network)
    with pytest.raises(ConfigurationError) as refusal:
        convert_activations(network, "pau")
    (line,) = str(refusal.value).splitlines()[1:]
    assert line.strip().startswith(f"2 ({kind.__name__}) and 1 more, {__file__}:")
    assert code in line
    assert str(network) == str(before)


def test_a_method_that_is_overridden_is_not_held_against_a_network():
    assert [r.name for r in convert_activations(Overrides(), "pau")] == ["act"]


def test_torchvisions_functional_calls_are_all_listed():
    with pytest.raises(ConfigurationError, match=r"densenet\.py:\d+: out = F\.relu\(features"):
        convert_activations(torchvision.models.densenet121(), "pau")
    with pytest.raises(ConfigurationError, match=r"conv1 \(BasicConv2d\) and 58 more"):
        convert_activations(torchvision.models.googlenet(init_weights=False), "pau")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
def test_a_scripted_network_is_refused():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    with pytest.raises(ConfigurationError, match="compiled to TorchScript"):
        convert_activations(nn.Sequential(scripted, nn.ReLU()), "pau")


def test_code_that_cannot_be_read_is_refused():
    names = {"nn": nn}
    exec("class Typed(nn.Module):\n    def forward(self, x):\n        return x\n", names)
    with pytest.raises(ConfigurationError, match="its source cannot be read"):
        convert_activations(nn.Sequential(names["Typed"](), nn.ReLU()), "pau")


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def refusal(network, **settings):
    with pytest.raises(ConfigurationError) as caught:
        convert_activations(nn.Sequential(nn.ReLU(), network), "pau", **settings)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_lambdas_within_a_call_are_read():
    wrapped = nn.Sequential(
        Lambda(lambda x: x + 1), Lambda(lambda x: F.relu(x)), Lambda(
            lambda x:
                F.gelu(x)),
    )  # fmt: skip
    lines = refusal(wrapped)
    assert any("F.relu(x)" in line for line in lines)
    assert any(line.endswith("F.gelu(x)),") for line in lines)


def test_every_module_of_a_class_is_looked_at():
    (line,) = refusal(nn.Sequential(Lambda(torch.tanh), Lambda(F.relu), Lambda(F.relu)))
    assert line.startswith("1.1 (Lambda) and 1 more, ")


def test_a_traced_network_is_read():
    traced = torch.fx.symbolic_trace(nn.Sequential(Base(), nn.Linear(3, 3)))
    (line,) = refusal(traced)
    assert "torch._C._nn.gelu" in line or "torch.nn.functional.gelu" in line


def test_what_torchs_own_modules_compute_themselves_is_seen():
    (line,) = refusal(nn.RNN(3, 3, nonlinearity="relu"))
    assert line == "1 (RNN): nonlinearity = relu"
    fused = torch.ao.nn.intrinsic.qat.ConvReLU2d(
        1, 1, 1, qconfig=torch.ao.quantization.get_default_qat_qconfig()
    )
    assert refusal(fused) == ["1 (ConvReLU2d): computes ReLU itself"]
    assert convert_activations(nn.Sequential(nn.ReLU(), nn.RNN(3, 3)), "pau")


def test_a_subclass_of_torchs_layer_holds_a_function_as_the_layer_does():
    class Layer(nn.TransformerEncoderLayer):
        def forward(self, *arguments):
            return super().forward(*arguments) + 1

    layer = Layer(8, 2, 16)
    layer.another = F.gelu
    (line,) = refusal(layer)
    assert line == "1 (Layer): another = gelu"


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated")
def test_a_scripted_function_is_looked_through():
    def rectify(x):
        return torch.relu(x)

    (line,) = refusal(Lambda(torch.jit.script(rectify)))
    assert "return self.function(x)" in line
    convert_activations(nn.Sequential(nn.ReLU(), Lambda(torch.jit.script(double))), "pau")


def double(x):
    return x * 2


def test_unreadable_code_is_said_with_file_and_line():
    names = {"nn": nn}
    exec("class Typed(nn.Module):\n    def forward(self, x):\n        return x\n", names)
    (line,) = refusal(names["Typed"]())
    assert line.startswith("1 (Typed): its source cannot be read (<string>:2: ")

    class Compiled(nn.Module):
        forward = np.tanh

    assert refusal(Compiled()) == ["1 (Compiled): its source cannot be read (forward is a ufunc)"]


def test_a_forward_that_is_an_activation_is_seen():
    class Rectifies(nn.Module):
        forward = torch.relu

    assert refusal(Rectifies()) == ["1 (Rectifies): forward = relu"]


def test_a_file_that_changed_since_it_was_imported_is_not_read_for_another(tmp_path):
    file = tmp_path / "changing.py"
    file.write_text("class Net(nn.Module):\n    def forward(self, x):\n        return x\n")
    names = {"nn": nn, "__name__": "changing"}
    exec(compile(file.read_text(), file, "exec"), names)
    file.write_text("\n\n" + file.read_text())
    linecache.checkcache()
    (line,) = refusal(names["Net"]())
    assert f"its source cannot be read ({file}:2: forward is not there any more)" in line
