"""How long a unit takes beside ReLU and PReLU: a call, and its kernels."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import torch
from torch import nn

from pade_bench.activations import PAU, RPAU
from pade_bench.gpu_check.clock import Call, device_milliseconds, wall_milliseconds
from pade_bench.gpu_check.kernels import NOISE, operands
from pade_bench.gpu_check.outcome import Outcome
from pade_bench.ops import Unit, cuda

UNITS = {"ReLU": nn.ReLU, "SiLU": nn.SiLU, "PReLU": nn.PReLU, "PAU": PAU, "RPAU": RPAU}
# Device time of both passes against ReLU's, at 64 M elements.
TARGETS = {
    ("PAU", torch.float32): 1.05,
    ("PAU", torch.bfloat16): 1.25,
    ("RPAU", torch.float32): 2.2,
    ("RPAU", torch.bfloat16): 3.5,
}
TARGET_SIZE = 1 << 26


def calls(
    out: Outcome, device: torch.device, n: int = 4096, in_a_row: int = 100, rounds: int = 21
) -> None:
    """Time forward and backward through autograd of ``n`` elements, as the program sees it.

    Contestants take turns, as the host may be faster at one time than at another.
    """
    x = torch.randn(n, device=device, requires_grad=True)
    grad = torch.randn(n, device=device)

    def both_passes_of(module: nn.Module) -> Call:
        return lambda: module(x).backward(grad)

    a, b = (parameter.detach() for parameter in PAU().to(device).parameters())
    unit, plain = Unit(a, b), x.detach()
    contestants: dict[str, Call] = {
        **{name: both_passes_of(make().to(device)) for name, make in UNITS.items()},
        "torch.empty_like": lambda: torch.empty_like(plain),
        "torch.relu": lambda: torch.relu(plain),
        "cuda.forward": lambda: cuda.forward(plain, unit),
        "cuda.backward": lambda: cuda.backward(grad, plain, unit),
    }
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            found[name].append(1e3 * wall_milliseconds(call, device, in_a_row, 1))
    times = {name: statistics.median(values) for name, values in found.items()}
    for name, time in times.items():
        row = {"call": name, "elements": n, "µs": time}
        if name in UNITS:
            row["× ReLU"] = time / times["ReLU"]
        if name == "PAU":
            row |= {"target": "≤ PReLU", "met": time <= times["PReLU"]}
        out.table.append(row)


def passes(
    out: Outcome,
    device: torch.device,
    sizes: Iterable[int] = (1 << 20, 1 << 24, TARGET_SIZE),
    repeats: int = 50,
) -> None:
    """Time each pass on the device, beside ReLU and a copy."""
    for n in sizes:
        for dtype in (torch.float32, torch.bfloat16):
            _passes(out, device, n, dtype, repeats)


def _passes(out: Outcome, device: torch.device, n: int, dtype: torch.dtype, repeats: int) -> None:
    x, grad, a, b = operands(n, dtype, device)
    y, pau = torch.empty_like(x), Unit(a, b)
    rpau = pau._replace(noise_state=torch.tensor([1, 0], device=device), noise=NOISE)
    timed: dict[tuple[str, str], tuple[int, Call]] = {
        ("copy", ""): (2, lambda: y.copy_(x)),
        ("ReLU", "forward"): (2, lambda: torch.relu(x)),
        ("PAU", "forward"): (2, lambda: cuda.forward(x, pau)),
        ("RPAU", "forward"): (2, lambda: cuda.forward(x, rpau)),
        ("ReLU", "backward"): (3, lambda: torch.ops.aten.threshold_backward(grad, x, 0)),
        ("PAU", "backward"): (3, lambda: cuda.backward(grad, x, pau)),
        ("RPAU", "backward"): (3, lambda: cuda.backward(grad, x, rpau)),
    }
    times = {key: device_milliseconds(call, device, repeats) for key, (_, call) in timed.items()}

    def row(unit: str, name: str, time: float, tensors: int, relu: float | None) -> dict:
        return {
            "pass": f"{unit} {name}".strip(),
            "type": str(dtype)[6:],
            "elements": n,
            "ms": time,
            "GB/s": tensors * n * x.element_size() / time / 1e6,
            "× ReLU": time / relu if relu else None,
        }

    for (unit, name), time in times.items():
        out.table.append(row(unit, name, time, timed[unit, name][0], times.get(("ReLU", name))))
    both = {u: times[u, "forward"] + times[u, "backward"] for u in ("ReLU", "PAU", "RPAU")}
    for unit, time in both.items():
        found = row(unit, "both", time, 5, both["ReLU"])
        if n == TARGET_SIZE and (limit := TARGETS.get((unit, dtype))):
            found |= {"target": f"≤ {limit}", "met": time <= limit * both["ReLU"]}
        out.table.append(found)
