"""The Padé unit on CUDA: launches ``kernels/pau.cu``, compiled at first use through CuPy.

Kernels run on torch's current stream and the tensor's device, on memory that torch allocates, and
nothing here waits for the device. A kernel is compiled and loaded when a device, a type, a pair of
degrees and a form first meet; after that a call can be captured in a CUDA graph.

Repeated runs agree bitwise, whatever the alignment: the grid follows from the number of elements
alone, and sums are formed in a fixed order.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from pade_bench.ops.layout import in_layout_of
from pade_bench.ops.unit import FORMS, Unit, compute_dtype

THREADS = 256  # a block, as in pau.cu
# A thread of the backward pass ends in shuffles, some 100 instructions for ten sums. 512 blocks
# fill a large GPU; beyond, a thread takes up to 8 packets of 128 bits, among which those
# instructions are lost, and then blocks grow in number again, which keeps a thread's sums short.
FULL_GRID = 512
MAX_PACKETS_PER_THREAD = 8

# PAU_STORAGE and PAU_HEADER of pau.cu.
STORAGE = {
    torch.float32: ("float", None),
    torch.float64: ("double", None),
    torch.float16: ("__half", "<cuda_fp16.h>"),
    torch.bfloat16: ("__nv_bfloat16", "<cuda_bf16.h>"),
}


class CudaKernelError(RuntimeError):
    """The CUDA kernels cannot be used here; the message is the reason."""


class Runtime(Protocol):
    """What the launcher needs of CuPy. The tests put an emulator of the GPU in its place."""

    RawModule: Callable[..., Any]

    def stream(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Make ``device`` current and yield torch's current stream on it."""

    def __hash__(self) -> int:
        """Kernels are kept for each runtime."""


class _CuPy:
    def __init__(self) -> None:
        try:
            import cupy

            cupy.cuda.runtime.getDeviceCount()  # fails if CuPy is made for a newer driver
            self.RawModule = cupy.RawModule
            self._device, self._stream_of = cupy.cuda.Device, cupy.cuda.Stream.from_external
        except Exception as error:  # an installed CuPy fails in many ways, not only ImportError
            raise CudaKernelError(f"CuPy cannot be used: {error}") from error

    @contextlib.contextmanager
    def stream(self, device: torch.device) -> Iterator[Any]:
        with torch.cuda.device(device), self._device(device.index):  # CuPy has its own idea of it
            yield self._stream_of(torch.cuda.current_stream(device))


@functools.cache
def runtime() -> Runtime:
    """Return what compiles and launches.

    Raises:
        CudaKernelError: CuPy is not installed, too old, or made for a newer driver.
    """
    return _CuPy()


@functools.cache
def source() -> str:
    """Return ``pau.cu`` with ``pau_math.h`` in its place.

    One text, because CuPy's cache of compiled kernels is keyed by the text and not by the headers.
    """
    folder = files("pade_bench.kernels")
    header = (folder / "pau_math.h").read_text(encoding="utf-8").replace("#pragma once\n", "\n")
    before, after = (folder / "pau.cu").read_text(encoding="utf-8").split('#include "pau_math.h"\n')
    line = before.count("\n") + 2
    return f'{before}#line 1 "pau_math.h"\n{header}\n#line {line} "pau.cu"\n{after}'


def compile_options(dtype: torch.dtype, m: int, n: int, form: str, noisy: bool) -> tuple[str, ...]:
    """Return the compiler options that choose one configuration of ``pau.cu``."""
    storage, header = STORAGE[dtype]
    return (
        "-std=c++17",
        f"-DPAU_STORAGE={storage}",
        *([f"-DPAU_HEADER={header}"] if header else []),
        f"-DPAU_M={m}",
        f"-DPAU_N={n}",
        f"-DPAU_FORM={FORMS.index(form)}",
        f"-DPAU_NOISY={int(noisy)}",
    )


class _Kernels(NamedTuple):
    forward: Callable[..., None]
    backward: Callable[..., None]
    sum_partials: Callable[..., None]


