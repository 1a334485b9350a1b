"""The operator among torch's own: compilation, double backward, checkpointing, transforms."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pade_bench import PAU, RPAU, functional, ops
from pade_bench.ops import FORMS, Unit, noise, reference

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
    def noisy(x, a, b):
        return ops.apply(x, Unit(a, b, "abs_of_sum", STATE, 0.1))

    assert torch.autograd.gradcheck(noisy, leaves(6))
    assert torch.autograd.gradgradcheck(noisy, leaves(6))


def test_gradients_of_gradients_pass_through_several_units():
    first, second, x = PAU().double(), PAU(init="gelu").double(), leaves(6)[0]
    parameters = (*first.parameters(), *second.parameters())

    def chain(x, *coefficients):
        return functional.pau(functional.pau(x, *coefficients[:2]).sin(), *coefficients[2:])

    assert torch.autograd.gradgradcheck(chain, (x, *parameters))
    y = second(first(x).sin()).sum()
    (slope,) = torch.autograd.grad(y, x, create_graph=True)
    slope.square().sum().backward()  # a gradient penalty


def test_third_derivative_matches_the_reference():
    def third(unit):
        x, a, b = leaves(6)
        y = unit(x, a, b).sum()
        for _ in range(3):
            (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return y

    wanted = third(lambda x, a, b: reference.formula(x, Unit(a, b)))
    torch.testing.assert_close(third(functional.pau), wanted)


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
        ops.apply(x, Unit(a, b, "abs_of_sum", *noise_arguments(noisy)))
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
    direct = ops.apply(inputs[0], Unit(*inputs[1:], *arguments))
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


def negated_view(x):
    """Return -x as a view that only a bit marks as negated, as ``z.conj().imag`` is."""
    return torch._neg_view(x)


@pytest.mark.parametrize("size", [(), (1,), (7,), (3, 4)])
def test_negated_views_are_read_as_what_they_say(size):
    x, a, b = leaves(size)
    grad = torch.ones(size, dtype=torch.float64)
    y = functional.pau(negated_view(x), a, b)
    torch.testing.assert_close(y, reference.formula(-x, Unit(a, b)))
    actual = torch.autograd.grad(y, (x, a, b), negated_view(-grad))
    wanted = torch.autograd.grad(reference.formula(-x, Unit(a, b)), (x, a, b), grad)
    torch.testing.assert_close(actual, wanted)
    y = functional.pau(x, negated_view(-a), negated_view(-b))
    torch.testing.assert_close(y, reference.formula(x, Unit(a, b)))


def test_the_imaginary_part_of_a_conjugate_is_negative():
    z = torch.tensor(1.5 + 2j)
    unit = PAU()
    torch.testing.assert_close(unit(z.conj().imag), unit(torch.tensor(-2.0)))


def test_tensors_without_memory_are_zero():
    x = torch._efficientzerotensor(3)
    torch.testing.assert_close(PAU()(x), PAU()(torch.zeros(3)))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
def test_nested_tensors_are_mapped_element_by_element(layout):
    unit = PAU()
    rows = [torch.randn(2, 3), torch.randn(4, 3)]
    x = torch.nested.nested_tensor(rows, layout=layout)
    for row, y in zip(rows, unit(x).unbind(), strict=True):
        torch.testing.assert_close(y, unit(row))


def test_nested_tensors_have_gradients():
    unit = PAU()
    rows = [torch.randn(2, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)]
    x = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    inputs = (*rows, unit.numerator, unit.denominator)
    actual = torch.autograd.grad(unit(x).values().sum(), inputs)
    wanted = torch.autograd.grad(sum(unit(row).sum() for row in rows), inputs)
    torch.testing.assert_close(actual, wanted)


def test_noise_on_nested_tensors_is_refused():
    x = torch.nested.nested_tensor([torch.randn(2), torch.randn(3)], layout=torch.jagged)
    with pytest.raises(TypeError, match=r"nested tensor.*apply the unit to x\.values\(\)"):
        RPAU()(x)
    assert RPAU().eval()(x).is_nested


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("convert", [torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr])
def test_of_a_sparse_tensor_every_element_counts(convert):
    unit, x = PAU(), torch.tensor([[0.0, 1.0], [-2.0, 0.0]])
    torch.testing.assert_close(unit(convert(x)), unit(x))


def test_a_subclass_without_rules_of_its_own_stays_what_it_is():
    class Marked(torch.Tensor):
        pass

    x = torch.randn(5).as_subclass(Marked)
    y = PAU()(x)
    assert type(y) is Marked
    torch.testing.assert_close(y.as_subclass(torch.Tensor), PAU()(x.as_subclass(torch.Tensor)))


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors is in prototype")
def test_a_subclass_that_does_not_know_the_operator_gets_the_formula():
    x = torch.randn(5)
    y = PAU()(torch.masked.masked_tensor(x, x > 0))
    torch.testing.assert_close(y.get_data()[x > 0], PAU()(x)[x > 0])


def test_other_devices_use_the_reference():
    assert ops.backend("meta") == "reference"
    x, a, b = (t.detach().to("meta") for t in leaves())
    assert functional.pau(x, a, b).shape == x.shape
