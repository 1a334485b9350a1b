"""The CPU kernel against the reference: the output and every gradient, by name."""

import functools
import os

import pytest
import torch

from pade_bench.ops import FORMS, Unit, build, cpu, reference
from pade_bench.ops.unit import compute_dtype

try:
    build.compiler()
except build.BuildError as error:
    pytest.skip(str(error), allow_module_level=True)

# Against the same formulas in float64 on the same (rounded) inputs.
TOLERANCES = [  # dtype, atol, rtol
    (torch.float32, 1e-5, 2e-6),
    (torch.float64, 1e-14, 1e-13),
    (torch.bfloat16, 1e-5, 2**-8),
    (torch.float16, 1e-5, 2**-10),
]
DTYPES = [dtype for dtype, _, _ in TOLERANCES]
SIZES = [0, 1, 3, 255, 1023, 100_003]
STATE = torch.tensor([0x1234_5678_9ABC_DEF0, (1 << 61) + 12])
NOISES = pytest.mark.parametrize("noise", [(), (STATE, 0.1)], ids=["pau", "rpau"])


def coefficients(m=5, n=4, form="abs_of_sum", dtype=torch.float32):
    """Coefficients of both signs; for the unsafe form, without a pole on [-3, 3]."""
    a = torch.tensor([(-0.6) ** j + 0.1 for j in range(m + 1)], dtype=dtype)
    b = torch.tensor([0.3 if k % 2 else 0.1 for k in range(n)], dtype=dtype)
    if form != "unsafe":
        b[::3] *= -0.9
    return a, b


def inputs(size, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, grad = (torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(2))
    return x.clamp(-3, 3).to(dtype), grad.to(dtype)


def kernel(x, grad, a, b, form, *noise):
    y = cpu.forward(x, Unit(a, b, form, *noise))
    dx, da, db = cpu.backward(grad, x, Unit(a, b, form, *noise))
    return {"y": y, "dx": dx, "numerator": da, "denominator": db}


def expected(x, grad, a, b, form, *noise):
    """Return the reference in float64."""
    x, grad, a, b = (t.double() for t in (x, grad, a, b))
    y = reference.forward(x, Unit(a, b, form, *noise))
    dx, da, db = reference.backward(grad, x, Unit(a, b, form, *noise))
    return {"y": y, "dx": dx, "numerator": da, "denominator": db}


def assert_close(actual, wanted, atol, rtol):
    for name, value in actual.items():
        sums = name in ("numerator", "denominator")
        scale = wanted[name].norm().item() if sums else 1.0
        torch.testing.assert_close(
            value.double(),
            wanted[name],
            atol=max(2e-6, 10 * atol) * scale + 1e-30 if sums else atol,
            rtol=0 if sums else rtol,
            msg=lambda message, name=name: f"{name}: {message}",
        )


def same_bits(actual, wanted):
    return all(torch.equal(actual[name], wanted[name]) for name in wanted)


@NOISES
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "atol", "rtol"), TOLERANCES)
def test_output_and_gradients_match_the_reference(dtype, atol, rtol, form, noise):
    a, b = coefficients(form=form, dtype=compute_dtype(dtype))
    for size in SIZES:
        x, grad = inputs(size, dtype)
        arguments = (x, grad, a, b, form, *noise)
        assert_close(kernel(*arguments), expected(*arguments), atol, rtol)


@NOISES
@pytest.mark.parametrize(("m", "n", "form"), [(0, 1, "unsafe"), (10, 10, "sum_of_abs")])
def test_extreme_degrees_match_the_reference(m, n, form, noise):
    a, b = coefficients(m, n, form, torch.float64)
    x, grad = inputs(1023, torch.float64)
    arguments = (x, grad, a, b, form, *noise)
    assert_close(kernel(*arguments), expected(*arguments), 1e-11, 1e-11)


LAYOUTS = {
    "contiguous": lambda t: t,
    "channels_last": lambda t: t.to(memory_format=torch.channels_last),
    "permuted": lambda t: t.permute(2, 0, 3, 1).clone(memory_format=torch.preserve_format),
    "expanded": lambda t: t[:, :1].expand(-1, 4, -1, -1),
    "every second": lambda t: t[:, :, ::2],
    "unaligned slice": lambda t: t.flatten()[1:-1],
    "scalar": lambda t: t[0, 0, 0, 0],
}


@NOISES
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_as_the_reference(layout, noise):
    a, b = coefficients()
    x, grad = (LAYOUTS[layout](t.reshape(3, 4, 10, 13)) for t in inputs(3 * 4 * 10 * 13))
    arguments = (x, grad, a, b, "abs_of_sum", *noise)
    actual = kernel(*arguments)
    assert_close(actual, expected(*arguments), 2e-6, 2e-6)
    assert actual["y"].stride() == actual["dx"].stride() == torch.empty_like(x).stride()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "permuted"])
def test_dense_layouts_are_not_copied(layout, monkeypatch):
    a, b = coefficients()
    x, grad = (LAYOUTS[layout](t.reshape(3, 4, 10, 13)) for t in inputs(3 * 4 * 10 * 13))
    monkeypatch.setattr(torch.Tensor, "copy_", lambda *_: pytest.fail("a dense input was copied"))
    kernel(x, grad, a, b, "abs_of_sum")


