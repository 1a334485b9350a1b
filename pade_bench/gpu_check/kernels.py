"""Whether the CUDA kernels are right: sizes, types, layouts, streams, graphs."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

import torch
from torch import Tensor

from pade_bench import functional
from pade_bench.gpu_check.outcome import Outcome
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
NAMES = ("y", "dx", "a", "b")
HUGE = 2**31 + 3  # elements: their numbers do not fit 32 bits
WINDOW = 1_000_003


def operands(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Return x, the gradient of y, a and b; the unsafe form has no pole at these b."""
    generator = torch.Generator().manual_seed(0)  # of the CPU: the same numbers for every GPU
    x, grad = (torch.randn(n, generator=generator).to(device, dtype) for _ in range(2))
    return x, grad, *coefficients(dtype, device)


def coefficients(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a and b."""
    compute = compute_dtype(dtype)
    a = torch.tensor([0.03, 0.62, 1.8, 1.3, 0.4, 0.04], dtype=compute, device=device)
    return a, torch.tensor([0.1, 1.2, 0.05, 0.2], dtype=compute, device=device)


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


def agreement(
    out: Outcome,
    device: torch.device,
    n: int = WINDOW,
    small: Iterable[int] = (0, 1, 3, 1003),
) -> None:
    """Compare both units in every type and form with the reference in float64."""
    for dtype, form, unit in itertools.product(LIMITS, FORMS, ("PAU", "RPAU")):
        _compare(out, device, n, dtype, form, unit)
    for dtype, size in itertools.product(LIMITS, small):
        _compare(out, device, size, dtype, FORMS[0], "PAU")


def _compare(
    out: Outcome, device: torch.device, n: int, dtype: torch.dtype, form: str, unit: str
) -> None:
    x, grad, a, b = operands(n, dtype, device)
    state = torch.tensor([1, 2], device=device) if unit == "RPAU" else None
    x64, a64, b64 = (t.double().requires_grad_() for t in (x, a, b))
    y = formula(x64, Unit(a64, b64, form, state, NOISE))
    references = (y.detach(), *torch.autograd.grad(y, (x64, a64, b64), grad.double()))
    errors = {
        name: _error(result, reference)
        for name, result, reference in zip(
            NAMES, both_passes(x, grad, a, b, form, state), references, strict=True
        )
    }
    elements, sums = LIMITS[dtype]
    holds = max(errors["y"], errors["dx"]) <= elements and max(errors["a"], errors["b"]) <= sums
    text = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    out.check(f"{unit}, {str(dtype)[6:]}, {form}, {n:,} elements", text, holds)


def _error(result: Tensor, reference: Tensor) -> float:
    """Return ‖Δ‖ / ‖reference‖, and infinity where something is not finite."""
    size = reference.norm().item()
    error = (result.double() - reference).norm().item()
    return (error / size if size else error) if error == error else float("inf")


def repetition(out: Outcome, device: torch.device, n: int = WINDOW) -> None:
    """Run twice, and on a slice that is not aligned: the same bits each time.

    The digest is that of the results, for a comparison with another GPU.
    """
    x, grad, a, b = operands(n, torch.float32, device)
    first = both_passes(x, grad, a, b)
    shifted = torch.empty(n + 1, device=device)[1:].copy_(x)
    same = all(
        torch.equal(left, right)
        for other in (both_passes(x, grad, a, b), both_passes(shifted, grad, a, b))
        for left, right in zip(first, other, strict=True)
    )
    digest = hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in first)).hexdigest()
    out.check("bitwise the same when repeated and on a slice", f"digest {digest[:16]}", same)


def layouts(out: Outcome, device: torch.device, dtypes: Iterable[torch.dtype] = LIMITS) -> None:
    """Compare tensors of other layouts with their contiguous copies, through autograd."""
    for dtype in dtypes:
        image = operands(8 * 6 * 16 * 16, dtype, device)[0].view(8, 6, 16, 16)
        others = {
            "channels_last": image.contiguous(memory_format=torch.channels_last),
            "transposed": image.transpose(0, 3),
            "with gaps": image[:, ::2],
            "not aligned": image.flatten()[1:],
            "expanded": image[:1].expand(4, -1, -1, -1),
        }
        for name, x in others.items():
            found, expected = _gradients(x), _gradients(x.contiguous())
            elements = all(torch.equal(*pair) for pair in zip(found[:2], expected[:2], strict=True))
            error = max(_error(f, e.double()) for f, e in zip(found[2:], expected[2:], strict=True))
            holds = elements and error <= LIMITS[dtype][1]
            out.check(f"{name}, {str(dtype)[6:]}", f"coefficients {error:.1e}", holds)


def _gradients(x: Tensor) -> tuple[Tensor, ...]:
    """Return y, dx, da and db of the unit of the library, whatever computes it."""
    x = x.detach().requires_grad_()
    a, b = (t.requires_grad_() for t in coefficients(x.dtype, x.device))
    y = functional.pau(x, a, b)
    grad = torch.linspace(-1, 1, y.numel(), device=x.device).to(x.dtype).view(y.shape)
    return y.detach(), *torch.autograd.grad(y, (x, a, b), grad)


def huge(out: Outcome, device: torch.device, n: int = HUGE, window: int = WINDOW) -> None:
    """Compare the ends of a tensor of more than 2^31 elements with calls on them alone."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2**40
    needed = 5 * 2 * n  # bytes: x, its gradient and two of results in 16 bits, and some room
    if free < needed:
        out.notes.append(f"Left out: {free >> 30} GiB are free, {needed >> 30} GiB needed.")
        return
    a, b = coefficients(torch.bfloat16, device)
    unit = Unit(a, b)
    x = torch.empty(n, dtype=torch.bfloat16, device=device).uniform_(-3, 3)
    grad = torch.empty_like(x).uniform_(-1, 1)
    for name, call in (
        ("forward", lambda at: cuda.forward(x[at], unit)),
        ("backward", lambda at: cuda.backward(grad[at], x[at], unit)[0]),
    ):
        whole = call(slice(None))
        ends = (slice(window), slice(n - window, n))
        same = all(torch.equal(whole[at], call(at)) for at in ends)
        out.check(f"{name} of {n:,} elements, bfloat16: the first and last {window:,}", "", same)
        del whole


def stream_order(out: Outcome, device: torch.device, n: int = WINDOW) -> None:
    """Change x late on a side stream: the kernel, on that stream too, must see the change."""
    x, _, a, b = operands(n, torch.float32, device)
    late, unit = -x, Unit(a, b)
    wanted = cuda.forward(late, unit)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)  # clock cycles, some 50 ms
        x.copy_(late)
        y = cuda.forward(x, unit)
    side.synchronize()
    out.check("runs on torch's current stream", "", torch.equal(y, wanted))


def graph_capture(out: Outcome, device: torch.device, n: int = WINDOW) -> None:
    """Capture both passes, replay on other values and other noise, compare with plain calls."""
    x, grad, a, b = operands(n, torch.float32, device)
    state = torch.tensor([1, 0], device=device)
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
        out.check(f"{name} in a CUDA graph", "", same)
