"""The Padé unit on CUDA: launches ``kernels/pau.cu``, compiled at first use through CuPy.

Kernels run on torch's current stream and the tensor's device, on memory that torch allocates, and
nothing here waits for the device. A kernel is compiled and loaded when a device, a type, a pair of
degrees and a form first meet; after that a call can be captured in a CUDA graph.

Repeated runs agree bitwise, whatever the alignment: the grid follows from the number of elements
alone, and sums are formed in a fixed order.
"""

from __future__ import annotations

import ctypes
import functools
import re
from importlib.resources import files
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pade_bench.ops.cuda_runtime import CudaKernelError, CuPyRuntime, Runtime
from pade_bench.ops.layout import in_layout_of
from pade_bench.ops.unit import FORMS, Unit, compute_dtype

THREADS = 256  # a block, as in pau.cu


class Grid(NamedTuple):
    """How a grid grows with the number of packets, of 128 bits, that there are to compute.

    One packet a thread up to ``full`` blocks, which fill a large GPU; then each thread takes more,
    up to ``most_packets``; then the blocks grow in number again.
    """

    full: int
    most_packets: int


# What a thread does once, reading the coefficients and in the backward pass some 100 instructions
# of shuffles, is lost among its packets; the limit keeps its sums short. The forward pass without
# noise has so little to do between waits for memory that more blocks serve it better.
FORWARD_GRID = Grid(2048, 4)
BACKWARD_GRID = Grid(512, 16)  # and of RPAU's forward pass

# PAU_STORAGE and PAU_HEADER of pau.cu.
STORAGE = {
    torch.float32: ("float", None),
    torch.float64: ("double", None),
    torch.float16: ("__half", "<cuda_fp16.h>"),
    torch.bfloat16: ("__nv_bfloat16", "<cuda_bf16.h>"),
}


@functools.cache
def runtime() -> Runtime:
    """Return what compiles and launches.

    Raises:
        CudaKernelError: CuPy is not installed, too old, or made for a newer driver.
    """
    return CuPyRuntime()


@functools.cache
def source(name: str = "pau.cu") -> str:
    """Return a file of ``kernels/`` with our headers in the place of their ``#include``.

    One text, because CuPy's cache of compiled kernels is keyed by the text and not by the headers.
    """
    text = (files("pade_bench.kernels") / name).read_text(encoding="utf-8")

    def header(include: re.Match[str]) -> str:
        line = text.count("\n", 0, include.end()) + 1
        return f'#line 1 "{include[1]}"\n{source(include[1])}\n#line {line} "{name}"\n'

    text = text.replace("#pragma once\n", "\n")
    return re.sub(r'^#include "(\w+\.h)"\n', header, text, flags=re.MULTILINE)


def compile_options(dtype: torch.dtype, m: int, n: int, form: str, noisy: bool) -> tuple[str, ...]:
    """Return the compiler options that choose one configuration of ``pau.cu``."""
    storage, header = STORAGE[dtype]
    return (
        "-std=c++17",
        "--fmad=false",  # pau_math.h says what is to be fused
        f"-DPAU_STORAGE={storage}",
        *([f"-DPAU_HEADER={header}"] if header else []),
        f"-DPAU_M={m}",
        f"-DPAU_N={n}",
        f"-DPAU_FORM={FORMS.index(form)}",
        f"-DPAU_NOISY={int(noisy)}",
    )


class _Kernels(NamedTuple):
    forward: Any
    backward: Any
    sum_partials: Any


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
    _require_supported(device)
    try:
        module = runtime.RawModule(code=source(), options=compile_options(dtype, m, n, form, noisy))
        return _Kernels(*(module.get_function(f"pau_{name}") for name in _Kernels._fields))
    except Exception as error:  # NVRTC, a missing toolkit header, the driver, the kernel cache
        raise CudaKernelError(f"CuPy cannot build the Padé kernels: {error}") from error