def test_gradient_of_another_layout_than_the_input():
    a, b = coefficients()
    x, grad = (t.reshape(3, 4, 10, 13) for t in inputs(3 * 4 * 10 * 13))
    wanted = kernel(x, grad, a, b, "abs_of_sum")
    actual = kernel(x, LAYOUTS["channels_last"](grad), a, b, "abs_of_sum")
    assert same_bits(actual, wanted)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinities_stand_where_the_reference_has_them(dtype, form):
    a, b = coefficients(form=form, dtype=compute_dtype(dtype))
    special = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e4, -6e4, 1e-7]
    large = [1e10, -1e10, 1e30, -1e30, 1e38] if dtype != torch.float16 else []
    x, _ = inputs(64, dtype)
    x[20 : 20 + len(special + large)] = torch.tensor(special + large, dtype=torch.float64).to(dtype)
    y, wanted = cpu.forward(x, Unit(a, b, form)), reference.formula(x, Unit(a, b, form))
    torch.testing.assert_close(y, wanted, equal_nan=True, atol=2e-6, rtol=2**-7)
    # A sum over all elements would be NaN at once: the gradients of one element at a time.
    for element in x[20 : 20 + len(special + large)]:
        leaves = [t.clone().requires_grad_() for t in (element[None], a, b)]
        grad = torch.ones(1, dtype=dtype)
        found = cpu.backward(grad, element[None], Unit(a, b, form))
        y = reference.formula(leaves[0], Unit(*leaves[1:], form))
        autograd = torch.autograd.grad(y, leaves, grad)
        for name, value, reference_value in zip("xab", found, autograd, strict=True):
            torch.testing.assert_close(
                value,
                reference_value,
                equal_nan=True,
                atol=1e-5,
                rtol=2**-7,
                msg=lambda message, e=element, n=name: f"x = {e}, gradient of {n}: {message}",
            )


def test_unsafe_form_gives_infinity_at_a_pole():
    one = torch.ones(1)
    assert cpu.forward(-one, Unit(one, one, "unsafe")).item() == float("inf")
    assert cpu.forward(-one, Unit(0 * one, one, "unsafe")).isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_round_like_torch(dtype):
    # The unit 0 + 1 x over 1 + 0 x is the identity: every bit pattern must survive, NaN as NaN.
    bits = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16)
    x = bits.view(dtype)
    a, b = torch.tensor([0.0, 1.0]), torch.zeros(1)
    x = x[x.isfinite()]  # infinity times b1 = 0 is NaN
    assert torch.equal(cpu.forward(x, Unit(a, b)), x)
    # And 1/3 of them rounds to the nearest, ties to even, into the subnormals.
    third = torch.tensor([0.0, 1 / 3])
    rounded = (x.float() * third[1]).to(dtype)
    assert torch.equal(cpu.forward(x, Unit(third, b)), rounded)
    overflowing = torch.tensor([0.0, 3.0])
    rounded = (x.float() * 3).to(dtype)
    assert torch.equal(cpu.forward(x, Unit(overflowing, b)), rounded)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@NOISES
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_agree_bitwise_whatever_the_thread_count(dtype, noise, threads):
    a, b = coefficients(dtype=compute_dtype(dtype))
    run = functools.partial(kernel, *inputs(100_003, dtype), a, b, "abs_of_sum", *noise)
    threads(1)
    wanted = run()
    for count in (1, 2, 3, 7):
        threads(count)
        assert same_bits(run(), wanted), f"{count} threads"


def test_results_agree_bitwise_whatever_the_alignment():
    a, b = coefficients()
    x, grad = inputs(10_001)
    wanted = kernel(x, grad, a, b, "abs_of_sum")
    for shift in (1, 3, 5):
        memory = torch.empty(2, len(x) + shift)
        memory[0, shift:], memory[1, shift:] = x, grad
        assert same_bits(kernel(memory[0, shift:], memory[1, shift:], a, b, "abs_of_sum"), wanted)


def test_sums_of_many_elements_stay_accurate():
    # Float sums over a million elements of one sign would lose four digits.
    a, b = coefficients()
    x, grad = inputs(1_000_003)
    actual = kernel(x, grad.abs(), a, b, "abs_of_sum")
    wanted = expected(x, grad.abs(), a, b, "abs_of_sum")
    limits = {"y": 1e-6, "dx": 1e-6, "numerator": 1e-5, "denominator": 1e-5}
    for name, limit in limits.items():
        error = (actual[name].double() - wanted[name]).norm() / wanted[name].norm()
        assert error <= limit, f"{name}: {error:.1e}"


@pytest.mark.slow
def test_more_than_two_to_the_31_elements():
    size = (1 << 31) + 4099
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < 5 * size:
        pytest.skip("needs 11 GB of free memory")
    a, b = coefficients()
    x = torch.zeros(size, dtype=torch.bfloat16)
    ends, _ = inputs(8, torch.bfloat16)
    x[:4], x[-4:] = ends[:4], ends[4:]
    y = cpu.forward(x, Unit(a, b))
    torch.testing.assert_close(y[-4:], reference.formula(ends[4:], Unit(a, b)))
    assert (y[size // 2] - a[0]).abs() < 1e-2
    del y
    # Where the gradient, here x itself, is zero, nothing adds to the sums.
    actual = cpu.backward(x, x, Unit(a, b))
    wanted = cpu.backward(ends, ends, Unit(a, b))
    torch.testing.assert_close(actual[0][-4:], wanted[0][4:])
    torch.testing.assert_close(actual[1:], wanted[1:])
