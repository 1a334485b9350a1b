"""Which implementation computes a Padé unit on a device: its kernel, or else the reference."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from pade_bench.ops import cpu, cuda, node, reference
from pade_bench.ops.build import BuildError
from pade_bench.ops.unit import Unit

_KERNELS = {"cpu": cpu, "cuda": cuda}
_unavailable: set[str] = set()  # types of device whose kernel failed: asked once in a process


def forward(x: Tensor, unit: Unit) -> Tensor:
    """Return F(x), in the type and memory layout of ``x``; not differentiable."""
    return _compute("forward", x, x, unit)


def backward(grad: Tensor, x: Tensor, unit: Unit) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, the numerator and the denominator, each in its tensor's type."""
    return _compute("backward", x, grad, x, unit)


def backend(device: torch.device | str) -> str:
    """Return which implementation runs on ``device``: ``"cuda"``, ``"cpu"`` or ``"reference"``.

    Found out by running it, which compiles the kernel where that has not happened yet.
    """
    device = torch.device(device)
    if device.type not in _KERNELS:
        return "reference"
    numerator, denominator = torch.zeros(6, device=device), torch.zeros(4, device=device)
    forward(numerator, Unit(numerator, denominator))
    return "reference" if device.type in _unavailable else device.type


def _compute(operation: str, x: Tensor, *arguments: Any) -> Any:
    """Call ``operation`` of the kernel for the device of ``x``, or else of the reference."""
    device = x.device.type
    kernel = _KERNELS.get(device)
    if kernel is not None and device not in _unavailable:
        try:
            result = getattr(kernel, operation)(*arguments)
            node.offer(kernel, x, arguments[-1])
            return result
        except (BuildError, cuda.CudaKernelError) as error:
            _unavailable.add(device)
            warnings.warn(
                f"the Padé unit runs in plain torch on this {device} device, many times slower "
                f"than its kernel: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
    return getattr(reference, operation)(*arguments)
