"""The launcher: what it compiles, how it launches, and what it says where there is no GPU."""

from __future__ import annotations

import builtins
import contextlib
import threading

import pytest
import torch

from pade_bench.ops import Unit, cuda, cuda_runtime


class Recorder:
    """A runtime whose kernels do nothing but note how they were launched."""

    driver = None

    def __init__(self):
        self.compiled, self.launches = [], []

    @contextlib.contextmanager
    def stream(self, device):
        yield "the stream"

    def RawModule(self, *, code, options):  # noqa: N802
        self.compiled.append(options)
        return self

    def get_function(self, name):
        def launch(grid, block, arguments, *, stream):
            self.launches.append((name, grid, block, arguments, stream))

        return launch


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(cuda, "runtime", lambda: recorder)
    return recorder


def call(x, form="abs_of_sum", a=None, b=None, noise=()):
    a = torch.ones(6) if a is None else a
    b = torch.ones(4) if b is None else b
    unit = Unit(a, b, form, *noise)
    cuda.forward(x, unit)
    return cuda.backward(x, x, unit)


def test_missing_cupy_is_named_as_the_reason(monkeypatch):
    real_import = builtins.__import__

    def without_cupy(name, *arguments, **options):
        if name == "cupy":
            raise ImportError("No module named 'cupy'")
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_cupy)
    cuda.runtime.cache_clear()
    with pytest.raises(cuda.CudaKernelError, match="CuPy cannot be used: No module named"):
        call(torch.ones(3))


