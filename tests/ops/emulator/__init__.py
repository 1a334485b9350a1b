"""A GPU for the launcher where there is none: CuPy's RawModule, run on the CPU.

``EmulatedCuda`` stands in for CuPy behind ``pade_bench.ops.cuda``; it compiles the CUDA source
that the launcher hands it with g++ and ``cuda_on_cpu.h`` and runs it on CPU tensors.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from emulator.driver import EmulatedDriver, EmulatedKernel
from pade_bench.ops.cuda_runtime import Driver

CUDA_ON_CPU = Path(__file__).parent / "cuda_on_cpu.h"
FORWARD, REVERSE, RANDOM = 0, 1, 20_200  # schedules; RANDOM and above seed a random one
_libraries = tempfile.TemporaryDirectory(prefix="pade_bench_emulator_")


def toolkit_includes() -> list[Path]:
    """Return where g++ finds the CUDA toolkit's cuda_fp16.h and cuda_bf16.h; empty if nowhere.

    triton, which comes with torch, brings them, and CuPy the <nv/target> that they include.
    """
    wanted = {
        "triton": ("backends/nvidia/include", "cuda_fp16.h"),
        "cupy": ("_core/include/cupy/_cccl/libcudacxx", "nv/target"),
    }
    found = []
    for package, (folder, header) in wanted.items():
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            if (Path(root) / folder / header).exists():
                found.append(Path(root) / folder)
    return found if len(found) == len(wanted) else []


needs_toolkit = pytest.mark.skipif(
    not toolkit_includes(), reason="cuda_fp16.h is not among the installed packages"
)
FLOAT16, BFLOAT16 = (
    pytest.param(dtype, marks=needs_toolkit) for dtype in (torch.float16, torch.bfloat16)
)
DTYPES = [torch.float32, torch.float64, FLOAT16, BFLOAT16]


class EmulatedCuda:
    """A ``pade_bench.ops.cuda.Runtime`` on the CPU.

    Args:
        schedule: which thread runs next, one of the constants above.
        mutate: changes the source before it is compiled, to show that a fault is noticed.
        defines: further options of the compiler, see ``cuda_on_cpu.h``.
    """

    def __init__(
        self,
        schedule: int = FORWARD,
        mutate: Callable[[str], str] = lambda code: code,
        defines: tuple[str, ...] = (),
    ) -> None:
        self.schedule, self.mutate, self.defines = schedule, mutate, defines
        self.emulated_driver = EmulatedDriver()

    @contextlib.contextmanager
    def stream(self, device: torch.device) -> Iterator[None]:
        yield

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> EmulatedModule:  # noqa: N802
        return EmulatedModule(build(self.mutate(code), options + self.defines), self.schedule)

    @property
    def driver(self) -> Driver:
        """The emulator behind the driver's functions, for code that launches without Python."""
        return self.emulated_driver.addresses


@functools.cache
def build(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """Compile CUDA C++ for the CPU, with every ``extern "C"`` kernel as ``emulate_<name>``."""
    kernel = r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\('
    kernels = re.findall(kernel, code)
    code += "\n" + "\n".join(f"EMULATE({kernel})" for kernel in kernels)
    library = Path(tempfile.mkdtemp(dir=_libraries.name)) / "kernels.so"
    command = [
        *("g++", "-x", "c++", "-", "-o", str(library), "-shared", "-fPIC", "-O1"),
        *("-march=native", "-ffp-contract=off"),  # fuses what the kernels ask for, as --fmad=false
        *("-fvisibility=hidden", "-fno-strict-aliasing"),
        *("-include", str(CUDA_ON_CPU)),
        *(f"-isystem{folder}" for folder in toolkit_includes()),
        *(option for option in options if option.startswith("-D")),
        "-std=c++20",
    ]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return ctypes.CDLL(str(library))


class EmulatedModule:
    def __init__(self, library: ctypes.CDLL, schedule: int) -> None:
        self.library, self.schedule = library, schedule

    def get_function(self, name: str) -> EmulatedKernel:
        return EmulatedKernel(getattr(self.library, f"emulate_{name}"), name, self.schedule)
