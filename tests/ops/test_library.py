"""The operator among torch's own: compilation, double backward, checkpointing, transforms."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pade_bench import functional, ops
from pade_bench.ops import noise, reference
from pade_bench.ops.reference import FORMS

STATE = torch.tensor([0x1234_5678_9ABC_DEF0, (1 << 61) + 12])
NOISES = pytest.mark.parametrize("noisy", [False, True], ids=["pau", "rpau"])


def leaves(size=(3, 5, 7), dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
    a = torch.tensor([0.02, 0.5, 1.1, 0.9, 0.3, 0.03], dtype=dtype)
    b = torch.tensor([-0.2, 0.8, 0.05, 0.07], dtype=dtype)
    return tuple(t.requires_grad_() for t in (x, a, b))


def noise_arguments(noisy):
    return (STATE, 0.1) if noisy else (None, 0.0)


def named_gradients(y, inputs):
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype)
    names = ("x", "numerator", "denominator")
    return dict(zip(names, torch.autograd.grad(y, inputs, grad), strict=True))


class Network(nn.Module):
    def __init__(self, noisy=False):
        super().__init__()
        _, a, b = leaves(dtype=torch.float32)
        self.first, self.second = nn.Linear(7, 9), nn.Linear(9, 4)
        self.numerator, self.denominator = nn.Parameter(a.detach()), nn.Parameter(b.detach())
        self.noisy = noisy

    def forward(self, x):
        unit = functional.rpau if self.noisy else functional.pau
        return self.second(unit(self.first(x), self.numerator, self.denominator))


@NOISES
@pytest.mark.parametrize("needs", [(1, 1, 1), (1, 0, 0), (0, 1, 1), (0, 0, 0)])
def test_opcheck_accepts_the_forward_operator(needs, noisy):
    inputs = [t.detach().requires_grad_(bool(n)) for t, n in zip(leaves(), needs, strict=True)]
    arguments = (*inputs, "abs_of_sum", *noise_arguments(noisy))
    torch.library.opcheck(torch.ops.pade_bench.pau.default, arguments)


@NOISES
def test_opcheck_accepts_the_backward_operator(noisy):
    x, a, b = leaves()
    arguments = (torch.randn_like(x), x, a, b, "sum_of_abs", *noise_arguments(noisy))
    torch.library.opcheck(torch.ops.pade_bench.pau_backward.default, arguments)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_match_finite_differences_twice(form):
    x, a, b = leaves(6)
    assert torch.autograd.gradcheck(lambda *t: functional.pau(*t, form), (x, a, b))
    assert torch.autograd.gradgradcheck(lambda *t: functional.pau(*t, form), (x, a, b))


def test_noisy_gradients_match_finite_differences_twice():
    arguments = ("abs_of_sum", STATE, 0.1)
    assert torch.autograd.gradcheck(lambda *t: ops.pau(*t, *arguments), leaves(6))
    assert torch.autograd.gradgradcheck(lambda *t: ops.pau(*t, *arguments), leaves(6))


def test_third_derivative_matches_the_reference():
    def third(unit):
        x, a, b = leaves(6)
        y = unit(x, a, b).sum()
        for _ in range(3):
            (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return y

    torch.testing.assert_close(third(functional.pau), third(reference.pau))


@pytest.mark.slow
@NOISES
def test_compiles_without_a_graph_break(noisy):
    torch._dynamo.reset()
    network = Network(noisy)
    x = torch.randn(6, 7)
    torch.manual_seed(0)
    y = torch.compile(network, fullgraph=True)(x)
    if not noisy:
        torch.testing.assert_close(y, network(x))
    compiled = torch.autograd.grad(y.sum(), network.parameters())
    if not noisy:
        eager = torch.autograd.grad(network(x).sum(), network.parameters())
        torch.testing.assert_close(compiled, eager)
    assert all(gradient.isfinite().all() for gradient in compiled)


@NOISES
def test_only_the_input_is_kept_for_backward(noisy):
    x, a, b = leaves((64, 100))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        ops.pau(x, a, b, "abs_of_sum", *noise_arguments(noisy))
    sizes = sorted(t.untyped_storage().nbytes() for t in kept)
    assert sizes == sorted(
        t.untyped_storage().nbytes() for t in (x, a, b, *([STATE] if noisy else []))
    )
    assert x.data_ptr() in [t.data_ptr() for t in kept]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_output_keeps_the_type_of_the_input_beside_float32_coefficients(dtype):
    x, a, b = leaves(dtype=torch.float32)
    x = x.detach().to(dtype).requires_grad_()
    y = functional.pau(x, a, b)
    gradients = named_gradients(y, (x, a, b))
    assert y.dtype == gradients["x"].dtype == dtype
    assert gradients["numerator"].dtype == gradients["denominator"].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_leaves_the_type_alone(dtype):
    x, a, b = leaves(dtype=torch.float32)
    x = x.detach().to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        assert functional.pau(x, a, b).dtype == dtype
        arguments = (x, a, b, "abs_of_sum", None, 0.0)
        assert torch.ops.pade_bench.pau(*arguments).dtype == dtype
    if dtype == torch.bfloat16:
        assert torch.equal(functional.pau(x, a, b), torch.ops.pade_bench.pau(*arguments))


@NOISES
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(noisy, use_reentrant):
    network, x = Network(noisy), torch.randn(5, 7, requires_grad=True)

    def gradients(run):
        torch.manual_seed(3)
        return torch.autograd.grad(run().sum(), (x, *network.parameters()))

    def run_checkpointed():
        return checkpoint(network, x, use_reentrant=use_reentrant)

    if use_reentrant:  # supports backward() alone
        torch.manual_seed(3)
        run_checkpointed().sum().backward()
        actual = (x.grad, *(p.grad for p in network.parameters()))
    else:
        actual = gradients(run_checkpointed)
    torch.testing.assert_close(actual, gradients(lambda: network(x)), rtol=0, atol=0)


def test_selective_checkpointing_sees_the_operator():
    seen = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    with Watch():
        functional.pau(*leaves())
    assert "pade_bench.pau.default" in seen


@NOISES
def test_operator_and_direct_call_agree_bitwise(noisy):
    inputs = leaves()
    arguments = ("abs_of_sum", *noise_arguments(noisy))
    direct = ops.pau(*inputs, *arguments)
    operator = torch.ops.pade_bench.pau(*inputs, *arguments)
    assert torch.equal(direct, operator)
    expected, actual = named_gradients(direct, inputs), named_gradients(operator, inputs)
    for name in expected:
        assert torch.equal(actual[name], expected[name]), name


def test_vmap_matches_a_loop():
    x, a, b = (t.detach() for t in leaves())
    mapped = torch.vmap(lambda row: functional.pau(row, a, b))(x)
    torch.testing.assert_close(mapped, functional.pau(x, a, b))


def test_gradients_per_sample_match_a_loop():
    x, a, b = (t.detach() for t in leaves())

    def loss(numerator, row):
        return functional.pau(row, numerator, b).sum()

    mapped = torch.vmap(torch.func.grad(loss), (None, 0))(a, x)
    looped = torch.stack([torch.func.grad(loss)(a, row) for row in x])
    torch.testing.assert_close(mapped, looped)


def test_batched_backward_matches_a_loop():
    x, a, b = leaves(6)
    y = functional.pau(x, a, b)
    rows = torch.autograd.grad(y, a, torch.eye(6).double(), is_grads_batched=True)[0]
    for i, row in enumerate(rows):
        y = functional.pau(x, a, b)
        torch.testing.assert_close(row, torch.autograd.grad(y[i], a)[0])


def test_vmap_over_the_backward_pass_matches_a_loop():
    x, a, b = leaves(6)
    y = functional.pau(x, a, b)
    rows = torch.vmap(lambda grad: torch.autograd.grad(y, a, grad, retain_graph=True)[0])(
        torch.eye(6).double()
    )
    for i, row in enumerate(rows):
        wanted = torch.autograd.grad(y[i], a, retain_graph=True)[0]
        torch.testing.assert_close(row, wanted)


def test_forward_mode_matches_reverse_mode():
    x, a, b = leaves(6)
    tangent = torch.randn_like(x)
    _, forward = torch.func.jvp(lambda t: functional.pau(t, a, b), (x,), (tangent,))
    (slope,) = torch.autograd.grad(functional.pau(x, a, b).sum(), x)
    torch.testing.assert_close(forward, slope * tangent)


def test_noise_state_is_drawn_from_torchs_generator():
    torch.manual_seed(0)
    first, second = noise.noise_state(torch.device("cpu")), noise.noise_state(torch.device("cpu"))
    torch.manual_seed(0)
    assert torch.equal(first, noise.noise_state(torch.device("cpu")))
    assert not torch.equal(first, second)


def test_other_devices_use_the_reference():
    assert ops.backend("meta") == "reference"
    x, a, b = (t.detach().to("meta") for t in leaves())
    assert functional.pau(x, a, b).shape == x.shape