@functools.cache
def _kernels(
    runtime: Runtime,
    device: torch.device,
    dtype: torch.dtype,
    m: int,
    n: int,
    form: str,
    noisy: bool,
) -> _Kernels:
    """Compile and load one configuration on ``device``, which is the current device."""
    try:
        module = runtime.RawModule(code=source(), options=compile_options(dtype, m, n, form, noisy))
        return _Kernels(*(module.get_function(f"pau_{name}") for name in _Kernels._fields))
    except Exception as error:  # NVRTC, a missing toolkit header, the driver, the kernel cache
        raise CudaKernelError(f"CuPy cannot build the Padé kernels: {error}") from error


def _address(tensor: Tensor | None) -> np.uint64:
    return np.uint64(0 if tensor is None else tensor.data_ptr())


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _packets(x: Tensor) -> int:
    return _ceil_div(x.numel() * x.element_size(), 16)


def _backward_blocks(packets: int) -> int:
    per_thread = min(_ceil_div(packets, FULL_GRID * THREADS), MAX_PACKETS_PER_THREAD)
    return _ceil_div(packets, per_thread * THREADS)


def forward(x: Tensor, unit: Unit) -> Tensor:
    """Return F(x), in the type and memory layout of ``x``.

    Args:
        x: any shape, on a CUDA device; float32, float64, or float16 and bfloat16, which are
            computed in float32.
        unit: the coefficients, the form and the noise, on the same device.

    Raises:
        CudaKernelError: CuPy is missing, or cannot compile or load the kernels.
    """
    y = torch.empty_like(x)
    if x.numel() == 0:
        return y
    x = in_layout_of(y, x)
    a = unit.numerator.to(compute_dtype(x.dtype)).contiguous()
    b = unit.denominator.to(a.dtype).contiguous()
    noisy = unit.noise_state is not None
    with runtime().stream(x.device) as stream:
        kernels = _kernels(runtime(), x.device, x.dtype, a.numel() - 1, b.numel(), unit.form, noisy)
        kernels.forward(
            (_ceil_div(_packets(x), THREADS),),
            (THREADS,),
            (
                _address(x),
                _address(y),
                np.int64(x.numel()),
                _address(a),
                _address(b),
                _address(unit.noise_state),
                np.float64(unit.noise),
            ),
            stream=stream,
        )
    return y


def backward(grad: Tensor, x: Tensor, unit: Unit) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, the numerator and the denominator, each in its tensor's type.

    Args:
        grad: gradient of F(x), of the shape, type and device of ``x``.
        x: as given to ``forward``.
        unit: as given to ``forward``; the same noise state draws the same noise again.

    Raises:
        CudaKernelError: CuPy is missing, or cannot compile or load the kernels.
    """
    dx = torch.empty_like(x)
    if x.numel() == 0:
        return dx, torch.zeros_like(unit.numerator), torch.zeros_like(unit.denominator)
    x, grad = in_layout_of(dx, x), in_layout_of(dx, grad)
    a = unit.numerator.to(compute_dtype(x.dtype)).contiguous()
    b = unit.denominator.to(a.dtype).contiguous()
    da, db = torch.empty_like(a), torch.empty_like(b)
    blocks = _backward_blocks(_packets(x))
    partials = torch.empty((a.numel() + b.numel(), blocks), dtype=torch.float64, device=x.device)
    noisy = unit.noise_state is not None
    with runtime().stream(x.device) as stream:
        kernels = _kernels(runtime(), x.device, x.dtype, a.numel() - 1, b.numel(), unit.form, noisy)
        kernels.backward(
            (blocks,),
            (THREADS,),
            (
                _address(grad),
                _address(x),
                _address(dx),
                np.int64(x.numel()),
                _address(a),
                _address(b),
                _address(unit.noise_state),
                np.float64(unit.noise),
                _address(partials),
            ),
            stream=stream,
        )
        kernels.sum_partials(
            (partials.shape[0],),
            (THREADS,),
            (_address(partials), np.int64(blocks), _address(b), _address(da), _address(db)),
            stream=stream,
        )
    return dx, da.to(unit.numerator.dtype), db.to(unit.denominator.dtype)
