"""Check the CUDA kernels on the GPU of this machine and measure their bandwidth.

    python scripts/gpu_check.py

prints a report in Markdown: agreement with the plain torch reference in float64, bitwise
repetition, stream order, capture in a CUDA graph, and the time of each pass against ``torch.relu``
and a copy on the device. Exit status: 0 if all holds, 1 if something does not, 2 without a GPU,
since then nothing was checked.
"""

from __future__ import annotations

import hashlib
import itertools
import platform
import statistics
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from pade_bench.ops import FORMS, Unit, cuda
from pade_bench.ops.reference import formula
from pade_bench.ops.unit import compute_dtype

# Largest ‖Δ‖ / ‖reference‖ allowed: of y and dx, and of the coefficients' gradients.
LIMITS = {
    torch.float32: (1e-6, 1e-5),
    torch.float64: (1e-14, 1e-13),
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (5e-3, 1e-5),
}
NOISE = 0.1


def operands(n: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, the gradient of y, a and b; the unsafe form has no pole at these b."""
    generator = torch.Generator().manual_seed(0)  # of the CPU: the same numbers for every GPU
    x, grad = (torch.randn(n, generator=generator).to(device, dtype) for _ in range(2))
    compute = compute_dtype(dtype)
    a = torch.tensor([0.03, 0.62, 1.8, 1.3, 0.4, 0.04], dtype=compute, device=device)
    b = torch.tensor([0.1, 1.2, 0.05, 0.2], dtype=compute, device=device)
    return x, grad, a, b


def both_passes(
    x: Tensor,
    grad: Tensor,
    a: Tensor,
    b: Tensor,
    form: str = FORMS[0],
    noise_state: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y, dx, da and db of the CUDA kernels, of RPAU where ``noise_state`` is given."""
    unit = Unit(a, b, form, noise_state, NOISE)
    return cuda.forward(x, unit), *cuda.backward(grad, x, unit)


def agreement(n: int, device: str) -> list[tuple[str, str, bool]]:
    """Compare both units in every type and form with the reference in float64."""
    state = torch.tensor([1, 2], device=device)
    rows = []
    for dtype, form, unit in itertools.product(LIMITS, FORMS, ("PAU", "RPAU")):
        x, grad, a, b = operands(n, dtype, device)
        x64, a64, b64 = (t.double().requires_grad_() for t in (x, a, b))
        noise_state = state if unit == "RPAU" else None
        y = formula(x64, Unit(a64, b64, form, noise_state, NOISE))
        results = both_passes(x, grad, a, b, form, noise_state)
        references = (y.detach(), *torch.autograd.grad(y, (x64, a64, b64), grad.double()))
        errors = {
            name: ((result.double() - reference).norm() / reference.norm()).item()
            for name, result, reference in zip(
                ("y", "dx", "a", "b"), results, references, strict=True
            )
        }
        elements, sums = LIMITS[dtype]
        ok = max(errors["y"], errors["dx"]) <= elements and max(errors["a"], errors["b"]) <= sums
        text = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        rows.append((f"{unit}, {str(dtype)[6:]}, {form}", text, ok))
    return rows


def repetition(n: int, device: str) -> list[tuple[str, str, bool]]:
    """Run twice, and on a slice that is not aligned: the same bits each time.

    The digest is that of the results, for a comparison with another GPU.
    """
    x, grad, a, b = operands(n, torch.float32, device)
    first = both_passes(x, grad, a, b)
    shifted = torch.empty(n + 1, device=device)[1:].copy_(x)
    same = all(
        torch.equal(left, right)
        for other in (
            both_passes(x, grad, a, b),
            both_passes(shifted, grad, a, b),
        )
        for left, right in zip(first, other, strict=True)
    )
    digest = hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in first)).hexdigest()
    return [("bitwise the same when repeated and on a slice", f"digest {digest[:16]}", same)]