def test_failed_compilation_is_an_error_with_its_reason(recorder, monkeypatch):
    def fail(**_):
        raise OSError("no space left for the kernel cache")

    monkeypatch.setattr(recorder, "RawModule", fail)
    with pytest.raises(cuda.CudaKernelError, match="cannot build the Padé kernels: no space left"):
        call(torch.ones(3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a GPU")
def test_cupy_without_a_driver_is_an_error_with_its_reason():
    pytest.importorskip("cupy")
    with pytest.raises(cuda.CudaKernelError, match=r"cannot be used: cudaError\w+: .*driver"):
        cuda.runtime()


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a GPU")
def test_cupy_takes_the_arguments_and_the_stream_and_stops_only_at_the_driver(recorder):
    cupy = pytest.importorskip("cupy")

    call(torch.ones(5))
    kernel = cupy.cuda.function.Function.__new__(cupy.cuda.function.Function)
    stream = cuda_runtime._Stream(0)
    for _, grid, block, arguments, _ in recorder.launches:
        with pytest.raises(
            cupy.cuda.runtime.CUDARuntimeError, match=r"InsufficientDriver|NoDevice"
        ):
            kernel(grid, block, arguments, stream=stream)


class Devices:
    """Two GPUs as the launcher sees them through torch and CuPy."""

    def __init__(self, monkeypatch):
        self.current, self.switches, self.bound = 0, 0, []
        monkeypatch.setattr(torch._C, "_cuda_getDevice", lambda: self.current)
        monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda index: 0x100 + index)
        monkeypatch.setattr(torch.cuda, "device", self.switch)
        self.runtime = cuda_runtime.CuPyRuntime.__new__(cuda_runtime.CuPyRuntime)
        self.runtime._device = lambda index: contextlib.nullcontext()
        self.runtime._set_device = self.bound.append
        self.runtime._streams, self.runtime._thread = {}, threading.local()

    @contextlib.contextmanager
    def switch(self, device):
        before, self.current, self.switches = self.current, device.index, self.switches + 1
        yield
        self.current = before

    def use(self, index):
        with self.runtime.stream(torch.device("cuda", index)) as stream:
            assert self.current == index
            assert stream.ptr == 0x100 + index


def test_the_device_is_switched_only_where_another_is_current(monkeypatch):
    devices = Devices(monkeypatch)
    for index in (0, 0, 1, 0):  # the first use of a thread gives it a context
        devices.use(index)
        assert devices.current == 0
    assert devices.bound == [0, 1]
    assert devices.switches == 2


def test_every_thread_gets_a_context(monkeypatch):
    devices = Devices(monkeypatch)
    devices.use(0)
    thread = threading.Thread(target=devices.use, args=(0,))
    thread.start()
    thread.join()
    assert devices.bound == [0, 0]


def test_a_gpu_too_old_for_torch_is_named_with_what_torch_needs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_100", "compute_120"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 0))
    with pytest.raises(
        RuntimeError,
        match=r"Tesla P100 \(cuda:0\) has compute capability 6\.0, .* needs 7\.5: inst",
    ):
        cuda._require_supported(torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    cuda._require_supported(torch.device("cuda", 0))


def test_kernels_are_compiled_once_for_a_type_degrees_form_and_noise(recorder):
    x = torch.ones(5)
    for _ in range(2):
        call(x)
        call(x.double())
        call(x, form="unsafe")
        call(x, b=torch.ones(2))
        call(x, noise=(torch.tensor([1, 2]), 0.1))
    assert len(recorder.compiled) == len(set(recorder.compiled)) == 5
    assert "-DPAU_NOISY=1" in recorder.compiled[-1]


def test_launches_are_on_the_stream_with_arguments_of_the_kernels_own_types(recorder):
    call(torch.ones(1000), noise=(torch.tensor([1, 2]), 0.1))
    assert [name for name, *_ in recorder.launches] == [
        "pau_forward",
        "pau_backward",
        "pau_sum_partials",
    ]
    for _, grid, block, arguments, stream in recorder.launches:
        assert block == (cuda.THREADS,)
        assert all(isinstance(blocks, int) and blocks > 0 for blocks in grid)
        assert stream == "the stream"
        assert {type(a) for a in arguments} <= {int, float}  # CuPy's int64 and double


@pytest.mark.parametrize("dtype", cuda.STORAGE, ids=str)
@pytest.mark.parametrize("size", [1, 4097, 100_003, 2**24, 2**31 + 5])
def test_grid_covers_every_element_and_follows_from_the_size_alone(
    recorder, monkeypatch, dtype, size
):
    monkeypatch.setattr(torch, "empty_like", lambda x: x)
    x = torch.empty(1, dtype=dtype).expand(size)  # no memory is touched
    call(x)
    width = 16 // x.element_size()
    (_, (forward,), *_), (_, (backward,), _, arguments, _), (_, (sums,), *_) = recorder.launches
    packets = -(-size // width)
    for blocks, grid in ((forward, cuda.FORWARD_GRID), (backward, cuda.BACKWARD_GRID)):
        assert -(-packets // (blocks * cuda.THREADS)) <= grid.most_packets
        assert min(-(-packets // cuda.THREADS), grid.full // 2) <= blocks < 2**31
    assert arguments[3] == size
    assert sums == 10


def test_coefficients_are_computed_in_float_and_their_gradients_keep_their_type(recorder):
    a, b = torch.ones(6, dtype=torch.bfloat16), torch.ones(4, dtype=torch.float64)
    dx, da, db = call(torch.ones(7, dtype=torch.bfloat16), a=a, b=b)
    assert (dx.dtype, da.dtype, db.dtype) == (torch.bfloat16, torch.bfloat16, torch.float64)
    assert (dx.shape, da.shape, db.shape) == ((7,), (6,), (4,))


def test_source_is_one_text_that_depends_on_no_header_of_ours():
    code = cuda.source()
    assert '#include "' not in code
    # A compiler counts lines from the last "#line": every line must be where it says.
    lines, places = {}, []
    for line in code.splitlines():
        if line.startswith("#line"):
            _, number, name = line.split()
            places.append((int(number), name.strip('"')))
        elif not places:
            lines.setdefault("pau.cu", {})[len(lines.get("pau.cu", ())) + 1] = line
        else:
            number, name = places.pop()
            lines.setdefault(name, {})[number] = line
            places.append((number + 1, name))
    assert sorted(lines) == ["pau.cu", "pau_math.h", "pau_noise.h"]
    for name, numbered in lines.items():
        original = cuda.files("pade_bench.kernels").joinpath(name).read_text(encoding="utf-8")
        for number, line in enumerate(original.splitlines(), 1):
            if not line.startswith(('#include "pau', "#pragma once")):
                assert numbered[number] == line, f"line {number} of {name}"
