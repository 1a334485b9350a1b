"""Time what a call of the Padé unit costs beside its kernel: ``python scripts/bench_calls.py``.

All on a CPU. A runtime whose launches do nothing stands for the GPU, so that what is left of the
CUDA path is the work of the host: the Python launcher ``ops/cuda.py`` by itself, and forward and
backward through autograd, by the node in C++ and by the one in Python. Not in it: cuLaunchKernel
(some 3 µs each), and of asking CUDA for the current device and stream, for which a dictionary is
asked, some 0.1 µs each. Contestants take turns. Last, the seconds of a first use, with nothing
compiled yet. Prints Markdown, as in ``benchmarks/calls_cpu.md``.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bench import environment
from torch import nn

from pade_bench import PAU
from pade_bench.ops import Unit, backends, build, cuda, cuda_runtime, node

ELEMENTS = 16  # so few that a kernel of torch's costs no more than being called
ROUNDS, CALLS = 101, 300
DRIVER = """
extern "C" int launch(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                      void*, void**, void**) { return 0; }
extern "C" int current_stream(int, void** stream) { *stream = nullptr; return 0; }
extern "C" int get_context(void** context) { *context = context; return 0; }
extern "C" int set_context(void*) { return 0; }
extern "C" int error_string(int, const char**) { return 0; }
"""
FIRST_USE = """
import sys, time, torch
from pade_bench import functional
from pade_bench.ops import node
if "without node" in sys.argv:
    node._is_loaded = lambda: False
x, a, b = torch.ones(8), torch.ones(6), torch.ones(4)
start = time.perf_counter()
functional.pau(x, a, b)
print(time.perf_counter() - start)
"""


class IdleCuda(cuda_runtime.CuPyRuntime):
    """A GPU whose kernels do nothing, behind what handles CuPy's streams."""

    def __init__(self, folder: Path) -> None:
        source, library = folder / "driver.cpp", folder / "driver.so"
        source.write_text(DRIVER, encoding="utf-8")
        command = [*build.compiler(), "-O2", "-shared", "-fPIC", str(source), "-o", str(library)]
        subprocess.run(command, check=True)
        functions = ctypes.CDLL(str(library))
        self.driver = cuda_runtime.Driver(
            *(
                ctypes.cast(getattr(functions, name), ctypes.c_void_p).value or 0
                for name in cuda_runtime.Driver._fields
            )
        )
        self._streams, self._thread = {}, threading.local()
        self._thread.is_bound = True

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> Any:  # noqa: N802
        """Compile nothing."""
        return self

    def get_function(self, name: str) -> Callable[..., None]:
        """Return a kernel that ignores what it is given."""

        def kernel(*_: object, stream: object) -> None:
            pass

        kernel.ptr = 1  # type: ignore[attr-defined]
        return kernel


@contextlib.contextmanager
def idle_gpu() -> Iterator[None]:
    """Send the tensors of the CPU to a GPU that does nothing."""
    with tempfile.TemporaryDirectory() as folder:
        runtime = IdleCuda(Path(folder))
        real = torch._C._cuda_getDevice, torch._C._cuda_getCurrentRawStream, cuda.runtime
        # The CPU's index is None.
        torch._C._cuda_getDevice = functools.partial({}.get, None)  # type: ignore[assignment]
        torch._C._cuda_getCurrentRawStream = {None: 0}.get  # type: ignore[assignment]
        cuda.runtime = functools.cache(lambda: runtime)
        backends._KERNELS["cpu"], cpu = cuda, backends._KERNELS["cpu"]
        forget()
        try:
            yield
        finally:
            torch._C._cuda_getDevice, torch._C._cuda_getCurrentRawStream, cuda.runtime = real
            backends._KERNELS["cpu"] = cpu
            forget()


def forget() -> None:
    """Forget which kernels the node runs."""
    if node.direct is not None:
        torch.ops.pade_bench.forget_kernels()
    node._add.cache_clear()


