"""The CUDA kernels, run on the CPU by the emulator and driven by the launcher that drives CuPy."""

from __future__ import annotations

import shutil
from unittest import mock

import pytest
import torch
from emulator import BFLOAT16, DTYPES, FORWARD, RANDOM, REVERSE, EmulatedCuda

from pade_bench.ops import FORMS, Unit, cuda
from pade_bench.ops.reference import formula
from pade_bench.ops.unit import compute_dtype

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="the emulator needs g++")

SCHEDULES = [FORWARD, REVERSE, RANDOM]
SIZES = [1, 3, 255, 1023]

# Relative to the largest value, the error of computing; y and dx are then rounded to their type.
COMPUTING = {torch.float32: 2e-6, torch.float64: 1e-14}
ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
NOISE = (torch.tensor([0x1234_5678_9ABC_DEF0, (1 << 61) + 12]), 0.1)
EMPTY_LIKE = torch.empty_like
MARGIN = 17  # elements before and after each output; odd, so that outputs are unaligned


def coefficients(form, m, n, dtype):
    """Coefficients of both signs; for the unsafe form, without a pole on [-3, 3]."""
    a = torch.tensor([(-0.6) ** j + 0.1 for j in range(m + 1)], dtype=dtype)
    b = torch.tensor([0.3 if k % 2 else 0.1 for k in range(n)], dtype=dtype)
    if form != "unsafe":
        b[::3] *= -0.9
    return a, b


def inputs(size, dtype, slices=False):
    """x on [-3, 3] with a zero, and a gradient; as slices, both begin 1 element off alignment."""
    generator = torch.Generator().manual_seed(size)
    x, grad = (torch.randn(size + 2, generator=generator, dtype=torch.float64) for _ in range(2))
    for tensor in (x, grad):
        tensor[[0, -1]] = float("nan")  # outside of the slices: seen if a kernel reads it
    x[1] = 0
    x, grad = x.clamp(-3, 3).to(dtype), grad.to(dtype)
    return (x[1:-1], grad[1:-1]) if slices else (x[1:-1].clone(), grad[1:-1].clone())


class Device:
    """The launcher on an emulated GPU, with every output in guarded memory that starts as NaN."""

    def __init__(self, monkeypatch, margin=MARGIN, **options):
        self.runtime, self.margin, self.allocations = EmulatedCuda(**options), margin, []
        monkeypatch.setattr(cuda, "runtime", lambda: self.runtime)

    def _empty_like(self, like):
        margin, size = self.margin, like.numel()
        memory = torch.full((size + 2 * margin,), float("nan"), dtype=like.dtype)
        self.allocations.append((memory, size))
        return memory.as_strided(like.shape, EMPTY_LIKE(like).stride(), margin)

    def run(self, x, grad, a, b, form, *noise):
        """Return y, dx, da and db by name."""
        self.allocations.clear()
        with mock.patch.object(torch, "empty_like", self._empty_like):
            y = cuda.forward(x, Unit(a, b, form, *noise))
            dx, da, db = cuda.backward(grad, x, Unit(a, b, form, *noise))
        for memory, size in self.allocations:
            outside = torch.cat([memory[: self.margin], memory[self.margin + size :]])
            assert outside.isnan().all(), "a kernel wrote outside of its output"
        return {"y": y, "dx": dx, "numerator": da, "denominator": db}


def expected(x, grad, a, b, form, *noise):
    x, a, b = (t.double().detach().requires_grad_() for t in (x, a, b))
    y = formula(x, Unit(a, b, form, *noise))
    dx, da, db = torch.autograd.grad(y, (x, a, b), grad.double())
    return {"y": y.detach(), "dx": dx, "numerator": da, "denominator": db}


def assert_agree(actual, wanted, dtype):
    computing = COMPUTING[compute_dtype(dtype)]
    for name, reference in wanted.items():
        rounding = ROUNDING.get(dtype, 0.0) if name in ("y", "dx") else 0.0
        torch.testing.assert_close(
            actual[name].double(),
            reference,
            rtol=rounding + computing,
            atol=computing * reference.abs().max().item(),
            msg=lambda text, name=name: f"{name}: {text}",
        )


def check(device, form, dtype, size, m=5, n=4, slices=False, noise=()):
    a, b = coefficients(form, m, n, compute_dtype(dtype))
    x, grad = inputs(size, dtype, slices)
    result = device.run(x, grad, a, b, form, *noise)
    assert_agree(result, expected(x, grad, a, b, form, *noise), dtype)


@pytest.mark.parametrize("slices", [False, True], ids=["aligned", "slices"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_value_and_gradients_match_reference(monkeypatch, dtype, size, slices):
    check(Device(monkeypatch), "abs_of_sum", dtype, size, slices=slices)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_matches_reference_under_every_schedule(monkeypatch, form):
    for schedule in SCHEDULES:
        check(Device(monkeypatch, schedule=schedule), form, torch.float32, 5003)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 6), (10, 10)])
