"""torch.compile sees through a Padé unit: it fuses forward, and its gradients are the kernel's."""

import functools
import re
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor.utils import run_and_get_code

from pade_bench import PAU, RPAU, build_model
from pade_bench.ops import inductor, reference
from pade_bench.ops.unit import FORMS, Unit

OURS = re.compile(r"= torch\.ops\.pade_bench\.(\w+)\.default\(")
GENERATED = re.compile(r"^(\w*cpp_fused\w*) = ", re.MULTILINE)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)


class Block(nn.Module):
    """Batch norm, an activation, and a product and a sum after it."""

    def __init__(self, activation):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.activation = activation

    def forward(self, x):
        return self.activation(self.norm(x)) * x + 1.0


def image(*shape, **options):
    return torch.randn(*(shape or (2, 4, 8, 8)), **options)


def test_batch_norm_unit_product_and_sum_are_one_generated_kernel():
    torch.compile(lambda x: x.sin() + 1)(image())  # Inductor has been at work before
    block = torch.compile(Block(PAU()).eval(), fullgraph=True)
    with torch.no_grad():
        _, (code,) = run_and_get_code(block, image())
    assert len(GENERATED.findall(code)) == 1
    assert not OURS.findall(code)


def test_training_fuses_forward_and_calls_the_kernel_once_backward():
    counts = {}
    for activation in (nn.ReLU(), PAU()):
        block = torch.compile(Block(activation), fullgraph=True)

        def step(block=block):
            block(image()).square().sum().backward()

        _, (forward, backward) = run_and_get_code(step)
        assert not OURS.findall(forward)
        assert OURS.findall(backward) == ["pau_backward"] * isinstance(activation, PAU)
        counts[type(activation)] = len(GENERATED.findall(forward))
    assert counts[PAU] == counts[nn.ReLU]


def test_of_the_forward_pass_one_tensor_more_is_kept_than_of_relu():
    kept = {}
    for activation in (nn.ReLU(), PAU()):
        sizes = []

        def keep(tensor, sizes=sizes):
            if not isinstance(tensor, nn.Parameter):
                sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            torch.compile(Block(activation))(image(requires_grad=True))
        kept[type(activation)] = sum(sizes)
    coefficients = 10  # which are there anyway
    assert kept[PAU] <= kept[nn.ReLU] + image().numel() + coefficients


@pytest.mark.parametrize(
    ("form", "dtype"), list(zip(FORMS, (torch.float32, torch.bfloat16, torch.float64), strict=True))
)
def test_output_and_gradients_are_those_of_the_reference(form, dtype):
    unit = PAU(form=form)
    x = image(3, 5, dtype=dtype).requires_grad_()
    weight = image(3, 5, dtype=dtype)
    y = torch.compile(unit, fullgraph=True)(x)
    (y * weight).sum().backward()
    exact = Unit(unit.numerator.detach().double(), unit.denominator.detach().double(), form)
    expected = reference.formula(x.detach().double(), exact)
    dx, da, db = reference.gradients(weight.double(), x.detach().double(), exact)
    rtol = 2**-8 if dtype == torch.bfloat16 else 1e-5
    for name, found, wanted in (
        ("y", y, expected),
        ("dx", x.grad, dx),
        ("numerator", unit.numerator.grad, da),
        ("denominator", unit.denominator.grad, db),
    ):
        assert torch.allclose(found.double(), wanted, rtol=rtol, atol=1e-5), name


def test_sixteen_bit_inputs_are_computed_in_float32_and_rounded_once():
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16)
    x = every[every.abs() < 100]
    unit = PAU()
    y = torch.compile(unit)(x)
    expected = reference.formula(x.float(), Unit(unit.numerator, unit.denominator))
    # Generated code may contract products and sums, so an ulp in float32 may tip the rounding.
    different = y != expected.bfloat16()
    assert different.float().mean() < 1e-3
    assert torch.allclose(y.float(), expected, rtol=2**-8 + 1e-6)


def test_autocast_changes_nothing():
    unit = PAU()
    compiled = torch.compile(unit)
    x = image().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compiled(x), torch.compile(unit)(x))
        assert compiled(x).dtype == torch.bfloat16


def test_the_operator_is_called_by_another_name_when_its_formula_changes(monkeypatch):
    before = inductor.operator_name()
    monkeypatch.setattr(
        inductor.inspect, "getsource", lambda module: f"# changed: {module.__name__}"
    )
    changed = inductor.operator_name.__wrapped__()
    assert before != changed
    assert re.fullmatch(r"pau_[0-9a-f]{8}", changed)


def test_a_training_run_compiles_three_graphs_at_most():
    network = build_model("lenet", "pau")
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(network, backend=counter, fullgraph=True)
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    for _epoch in range(3):
        network.train()
        for batch in (6, 6, 4):  # the last one is smaller
            optimizer.zero_grad()
            compiled(image(batch, 1, 32, 32)).square().mean().backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            for batch in (6, 2):
                compiled(image(batch, 1, 32, 32))
        optimizer.param_groups[0]["lr"] *= 0.5
    # Training, the same for batches of any size, and evaluation.
    assert counter.frame_count <= 3


@functools.cache
def compiled_rpau():
    return torch.compile(RPAU(noise=0.5), fullgraph=True)


def test_the_noise_of_rpau_is_that_of_its_seed_and_new_in_every_step():
    unit, x = compiled_rpau(), image(64)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append([unit(x) for _ in range(3)])
    assert all(torch.equal(a, b) for a, b in zip(draws[0], draws[1], strict=True))
    assert not torch.equal(draws[0][0], draws[0][1])
    assert not torch.equal(draws[0][0], draws[2][0])


def test_rpau_is_not_compiled_again_for_every_step():
    counter = CompileCounterWithBackend("aot_eager")
    unit = torch.compile(RPAU(noise=0.5), backend=counter, fullgraph=True)
    for _ in range(4):
        unit(image(64))
    assert counter.frame_count == 1


def test_rpau_and_pau_go_together_in_one_graph():
    network = nn.Sequential(PAU(), RPAU(noise=0.1))
    x = image(3, 4)
    y = torch.compile(network, fullgraph=True)(x)
    assert torch.allclose(y, network.eval()(x), atol=0.5)
    assert torch.allclose(torch.compile(network)(x), network(x), atol=1e-6)


def test_a_network_that_is_not_compiled_loads_neither_dynamo_nor_inductor():
    code = (
        "import sys, torch, pade_bench; pade_bench.PAU()(torch.ones(3)).sum().backward();"
        "print([name for name in ('torch._dynamo', 'torch._inductor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
