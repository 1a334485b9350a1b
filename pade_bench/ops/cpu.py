"""The Padé unit on a CPU: ``kernels/pau_cpu.cpp``, compiled at first use for this very processor.

Compiled kernels are kept in ``$PADE_BENCH_CACHE``, or else ``$XDG_CACHE_HOME/pade_bench``, or else
``~/.cache/pade_bench``: one file for each type, pair of degrees and form, named after all that it
depends on. The folder can be deleted at any time.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pade_bench.ops.layout import in_layout_of
from pade_bench.ops.unit import Unit, compute_dtype

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
COMPILERS = ("g++", "clang++", "c++")
TYPE_NAMES = {
    torch.float32: "Float32",
    torch.float64: "Float64",
    torch.bfloat16: "BFloat16",
    torch.float16: "Float16",
}

_POINTER, _INT64 = ctypes.c_void_p, ctypes.c_int64
_NOISE_AND_THREADS = (_POINTER, ctypes.c_double, ctypes.c_int, _POINTER)


class CpuKernelError(RuntimeError):
    """The CPU kernel cannot be used here; the message is the reason."""


def cache_folder() -> Path:
    """Return where compiled kernels are kept."""
    if folder := os.environ.get("PADE_BENCH_CACHE"):
        return Path(folder).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser() / "pade_bench"


def compiler() -> list[str]:
    """Return the command of the C++ compiler: ``$CXX`` if set, else the first found.

    Raises:
        CpuKernelError: there is none.
    """
    if named := shlex.split(os.environ.get("CXX", "")):
        if shutil.which(named[0]):
            return named
        raise CpuKernelError(f"the C++ compiler CXX={os.environ['CXX']!r} was not found")
    for name in COMPILERS:
        if path := shutil.which(name):
            return [path]
    raise CpuKernelError(
        "no C++ compiler was found; install one (Debian and Ubuntu: apt install g++; conda: conda "
        "install cxx-compiler) or name it in CXX"
    )


def _processor() -> str:
    """Return what ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    # Every core says the same; its clock, which changes by the second, is left out.
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except OSError as error:
        raise CpuKernelError(f"cannot run {command[0]}: {error}") from error
    except subprocess.CalledProcessError as error:
        raise CpuKernelError(
            f"{shlex.join(command)} failed:\n{error.stderr.strip()[-2000:]}"
        ) from error
    return done.stdout


@functools.cache
def _fingerprint(command: tuple[str, ...]) -> str:
    """Return a hash of the sources, the compiler, its flags and the processor."""
    folder = files("pade_bench.kernels")
    parts = [(folder / name).read_text(encoding="utf-8") for name in ("pau_math.h", "pau_cpu.cpp")]
    parts += [*command, _run([*command, "--version"]), *FLAGS, platform.machine(), _processor()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _load(path: Path) -> ctypes.CDLL | None:
    """Load the library at ``path``; ``None`` if it is missing or damaged.

    A library ends in the hash of what precedes, which the loader ignores: mapping a file that was
    cut short would end the process.
    """
    try:
        content = path.read_bytes()
        if content[-32:] == hashlib.sha256(content[:-32]).digest():
            return ctypes.CDLL(str(path))
    except OSError:
        pass
    return None


def _build(command: list[str], defines: list[str], path: Path) -> None:
    """Compile to ``path``: written aside and moved, so that no process sees half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as aside:
            built = Path(aside) / path.name
            with as_file(files("pade_bench.kernels")) as folder:
                source = str(Path(folder) / "pau_cpu.cpp")
                _run([*command, *FLAGS, *defines, source, "-o", str(built)])
            content = built.read_bytes()
            with built.open("ab") as file:
                file.write(hashlib.sha256(content).digest())
            os.replace(built, path)
    except OSError as error:
        raise CpuKernelError(
            f"cannot write compiled kernels to {path.parent}: {error}; set PADE_BENCH_CACHE to a "
            "folder that can be written"
        ) from error


class Kernels(NamedTuple):
    """The two functions of ``pau_cpu.cpp``."""

    forward: Callable[..., None]
    backward: Callable[..., None]


@functools.cache
def kernels(dtype: torch.dtype, m: int, n: int, form: str) -> Kernels:
    """Return the kernels for an element type, two degrees and a form, compiled if need be.

    Raises:
        CpuKernelError: no compiler, a compiler's error, or a cache that cannot be written.
    """
    command = compiler()
    type_name = TYPE_NAMES[dtype]
    name = f"pau_{m}_{n}_{form}_{type_name}_{_fingerprint(tuple(command))}.so"
    path = cache_folder() / name
    library = _load(path)
    if library is None:
        choice = {"M": m, "N": n, "FORM": form.upper(), "TYPE": type_name}
        _build(command, [f"-DPAU_{key}={value}" for key, value in choice.items()], path)
        library = _load(path)
    if library is None:
        raise CpuKernelError(f"the compiled kernels in {path} cannot be loaded")
    forward, backward = library.pau_forward, library.pau_backward
    forward.argtypes = (*(_POINTER,) * 2, _INT64, *(_POINTER,) * 2, *_NOISE_AND_THREADS)
    backward.argtypes = (*(_POINTER,) * 3, _INT64, *(_POINTER,) * 4, *_NOISE_AND_THREADS)
    forward.restype = backward.restype = None
    return Kernels(forward, backward)


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
        CpuKernelError: the kernel cannot be compiled here.
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
        CpuKernelError: the kernel cannot be compiled here.
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