def test_other_degrees_match_reference(monkeypatch, m, n):
    check(Device(monkeypatch), "sum_of_abs", torch.float64, 1023, m=m, n=n)


def test_many_blocks_match_reference(monkeypatch):
    check(Device(monkeypatch), "abs_of_sum", torch.float32, 100_003)


def test_threads_that_take_several_packets_match_reference(monkeypatch):
    monkeypatch.setattr(cuda, "BACKWARD_GRID", cuda.Grid(2, 16))
    check(Device(monkeypatch), "abs_of_sum", torch.float32, 30_001)


def test_empty_input_has_empty_gradient_and_zero_sums(monkeypatch):
    a, b = coefficients("abs_of_sum", 5, 4, torch.float32)
    x = torch.empty(0, 3)
    result = Device(monkeypatch).run(x, x, a, b, "abs_of_sum")
    assert result["y"].shape == result["dx"].shape == (0, 3)
    assert torch.equal(result["numerator"], torch.zeros(6))
    assert torch.equal(result["denominator"], torch.zeros(4))


def test_results_are_bitwise_equal_whatever_the_schedule_and_the_alignment(monkeypatch):
    a, b = coefficients("abs_of_sum", 5, 4, torch.float32)
    results = []
    for schedule in SCHEDULES:
        for slices, margin in ((False, 16), (True, 17)):
            device = Device(monkeypatch, margin, schedule=schedule)
            x, grad = inputs(5003, torch.float32, slices)
            results.append(device.run(x, grad, a, b, "abs_of_sum"))
    for other in results[1:]:
        assert all(torch.equal(other[name], first) for name, first in results[0].items())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, BFLOAT16], ids=str)
def test_extreme_inputs_give_what_the_reference_gives(monkeypatch, dtype, form):
    a, b = coefficients(form, 5, 4, compute_dtype(dtype))
    big = [1e4, 1e7, 1e9, 1e30, 3e38, float("inf")]
    x = torch.tensor([*big, *(-v for v in big), float("nan"), 0.0, 1e-40, 1.0], dtype=dtype)
    result = Device(monkeypatch).run(x, torch.ones_like(x), a, b, form)
    wanted = formula(x, Unit(a, b, form))
    torch.testing.assert_close(result["y"], wanted, rtol=1e-6, atol=0.0, equal_nan=True)
    undefined = result["y"].isnan()
    assert undefined.any()
    assert result["dx"][undefined].isnan().all()
    assert result["dx"][-3:].isfinite().all()
    assert result["numerator"].isnan().all()


def test_layout_is_kept_and_other_layouts_are_read_correctly(monkeypatch):
    form = "abs_of_sum"
    a, b = coefficients(form, 5, 4, torch.float32)
    x, grad = (t[:720].view(2, 6, 5, 12) for t in inputs(721, torch.float32))
    cases = {
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "permuted": x.permute(3, 0, 2, 1),
        "strided": x[:, ::2, :, 3:],
        "expanded": x[:, :1].expand(2, 6, 5, 12),
    }
    for name, case in cases.items():
        g = grad.flatten()[: case.numel()].view(case.shape)  # contiguous, unlike most cases
        for noise in ((), NOISE):
            result = Device(monkeypatch).run(case, g, a, b, form, *noise)
            assert_agree(result, expected(case, g, a, b, form, *noise), torch.float32)
        if name in ("channels_last", "permuted"):
            assert result["y"].stride() == result["dx"].stride() == case.stride()


@pytest.mark.parametrize(
    ("form", "dtype", "m", "n"),
    [
        *((form, torch.float64, 5, 4) for form in FORMS),
        (FORMS[0], torch.float32, 5, 4),
        pytest.param(FORMS[1], torch.bfloat16, 5, 4, marks=BFLOAT16.marks),
        (FORMS[0], torch.float64, 10, 10),
    ],
)
def test_rpau_draws_the_noise_of_the_reference(monkeypatch, form, dtype, m, n):
    for slices in (False, True):
        check(Device(monkeypatch), form, dtype, 1023, m, n, slices, NOISE)


def test_rpau_without_noise_is_pau(monkeypatch):
    a, b = coefficients("abs_of_sum", 5, 4, torch.float64)
    x, grad = inputs(1023, torch.float64)
    device = Device(monkeypatch)
    silent = device.run(x, grad, a, b, "abs_of_sum", NOISE[0], 0.0)
    plain = device.run(x, grad, a, b, "abs_of_sum")
    assert torch.equal(silent["y"], plain["y"])
    assert_agree(silent, plain, torch.float64)