def stream_order(n: int) -> list[tuple[str, str, bool]]:
    """Change x late on a side stream: the kernel, on that stream too, must see the change."""
    x, _, a, b = operands(n, torch.float32, "cuda")
    late = -x
    unit = Unit(a, b)
    wanted = cuda.forward(late, unit)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)  # clock cycles, some 50 ms
        x.copy_(late)
        y = cuda.forward(x, unit)
    side.synchronize()
    return [("runs on torch's current stream", "", torch.equal(y, wanted))]


def graph_capture(n: int) -> list[tuple[str, str, bool]]:
    """Capture both passes, replay on other values and other noise, compare with plain calls."""
    x, grad, a, b = operands(n, torch.float32, "cuda")
    state = torch.tensor([1, 0], device="cuda")
    rows = []
    for name, noise in (("PAU", None), ("RPAU", state)):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            both_passes(x, grad, a, b, noise_state=noise)  # compiles and loads
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = both_passes(x, grad, a, b, noise_state=noise)
        x.neg_()
        state.add_(1)
        graph.replay()
        plain = both_passes(x, grad, a, b, noise_state=noise)
        same = all(torch.equal(left, right) for left, right in zip(captured, plain, strict=True))
        rows.append((f"{name} in a CUDA graph", "", same))
    return rows


def milliseconds(call: Callable[[], object], repeats: int = 50) -> float:
    """Return the median time of ``call`` on the device, without that of Python's launches."""
    for _ in range(5):
        call()
    times = []
    for _ in range(repeats):
        torch.cuda._sleep(1_000_000)  # clock cycles in which the host queues what follows
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def bandwidth(n: int, dtype: torch.dtype) -> list[str]:
    """Return rows of the table of times: one for each pass, beside ReLU and a copy."""
    x, grad, a, b = operands(n, dtype, "cuda")
    y, pau = torch.empty_like(x), Unit(a, b)
    rpau = pau._replace(noise_state=torch.tensor([1, 0], device="cuda"), noise=NOISE)
    passes: list[tuple[str, int, Callable[[], object]]] = [
        ("copy", 2, lambda: y.copy_(x)),
        ("ReLU forward", 2, lambda: torch.relu(x)),
        ("PAU forward", 2, lambda: cuda.forward(x, pau)),
        ("RPAU forward", 2, lambda: cuda.forward(x, rpau)),
        ("ReLU backward", 3, lambda: torch.ops.aten.threshold_backward(grad, x, 0)),
        ("PAU backward", 3, lambda: cuda.backward(grad, x, pau)),
        ("RPAU backward", 3, lambda: cuda.backward(grad, x, rpau)),
    ]
    rows, relu = [], 1.0
    for name, tensors_moved, call in passes:
        time = milliseconds(call)
        if name.startswith("ReLU"):
            relu = time
        against = "" if name == "copy" else f"{time / relu:.2f}"
        rate = tensors_moved * n * x.element_size() / time / 1e6
        rows.append(f"| {name} | {str(dtype)[6:]} | {n:,} | {time:.4f} | {rate:,.0f} | {against} |")
    return rows


def main() -> int:
    """Print the report and return the exit status."""
    if not torch.cuda.is_available():
        print("gpu_check: torch finds no CUDA device, so nothing was checked.")
        return 2
    import cupy

    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    print(f"# CUDA kernels on {name}\n")
    print(
        f"sm_{capability[0]}{capability[1]}, torch {torch.__version__}, CuPy {cupy.__version__}, "
        f"Python {platform.python_version()}\n"
    )
    n = 1_000_003
    rows = [
        *agreement(n, "cuda"),
        *repetition(n, "cuda"),
        *stream_order(n),
        *graph_capture(n),
    ]
    print(f"## Checks, {n:,} elements\n\n| check | | |\n|---|---|---|")
    for check, detail, ok in rows:
        print(f"| {check} | {detail} | {'yes' if ok else '**NO**'} |")
    print("\n## Time, medians of 50 on the device\n")
    print("| pass | type | elements | ms | GB/s | × ReLU |\n|---|---|---|---|---|---|")
    for size in (1 << 20, 1 << 24, 1 << 26):
        for dtype in (torch.float32, torch.bfloat16):
            print("\n".join(bandwidth(size, dtype)))
    return 0 if all(ok for *_, ok in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
