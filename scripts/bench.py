"""Time the Padé unit beside other activations, forward and backward: ``python scripts/bench.py``.

Every contestant handles the same tensor. They take turns within one run, so that whatever else the
machine does hits all alike, and the figure of merit is the ratio of their median times to that of
``torch.relu``, with the 10 % and 90 % quantiles of the ratio within a round. Written to
``benchmarks/``: all figures (CSV), a table of the ratios (Markdown) and a plot (PNG).

``rational-activations`` 0.2.0 asks for torch 1.7.1; ``pip install --no-deps rational-activations``
gets round that. Without it its row is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from plot_bench import plot
from torch import Tensor, nn

from pade_bench import PAU, RPAU, ops
from pade_bench.ops import Unit, reference
from pade_bench.training.provenance import device_name

SIZES = {"1 k": 1 << 10, "10 k": 10_240, "100 k": 102_400, "1 M": 1 << 20, "16 M": 1 << 24}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
CHANNELS = 16
# Above, rational-activations would take minutes and tens of gigabytes.
LARGEST_FOR_RATIONAL = 1 << 20
BASELINE = "ReLU"


class Formula(PAU):
    """The unit by an implementation of its formula in plain torch."""

    def __init__(self, formula: Callable[[Tensor, Unit], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        return self.formula(x, Unit(self.numerator, self.denominator, self.form))


def contestants(size: int, layout: str) -> dict[str, nn.Module]:
    """Return the activations that compete."""
    modules: dict[str, nn.Module] = {
        BASELINE: nn.ReLU(),
        "SiLU": nn.SiLU(),
        "PReLU": nn.PReLU(),
        "PAU (ours)": PAU(),
        "RPAU (ours)": RPAU(),
        "PAU, eager formula": Formula(reference.formula),
        "PAU, torch.compile": Formula(torch.compile(reference.formula, dynamic=False)),
    }
    if size <= LARGEST_FOR_RATIONAL and layout == "contiguous":  # all that it takes
        try:
            from rational.torch import Rational

            modules["rational-activations"] = Rational(
                "leaky_relu", degrees=(5, 4), cuda=torch.cuda.is_available(), version="B"
            )
        except ImportError:
            pass
    return modules


class Result(NamedTuple):
    """One line of the CSV."""

    activation: str
    elements: int
    layout: str
    median_ms: float
    ratio: float  # of the medians, to ReLU
    ratio_p10: float
    ratio_p90: float
    peak_memory_bytes: int | None  # beside the input and the gradient of the output
    rounds: int


def forget(module: nn.Module, x: Tensor) -> None:
    """Drop all gradients."""
    x.grad = None
    module.zero_grad()


def step(module: nn.Module, x: Tensor, grad: Tensor) -> None:
    """Run forward and backward, which leaves the gradients in x and the parameters."""
    module(x).backward(grad)
    if x.is_cuda:
        torch.cuda.synchronize()


def peak_memory(module: nn.Module, x: Tensor, grad: Tensor) -> int | None:
    """Return the bytes that one step takes at its peak; ``None`` where that cannot be measured."""
    step(module, x, grad)
    forget(module, x)
    if x.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(module, x, grad)
        return torch.cuda.max_memory_allocated() - before
    if platform.system() != "Linux":
        return None
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # give back what malloc has kept
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts from here
    before = _resident("VmRSS")
    step(module, x, grad)
    return max(_resident("VmHWM") - before, 0)


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def measure(size: int, layout: str, seconds: float, device: torch.device) -> Iterator[Result]:
    """Let all contestants take turns for about ``seconds``, ten rounds at least."""
    torch._dynamo.reset()
    shape = (4, CHANNELS, -1, 8)
    x, grad = (
        torch.randn(size, device=device).reshape(shape).to(memory_format=LAYOUTS[layout])
        for _ in range(2)
    )
    x.requires_grad_()
    modules = {name: module.to(device) for name, module in contestants(size, layout).items()}
    memory = {name: peak_memory(module, x, grad) for name, module in modules.items()}

    times: dict[str, list[float]] = {name: [] for name in modules}
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(times[BASELINE]) < 10:
        for name, module in modules.items():
            step(module, x, grad)  # untimed: the others have emptied the caches
            forget(module, x)
            start = time.perf_counter()
            step(module, x, grad)
            times[name].append(time.perf_counter() - start)
            forget(module, x)
    baseline = statistics.median(times[BASELINE])
    for name, values in times.items():
        ratios = [t / r for t, r in zip(values, times[BASELINE], strict=True)]
        deciles = statistics.quantiles(ratios, n=10)
        median = statistics.median(values)
        yield Result(
            name,
            size,
            layout,
            median * 1e3,
            median / baseline,
            deciles[0],
            deciles[-1],
            memory[name],
            len(values),
        )


def environment(device: torch.device) -> str:
    """Return hardware and versions in a line."""
    hardware = device_name(device)
    if device.type == "cpu":
        hardware += f", {torch.get_num_threads()} thread(s)"
    return (
        f"{hardware}; torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.system()}; kernel path: {ops.backend(device)}"
    )


def table(results: list[Result], where: str) -> str:
    """Return the ratios and peak memories as Markdown."""
    lines = [
        "# Activation functions, forward and backward, against ReLU",
        "",
        f"{where}. float32. Ratio of median times to `torch.relu`, in brackets the 10 % and 90 % "
        "quantiles of the ratio within a round; then the peak memory of a step in bytes per "
        "element. Made by `python scripts/bench.py`.",
    ]
    names = list(dict.fromkeys(result.activation for result in results))
    if "rational-activations" in names:
        lines[-1] += (
            f" rational-activations {version('rational-activations')} takes no channels_last; "
            "above 1 M it was not run."
        )
    else:
        lines[-1] += " rational-activations is not installed, so that its row is missing."
    cells = {(r.activation, r.elements, r.layout): r for r in results}
    sizes = sorted({result.elements for result in results})
    labels = {size: label for label, size in SIZES.items()}
    for layout in dict.fromkeys(result.layout for result in results):
        lines += [
            "",
            f"## {layout}",
            "",
            f"| | {' | '.join(labels[size] for size in sizes)} |",
            f"|---|{'---|' * len(sizes)}",
        ]
        for name in names:
            row = [_cell(cells.get((name, size, layout))) for size in sizes]
            lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _cell(result: Result | None) -> str:
    if result is None:
        return "–"
    text = f"{result.ratio:.2f} [{result.ratio_p10:.2f}, {result.ratio_p90:.2f}]"
    if result.peak_memory_bytes is not None and result.elements >= 1 << 20:
        text += f", {result.peak_memory_bytes / result.elements:.0f} B"
    return text


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=10.0, help="per size and layout")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)

    where, results = environment(device), []
    for label in arguments.sizes:
        for layout in LAYOUTS:
            for result in measure(SIZES[label], layout, arguments.seconds, device):
                results.append(result)
                print(f"{label:>6} {layout:14} {result.activation:22} {_cell(result)}", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"activations_{device.type}"
    with stem.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*Result._fields, "environment"])
        writer.writerows([*result, where] for result in results)
    stem.with_suffix(".md").write_text(table(results, where), encoding="utf-8")
    plot(stem.with_suffix(".csv"))
    print(f"wrote {stem}.csv, .md and .png", file=sys.stderr)


if __name__ == "__main__":
    main()
