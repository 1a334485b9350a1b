"""Time compiled training steps of Padé networks: ``python scripts/bench_compile.py [part …]``.

Parts: ``block``, a batch norm with its activation between two convolutions, for every way to
divide the unit between Inductor and the kernel; and the networks, PAU against ReLU, eager and
compiled, which take turns within one process. The kernels that Inductor generates are
counted. Prints the tables of ``benchmarks/compile_cpu.md``.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from bench import environment
from bench_training import SETTINGS, make_step
from torch import Tensor, nn

from pade_bench import PAU, build_model
from pade_bench.ops import cpu, inductor, reference
from pade_bench.ops.unit import Unit

NETWORKS = {"vgg8": 16, "vgg8 (CIFAR-10)": 24, "mobilenetv2": 16, "resnet101": 8}  # rounds
BLOCKS = ((96, 32), (24, 32), (512, 8))  # channels, pixels to a side; 64 images
VARIANTS = {
    "relu": "ReLU",
    "opaque": "PAU, the kernel for everything",
    "forward": "PAU, forward decomposed, the kernel backward",
    "dx": "PAU, forward and dx decomposed, the sums by the kernel",
    "stacked": "PAU, all decomposed, the sums as one reduction over stacked terms",
    "all32": "PAU, all decomposed, ten sums in float32",
    "all64": "PAU, all decomposed, ten sums in float64",
}
ROUNDS = 21


def main(parts: list[str]) -> None:
    """Run the parts that are named, or all of them."""
    print(f"# Compiled training steps\n\n{environment(torch.device('cpu'))}.")
    print("Made by `python scripts/bench_compile.py`.\n")
    if not parts or "block" in parts:
        print("Convolution, batch norm, activation, convolution; forward and backward:\n")
        block_table()
    names = [name for name in NETWORKS if not parts or name in parts]
    if names:
        print("Networks; forward, backward, clipping and Adam:\n")
        print(
            "| network | images | | ms per step | PAU / ReLU | generated kernels | opaque calls |"
        )
        print("|---|--:|---|--:|--:|--:|--:|")
    for name in names:
        print("\n".join(network_rows(name)), flush=True)


def network_rows(name: str) -> list[str]:
    """Return the rows of one network: eager and compiled, ReLU and PAU."""
    setting = SETTINGS[name]
    images = torch.randn(setting.images, setting.channels, setting.pixels, setting.pixels)
    labels = torch.randint(10, (setting.images,))
    steps, counts = {}, {}
    for mode in ("eager", "compiled"):
        for activation in ("relu", "pau"):
            network = build_model(name.partition(" ")[0], activation, setting.channels)
            if mode == "compiled":
                network.compile(fullgraph=True)
            step = make_step(network, images, labels)
            counts[mode, activation] = count_kernels(step) if mode == "compiled" else ("–", "–")
            steps[mode, activation] = step
    times = time_in_turns(steps, NETWORKS[name])
    return [
        f"| {name} | {setting.images} | {mode} {activation} | {1e3 * seconds:.1f} | "
        f"{seconds / times[mode, 'relu']:.3f} | {' | '.join(counts[mode, activation])} |"
        for (mode, activation), seconds in times.items()
    ]


def time_in_turns(steps: dict[tuple[str, str], Callable[[], None]], rounds: int) -> dict:
    """Return the median seconds of each step; who comes first changes from round to round."""
    times: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
    for round_ in range(rounds + 2):
        for key in list(steps) if round_ % 2 else reversed(steps):
            start = time.perf_counter()
            steps[key]()
            if round_ >= 2:
                times[key].append(time.perf_counter() - start)
    return {key: statistics.median(values) for key, values in times.items()}


def count_kernels(step: Callable[[], None]) -> tuple[str, str]:
    """Return the number of kernels that Inductor generates for a step, and of calls of ours."""
    from torch._inductor.utils import run_and_get_code

    _, codes = run_and_get_code(step)
    generated = sum(len(re.findall(r"^cpp_fused\w* = ", code, re.MULTILINE)) for code in codes)
    ours = sum(len(re.findall(r"= torch\.ops\.pade_bench\.\w+\.default\(", code)) for code in codes)
    return str(generated), str(ours)


def block_table() -> None:
    """Print the times of a block for every variant, each in processes of its own.

    Within one process torch.compile would take the code of one variant for all.
    """
    best: dict[str, list[float]] = {}
    for variant in [*VARIANTS, *reversed(VARIANTS)]:
        done = subprocess.run(
            [sys.executable, __file__, "--variant", variant], capture_output=True, check=True
        )
        times = [float(number) for number in done.stdout.splitlines()[-1].split()]
        best[variant] = [min(pair) for pair in zip(times, best.get(variant, times), strict=True)]
    sizes = [f"{channels} × {side} × {side}" for channels, side in BLOCKS]
    print("| ms per step, 64 images of |", " | ".join(f"{size} | × ReLU" for size in sizes), "|")
    print("|---|" + "--:|" * 2 * len(BLOCKS))
    for variant, label in VARIANTS.items():
        pairs = zip(best[variant], best["relu"], strict=True)
        cells = " | ".join(f"{time:.2f} | {time / relu:.2f}" for time, relu in pairs)
        print(f"| {label} | {cells} |")
    print(flush=True)


def time_variant(variant: str) -> None:
    """Print the milliseconds of a block's step for every size, in one way to divide the unit."""
    torch._inductor.config.force_disable_caches = True  # it does not know the variants
    divide(variant)
    for channels, side in BLOCKS:
        block = nn.Sequential(
            nn.Conv2d(16, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU() if variant == "relu" else PAU(),
            nn.Conv2d(channels, 16, 1, bias=False),
        ).to(memory_format=torch.channels_last)
        x = torch.randn(64, 16, side, side).to(memory_format=torch.channels_last)
        compiled = torch.compile(block, fullgraph=True, dynamic=False)

        def step(compiled: Any = compiled, x: Tensor = x) -> None:
            compiled(x).mean().backward()

        print(f"{1e3 * time_in_turns({('', ''): step}, ROUNDS)['', '']:.3f}", end=" ")


def divide(variant: str) -> None:
    """Choose what Inductor sees of the unit in this process."""
    from torch._inductor.decomposition import register_decomposition

    if variant == "opaque":
        inductor.fusing_operator = torch.compiler.assume_constant_result(lambda _: "pau")
    elif variant not in ("relu", "forward"):
        register = register_decomposition(torch.ops.pade_bench.pau_backward.default)
        register(lambda *arguments: gradients(variant, *arguments))


def gradients(
    variant: str, g: Tensor, x: Tensor, a: Tensor, b: Tensor, form: str, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients as formulas, the sums as the variant has them."""
    dx, da, db = reference._gradient_terms(g, x, a.unbind(), b.unbind(), form)
    if variant == "dx":
        return dx, *torch.ops.pade_bench_trial.sums(g, x, a, b, form)
    if variant == "stacked":
        sums = torch.stack([*da, *db]).flatten(1).sum(1)
        return dx, sums[: len(da)], sums[len(da) :]
    dtype = torch.float64 if variant == "all64" else torch.float32
    of_a, of_b = (torch.stack([t.sum(dtype=dtype) for t in terms]) for terms in (da, db))
    return dx, of_a.float(), of_b.float()


TRIAL = torch.library.Library("pade_bench_trial", "DEF")
TRIAL.define("sums(Tensor g, Tensor x, Tensor a, Tensor b, str form) -> (Tensor, Tensor)")
TRIAL.impl(
    "sums", lambda g, x, *unit: cpu.backward(g, x, Unit(*unit))[1:], "CompositeExplicitAutograd"
)
torch.library.register_fake(
    "pade_bench_trial::sums",
    lambda g, x, a, b, form: (torch.empty_like(a), torch.empty_like(b)),
    lib=TRIAL,
)

# glibc gives large blocks back to the system at once, and the page faults of getting them again
# take more time than what is measured, and vary. These settings keep them.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 28),
}

if __name__ == "__main__":
    if KEEP_MEMORY.keys() - os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    if sys.argv[1:2] == ["--variant"]:
        time_variant(sys.argv[2])
    else:
        main(sys.argv[1:])
