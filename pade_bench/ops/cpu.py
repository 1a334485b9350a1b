"""The Padé unit on a CPU: ``kernels/pau_cpu.cpp``, compiled at first use for this very processor.

One library for each element type, pair of degrees and form; see ``pade_bench.ops.build``.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pade_bench.ops.build import load_library
from pade_bench.ops.layout import in_layout_of
from pade_bench.ops.unit import Unit, compute_dtype

SOURCES = ("pau_cpu.cpp", "pau_noise.h", "pau_math.h")
# No -ffast-math: NaN, infinities and signed zeros come out as IEEE has them. The two -fno-… only
# promise that nobody reads errno or the floating-point exception flags.
FLAGS = [
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fopenmp-simd",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
]
TYPE_NAMES = {
    torch.float32: "Float32",
    torch.float64: "Float64",
    torch.bfloat16: "BFloat16",
    torch.float16: "Float16",
}

_POINTER, _INT64 = ctypes.c_void_p, ctypes.c_int64
_NOISE_AND_THREADS = (_POINTER, ctypes.c_double, ctypes.c_int, _POINTER)


class Kernels(NamedTuple):
    """The two functions of ``pau_cpu.cpp``."""

    forward: Callable[..., None]
    backward: Callable[..., None]


@functools.cache
def kernels(dtype: torch.dtype, m: int, n: int, form: str) -> Kernels:
    """Return the kernels for an element type, two degrees and a form, compiled if need be.

    Raises:
        BuildError: no compiler, a compiler's error, or a cache that cannot be written.
    """
    choice = {"M": m, "N": n, "FORM": form.upper(), "TYPE": TYPE_NAMES[dtype]}
    library = load_library(
        f"pau_{m}_{n}_{form}_{TYPE_NAMES[dtype]}",
        SOURCES,
        [*FLAGS, *(f"-DPAU_{key}={value}" for key, value in choice.items())],
        symbols=("pau_forward", "pau_backward"),
    )
    forward, backward = library.pau_forward, library.pau_backward
    forward.argtypes = (*(_POINTER,) * 2, _INT64, *(_POINTER,) * 2, *_NOISE_AND_THREADS)
    backward.argtypes = (*(_POINTER,) * 3, _INT64, *(_POINTER,) * 4, *_NOISE_AND_THREADS)
    forward.restype = backward.restype = None
    return Kernels(forward, backward)


def addresses(
    device: torch.device, dtype: torch.dtype, m: int, n: int, form: str, noisy: bool
) -> list[int]:
    """Return what ``kernels/pau_node.cpp`` needs to call the kernels.

    Raises:
        BuildError: the kernel cannot be compiled here.
    """
    functions: tuple[Any, ...] = (*kernels(dtype, m, n, form), _parallel())
    return [ctypes.cast(function, _POINTER).value or 0 for function in functions]


@functools.cache
def _parallel() -> Any:
    """Return the entry of torch's own OpenMP runtime that runs a function on several threads.

    Looked up through the library that links to it. A runtime of our own would keep a second pool of
    threads, and each pool's spinning would starve the other. ``None``, for a single thread, where
    torch uses none.
    """
    suffix = {"Darwin": "dylib", "Windows": "dll"}.get(platform.system(), "so")
    path = Path(torch.__file__).parent / "lib" / f"libtorch_cpu.{suffix}"
    try:
        return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, _POINTER)
    except (OSError, AttributeError):
        return None


def _noise_and_threads(unit: Unit) -> tuple[Any, ...]:
    state = None if unit.noise_state is None else unit.noise_state.data_ptr()
    return state, unit.noise, torch.get_num_threads(), _parallel()


def _coefficients(coefficients: Tensor, dtype: torch.dtype) -> Tensor:
    # Asked first, because Tensor.to and contiguous cost a microsecond even if they do nothing.
    if coefficients.dtype == dtype and coefficients.is_contiguous():
        return coefficients
    return coefficients.to(dtype).contiguous()


def forward(x: Tensor, unit: Unit) -> Tensor:
    """Return F(x), in the type and memory layout of ``x``.

    Args:
        x: any shape; float32, float64, or float16 and bfloat16, which are computed in float32.
        unit: the coefficients, the form and the noise.

    Raises:
        BuildError: the kernel cannot be compiled here.
    """
    y = torch.empty_like(x)
    x = in_layout_of(y, x)
    a, b = (_coefficients(c, compute_dtype(x.dtype)) for c in unit[:2])
    kernels(x.dtype, a.numel() - 1, b.numel(), unit.form).forward(
        x.data_ptr(),
        y.data_ptr(),
        x.numel(),
        a.data_ptr(),
        b.data_ptr(),
        *_noise_and_threads(unit),
    )
    return y


def backward(grad: Tensor, x: Tensor, unit: Unit) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, the numerator and the denominator, each in its tensor's type.

    Args:
        grad: gradient of F(x), of the shape and type of ``x``.
        x: as given to ``forward``.
        unit: as given to ``forward``; the same noise state draws the same noise again.

    Raises:
        BuildError: the kernel cannot be compiled here.
    """
    dx = torch.empty_like(x)
    x, grad = in_layout_of(dx, x), in_layout_of(dx, grad)
    a, b = (_coefficients(c, compute_dtype(x.dtype)) for c in unit[:2])
    da, db = torch.empty_like(a), torch.empty_like(b)
    kernels(x.dtype, a.numel() - 1, b.numel(), unit.form).backward(
        grad.data_ptr(),
        x.data_ptr(),
        dx.data_ptr(),
        x.numel(),
        a.data_ptr(),
        b.data_ptr(),
        da.data_ptr(),
        db.data_ptr(),
        *_noise_and_threads(unit),
    )
    if unit.numerator.dtype == unit.denominator.dtype == a.dtype:
        return dx, da, db
    return dx, da.to(unit.numerator.dtype), db.to(unit.denominator.dtype)
