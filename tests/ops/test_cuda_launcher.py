"""The launcher: what it compiles, how it launches, and what it says where there is no GPU."""

from __future__ import annotations

import builtins
import contextlib

import numpy as np
import pytest
import torch

from pade_bench.ops import Unit, cuda


class Recorder:
    """A runtime whose kernels do nothing but note how they were launched."""

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

    class TorchStream:
        def __cuda_stream__(self):
            return (0, 0)

    call(torch.ones(5))
    kernel = cupy.cuda.function.Function.__new__(cupy.cuda.function.Function)
    stream = cupy.cuda.Stream.from_external(TorchStream())
    for _, grid, block, arguments, _ in recorder.launches:
        with pytest.raises(
            cupy.cuda.runtime.CUDARuntimeError, match=r"InsufficientDriver|NoDevice"
        ):
            kernel(grid, block, arguments, stream=stream)


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
        assert {type(a) for a in arguments} <= {np.uint64, np.int64, np.float64}


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
    assert forward == -(-packets // cuda.THREADS) < 2**31
    per_thread = -(-packets // (backward * cuda.THREADS))
    assert per_thread <= cuda.MAX_PACKETS_PER_THREAD
    assert backward >= min(-(-packets // cuda.THREADS), cuda.FULL_GRID // 2)
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
    assert "namespace pau" in code
    numbered = code[: code.index('#line 1 "pau_math.h"')]
    line = int(code.split("#line ")[2].split()[0])
    original = cuda.files("pade_bench.kernels").joinpath("pau.cu").read_text(encoding="utf-8")
    assert numbered.count("\n") + 2 == line
    assert code.endswith("".join(original.splitlines(keepends=True)[line - 1 :]))
