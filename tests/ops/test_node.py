"""The autograd node in C++: the same results as in Python, and what it leaves to Python."""

from __future__ import annotations

import shutil
import sys
import threading
import warnings

import pytest
import torch
from emulator import FORWARD, EmulatedCuda, EmulatedKernel

from pade_bench import PAU, RPAU, functional, ops
from pade_bench.ops import FORMS, Unit, backends, build, cuda, node, reference

try:
    build.compiler()
except build.BuildError as error:
    pytest.skip(str(error), allow_module_level=True)

STATE = torch.tensor([0x1234_5678_9ABC_DEF0, (1 << 61) + 12])
NOISES = pytest.mark.parametrize("noise", [(), (STATE, 0.1)], ids=["pau", "rpau"])
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.fixture(autouse=True)
def cpu_kernels():
    """Load the node and the kernels of the usual units."""
    for noise in ((), (STATE, 0.1)):
        ops.apply(torch.ones(1), Unit(torch.ones(6), torch.ones(4), "abs_of_sum", *noise))
    assert node.direct is not None


def unit(form="abs_of_sum", dtype=torch.float32, noise=()):
    a = torch.tensor([0.02, 0.5, 1.1, 0.9, 0.3, 0.03], dtype=dtype)
    b = torch.tensor([0.2, 0.8, 0.05, 0.07], dtype=dtype)
    return Unit(a.requires_grad_(), b.requires_grad_(), form, *noise)


def inputs(dtype, layout):
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn((2, 3, 5, 7), generator=generator).to(dtype) for _ in range(2))
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    if layout == "with gaps":
        x, grad = x[..., ::2], grad[..., ::2].transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "no dimension":
        x, grad = x[0, 0, 0, 0], grad[0, 0, 0, 0]
    if layout == "empty":
        x, grad = x[:0], grad[:0]
    return x.requires_grad_(), grad


def results(x, grad, u):
    y = ops.apply(x, u)
    return y, *torch.autograd.grad(y, (x, u.numerator, u.denominator), grad)


def assert_the_same(x, grad, u, monkeypatch):
    actual = results(x, grad, u)
    assert "PauNode" in ops.apply(x, u).grad_fn.name()
    with monkeypatch.context() as patch:
        patch.setattr(node, "direct", None)
        wanted = results(x, grad, u)
    for name, a, w in zip(("y", "dx", "numerator", "denominator"), actual, wanted, strict=True):
        assert torch.equal(a, w), name
        assert (a.stride(), a.dtype) == (w.stride(), w.dtype), name


@NOISES
@pytest.mark.parametrize(
    "layout", ["contiguous", "channels_last", "with gaps", "no dimension", "empty"]
)
def test_every_layout_gives_the_same_as_in_python(layout, noise, monkeypatch):
    assert_the_same(*inputs(torch.float32, layout), unit(noise=noise), monkeypatch)


@NOISES
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_gives_the_same_as_in_python(dtype, noise, monkeypatch):
    for of_coefficients in DTYPES:
        u = unit(dtype=of_coefficients, noise=noise)
        ops.apply(torch.ones(1, dtype=dtype), u)  # loads the kernels
        assert_the_same(*inputs(dtype, "contiguous"), u, monkeypatch)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_as_in_python(form, monkeypatch):
    ops.apply(torch.ones(1), unit(form))
    assert_the_same(*inputs(torch.float32, "contiguous"), unit(form), monkeypatch)


def test_coefficients_with_gaps_are_read_as_they_are(monkeypatch):
    u = unit()
    a = torch.stack([u.numerator, u.numerator], 1).detach()[:, 0].requires_grad_()
    assert_the_same(*inputs(torch.float32, "contiguous"), u._replace(numerator=a), monkeypatch)


def test_where_nothing_needs_a_gradient_there_is_no_node():
    x, u = torch.ones(3), unit()
    with torch.no_grad():
        assert ops.apply(x, u).grad_fn is None
    with torch.inference_mode():
        assert ops.apply(x, u).is_inference()
    frozen = Unit(u.numerator.detach(), u.denominator.detach())
    assert ops.apply(x, frozen).grad_fn is None
    assert ops.apply(x.requires_grad_(), frozen).grad_fn is not None


def test_only_the_gradients_that_are_asked_for_are_returned():
    x, u = torch.ones(3), unit()
    ops.apply(x, u).sum().backward()
    assert x.grad is None
    assert u.numerator.grad is not None


def test_a_second_backward_pass_and_a_changed_input_are_refused_as_by_torchs_own():
    x = torch.ones(3, requires_grad=True)
    y = ops.apply(x, unit())
    y.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.sum().backward()
    z = x * 1
    y = ops.apply(z, unit())
    z.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_hooks_see_the_gradients():
    x, u, seen = torch.ones(3, requires_grad=True), unit(), []
    y = ops.apply(x, u)
    y.register_hook(lambda grad: seen.append("y") or 2 * grad)
    y.grad_fn.register_hook(lambda *_: seen.append("node"))
    x.register_hook(lambda grad: seen.append("x"))
    y.sum().backward()
    assert seen == ["y", "node", "x"]
    (wanted,) = torch.autograd.grad(2 * ops.apply(x, u).sum(), x)
    torch.testing.assert_close(x.grad, wanted)