@contextlib.contextmanager
def without_node() -> Iterator[None]:
    """Let calls go through Python."""
    direct, node.direct = node.direct, None
    offer, node.offer = node.offer, lambda *_: None
    try:
        yield
    finally:
        node.direct, node.offer = direct, offer


def in_turns(contestants: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the microseconds of a call in each round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, call in contestants.items():
            with without_node() if "Python" in name else contextlib.nullcontext():
                for _ in range(20):
                    call()
                start = time.perf_counter()
                for _ in range(CALLS):
                    call()
                times[name].append((time.perf_counter() - start) / CALLS * 1e6)
    return times


def rows(times: dict[str, list[float]], baseline: str) -> Iterator[str]:
    """Return medians, and the ratios to a baseline with their deciles over the rounds."""
    for name, values in times.items():
        ratios = [t / r for t, r in zip(values, times[baseline], strict=True)]
        deciles = statistics.quantiles(ratios, n=10)
        yield (
            f"| {name} | {statistics.median(values):.1f} | {statistics.median(ratios):.2f} "
            f"[{deciles[0]:.2f}, {deciles[-1]:.2f}] |"
        )


def launcher() -> dict[str, list[float]]:
    """Time the launcher in Python by itself."""
    x, unit = torch.ones(ELEMENTS), Unit(torch.ones(6), torch.ones(4))
    with idle_gpu():
        return in_turns(
            {
                "torch.empty_like": lambda: torch.empty_like(x),
                "cuda.forward": lambda: cuda.forward(x, unit),
                "cuda.backward": lambda: cuda.backward(x, x, unit),
            }
        )


def through_autograd(names: tuple[str, ...]) -> dict[str, list[float]]:
    """Time forward and backward of modules through autograd."""
    x, grad = torch.ones(ELEMENTS, requires_grad=True), torch.ones(ELEMENTS)

    def step(module: nn.Module) -> Callable[[], None]:
        module(x).backward(grad)  # compiles, and makes the gradients that are added to

        def run() -> None:
            module(x).backward(grad)

        return run

    modules = {"ReLU": nn.ReLU(), "PReLU": nn.PReLU()}
    return in_turns({name: step(modules.get(name) or PAU()) for name in names})


def first_use(*arguments: str) -> float:
    """Return the seconds of the first call in a process, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", FIRST_USE, *arguments],
            env=os.environ | {"PADE_BENCH_CACHE": cache},
            capture_output=True,
            text=True,
            check=True,
        )
    return float(done.stdout)


def main() -> None:
    """Print the tables."""
    print(
        "# The cost of a call\n\n"
        f"{environment(torch.device('cpu'))}; {ELEMENTS} elements, float32. Microseconds, medians "
        f"of {ROUNDS} rounds of {CALLS} calls in which all take turns; ratio within a round, in "
        "brackets its 10 % and 90 % quantiles. Made by `python scripts/bench_calls.py`.\n"
    )
    print("| launcher, kernels that do nothing | µs | × `torch.empty_like` |\n|---|--:|--:|")
    print(*rows(launcher(), "torch.empty_like"), sep="\n")
    print("\n| forward + backward through autograd | µs | × PReLU |\n|---|--:|--:|")
    on_cpu = ("ReLU", "PReLU", "PAU, kernels of the CPU", "PAU, kernels of the CPU, node in Python")
    print(*rows(through_autograd(on_cpu), "PReLU"), sep="\n")
    print("\n| the same, kernels that do nothing | µs | × PReLU |\n|---|--:|--:|")
    on_gpu = ("PReLU", "PAU on an idle GPU", "PAU on an idle GPU, node in Python")
    with idle_gpu():
        print(*rows(through_autograd(on_gpu), "PReLU"), sep="\n")
    both, kernel = first_use(), first_use("without node")
    print(
        f"\nThe first call in a process with nothing compiled yet: {both:.1f} s, of it "
        f"{both - kernel:.1f} s for the node, once for all units of a torch."
    )


if __name__ == "__main__":
    main()