def _require_supported(device: torch.device) -> None:
    if device.type != "cuda":  # the emulator
        return
    major, minor = torch.cuda.get_device_capability(device)
    built_for = [int(re.sub(r"\D", "", name)) for name in torch.cuda.get_arch_list()]
    if built_for and 10 * major + minor < min(built_for):
        raise RuntimeError(
            f"{torch.cuda.get_device_name(device)} ({device}) has compute capability "
            f"{major}.{minor}, and torch {torch.__version__} needs {min(built_for) / 10:.1f}: "
            "install a torch that is built for this GPU, or use the CPU"
        )


def addresses(
    device: torch.device, dtype: torch.dtype, m: int, n: int, form: str, noisy: bool
) -> list[int] | None:
    """Return what ``kernels/pau_node.cpp`` needs to launch; ``None`` where only Python can.

    Raises:
        CudaKernelError: CuPy is missing, or cannot compile or load the kernels.
    """
    cuda, context = runtime(), ctypes.c_void_p()
    driver = cuda.driver
    if driver is None:
        return None
    get_context = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(driver.get_context)
    with cuda.stream(device):
        handles = [k.ptr for k in _kernels(cuda, device, dtype, m, n, form, noisy)]
        get_context(ctypes.byref(context))
    grids = (THREADS, *_forward_grid(noisy), *BACKWARD_GRID)
    return [*driver, context.value or 0, *handles, *grids]


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _forward_grid(noisy: bool) -> Grid:
    return BACKWARD_GRID if noisy else FORWARD_GRID


def _blocks(x: Tensor, grid: Grid) -> int:
    packets = _ceil_div(x.numel() * x.element_size(), 16)
    per_thread = min(_ceil_div(packets, grid.full * THREADS), grid.most_packets)
    return _ceil_div(packets, per_thread * THREADS)


def _coefficients(c: Tensor, dtype: torch.dtype) -> Tensor:
    # Asked first, because Tensor.to and contiguous cost a microsecond even if they do nothing.
    return c if c.dtype == dtype and c.is_contiguous() else c.to(dtype).contiguous()


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
    count = x.numel()
    if count == 0:
        return y
    x = in_layout_of(y, x)
    numerator, denominator, form, noise_state, noise = unit
    a = _coefficients(numerator, compute_dtype(x.dtype))
    b = _coefficients(denominator, a.dtype)
    state = 0 if noise_state is None else noise_state.data_ptr()
    cuda, device = runtime(), x.device
    with cuda.stream(device) as stream:
        kernels = _kernels(
            cuda, device, x.dtype, a.numel() - 1, b.numel(), form, noise_state is not None
        )
        kernels.forward(
            (_blocks(x, _forward_grid(noise_state is not None)),),
            (THREADS,),
            (x.data_ptr(), y.data_ptr(), count, a.data_ptr(), b.data_ptr(), state, float(noise)),
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
    numerator, denominator, form, noise_state, noise = unit
    count = x.numel()
    if count == 0:
        return dx, torch.zeros_like(numerator), torch.zeros_like(denominator)
    x, grad = in_layout_of(dx, x), in_layout_of(dx, grad)
    a = _coefficients(numerator, compute_dtype(x.dtype))
    b = _coefficients(denominator, a.dtype)
    da, db = torch.empty_like(a), torch.empty_like(b)
    blocks, coefficients = _blocks(x, BACKWARD_GRID), a.numel() + b.numel()
    cuda, device = runtime(), x.device
    partials = torch.empty((coefficients, blocks), dtype=torch.float64, device=device)
    a_, b_, partials_ = a.data_ptr(), b.data_ptr(), partials.data_ptr()
    state = 0 if noise_state is None else noise_state.data_ptr()
    with cuda.stream(device) as stream:
        kernels = _kernels(
            cuda, device, x.dtype, a.numel() - 1, b.numel(), form, noise_state is not None
        )
        kernels.backward(
            (blocks,),
            (THREADS,),
            (
                *(grad.data_ptr(), x.data_ptr(), dx.data_ptr(), count),
                *(a_, b_, state, float(noise), partials_),
            ),
            stream=stream,
        )
        kernels.sum_partials(
            (coefficients,),
            (THREADS,),
            (partials_, blocks, b_, da.data_ptr(), db.data_ptr()),
            stream=stream,
        )
    if numerator.dtype == denominator.dtype == a.dtype:
        return dx, da, db
    return dx, da.to(numerator.dtype), db.to(denominator.dtype)