def test_threads_may_call_at_once():
    x, grad = inputs(torch.float32, "contiguous")
    u, found = unit(), []
    wanted = results(x, grad, u)

    def work():
        for _ in range(50):
            found.append(results(x, grad, u))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    assert all(torch.equal(a, w) for result in found for a, w in zip(result, wanted, strict=True))


@pytest.mark.slow
def test_compiled_autograd_takes_the_node():
    x, grad = inputs(torch.float32, "contiguous")
    u = unit()
    wanted = results(x, grad, u)
    y = ops.apply(x, u)
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
        y.backward(grad)
    found = (x.grad, u.numerator.grad, u.denominator.grad)
    torch.testing.assert_close(found, wanted[1:])


@pytest.mark.parametrize("made", [PAU(), RPAU().eval()], ids=["pau", "rpau"])
def test_from_the_module_to_the_kernel_there_are_at_most_six_calls_in_python(made):
    x, calls = torch.ones(3, requires_grad=True), []
    made(x)

    def count(frame, event, argument):
        if event == "call":
            calls.append(frame.f_code.co_name)

    sys.setprofile(count)
    try:
        PAU.forward(made, x)
    finally:
        sys.setprofile(None)
    assert len(calls) <= 6, calls


def test_a_node_that_cannot_be_compiled_is_named_once_and_not_missed(monkeypatch):
    node._is_loaded.cache_clear()
    monkeypatch.setattr(node, "direct", None)

    def fail(*_):
        raise build.BuildError("no header")

    monkeypatch.setattr(node, "load_library", fail)
    x, u = torch.linspace(-2, 2, 5, requires_grad=True), unit()
    try:
        with pytest.warns(RuntimeWarning, match=r"go through Python.*no header") as caught:
            y = functional.pau(x, u.numerator, u.denominator)
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y = functional.pau(x, u.numerator, u.denominator)
            gradients = torch.autograd.grad(y.sum(), x)
        wanted = reference.formula(x, u)
        torch.testing.assert_close(y, wanted)
        torch.testing.assert_close(gradients, torch.autograd.grad(wanted.sum(), x))
    finally:
        node._is_loaded.cache_clear()


# ---- On a GPU, of which the emulator stands for the kernels and the driver ----------------------


@pytest.fixture
def gpu(monkeypatch):
    """Send CPU tensors to the CUDA kernels, in C++ and in Python."""
    if not shutil.which("g++"):
        pytest.skip("the emulator needs g++")
    runtime = EmulatedCuda(FORWARD)
    monkeypatch.setattr(cuda, "runtime", lambda: runtime)
    monkeypatch.setitem(backends._KERNELS, "cpu", cuda)
    forget()
    yield runtime
    forget()


def forget():
    torch.ops.pade_bench.forget_kernels()
    node._add.cache_clear()


@NOISES
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "with gaps", "empty"])
def test_launches_give_the_same_as_those_of_python(gpu, layout, noise, monkeypatch):
    u = unit(noise=noise)
    ops.apply(torch.ones(1), u)
    assert_the_same(*inputs(torch.float32, layout), u, monkeypatch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_grids_and_arguments_are_those_of_python(gpu, dtype, monkeypatch):
    u = unit()
    ops.apply(torch.ones(1, dtype=dtype), u)
    launches = []

    def note(kernel, blocks, threads, pointers, count):
        launches.append((kernel.name, blocks, threads, count))

    monkeypatch.setattr(EmulatedKernel, "run", note)
    for size in (1, 4097, 100_003, 1 << 20, (1 << 24) + 1):
        x = torch.empty(size, dtype=dtype, requires_grad=True)
        results(x, x.detach(), u)
        in_cpp, launches[:] = list(launches), []
        with monkeypatch.context() as patch:
            patch.setattr(node, "direct", None)
            results(x, x.detach(), u)
        assert launches == in_cpp
        assert [name for name, *_ in in_cpp] == ["pau_forward", "pau_backward", "pau_sum_partials"]
        launches.clear()


def test_a_launch_that_fails_is_an_error_with_the_drivers_reason(gpu, monkeypatch):
    u = unit()
    ops.apply(torch.ones(1), u)
    monkeypatch.setattr(EmulatedKernel, "run", lambda *_: "out of luck")
    with pytest.raises(RuntimeError, match=r"cannot be launched on cpu: out of luck \(CUDA error"):
        ops.apply(torch.ones(1), u)


def test_a_thread_without_a_context_gets_the_kernels_own(gpu, monkeypatch):
    u = unit()
    ops.apply(torch.ones(1), u)
    driver = gpu.emulated_driver
    y = ops.apply(torch.ones(1), u)
    assert not driver.bound
    driver.is_bound = False
    assert torch.equal(ops.apply(torch.ones(1), u), y)
    assert driver.bound == [driver.context]
