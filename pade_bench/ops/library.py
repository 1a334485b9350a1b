"""The Padé unit as torch's own operators ``pade_bench::pau`` and ``pade_bench::pau_backward``.

Registered operators are what torch.compile, fake tensors and dispatch modes understand. Autocast
has no rule for them, so the output keeps the type of ``x`` whatever the type of the coefficients.
For the backward pass the input and the coefficients are kept, nothing else: RPAU's noise is drawn
again from its state.

A call through torch's dispatcher and a Python operator costs more than the kernel takes for some
thousand elements, so that ``pau`` calls the kernel directly where nothing but autograd listens.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from pade_bench.ops import cpu, cuda, reference

_ARGUMENTS = (
    "Tensor x, Tensor numerator, Tensor denominator, str form, Tensor? noise_state, float alpha"
)
_library = torch.library.Library("pade_bench", "DEF")
_library.define(f"pau({_ARGUMENTS}) -> Tensor")
_library.define(f"pau_backward(Tensor grad, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)")

_KERNELS = {"cpu": cpu, "cuda": cuda}
_unavailable: set[str] = set()  # types of device whose kernel failed: asked once in a process


def _forward(x: Tensor, *rest: Any) -> Tensor:
    return _compute("forward", x, x, *rest)


def _backward(grad: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _compute("backward", x, grad, x, *rest)


def _compute(operation: str, x: Tensor, *arguments: Any) -> Any:
    """Call ``operation`` of the kernel for the device of ``x``, or else of the reference."""
    device = x.device.type
    kernel = _KERNELS.get(device)
    if kernel is not None and device not in _unavailable:
        try:
            return getattr(kernel, operation)(*arguments)
        except (cpu.CpuKernelError, cuda.CudaKernelError) as error:
            _unavailable.add(device)
            warnings.warn(
                f"the Padé unit runs in plain torch on this {device} device, many times slower "
                f"than its kernel: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
    return getattr(reference, operation)(*arguments)


def backend(device: torch.device | str) -> str:
    """Return which implementation runs on ``device``: ``"cuda"``, ``"cpu"`` or ``"reference"``.

    Found out by running it, which compiles the kernel where that has not happened yet.
    """
    device = torch.device(device)
    if device.type not in _KERNELS:
        return "reference"
    numerator, denominator = torch.zeros(6, device=device), torch.zeros(4, device=device)
    _forward(numerator, numerator, denominator, "abs_of_sum", None, 0.0)
    return "reference" if device.type in _unavailable else device.type


def _needs_formula() -> bool:
    """Whether a function transform listens, which can only see through ordinary operators.

    That is vmap, torch.func and forward-mode differentiation, and the export or tracing of a
    network.
    """
    return (
        torch._C._functorch.maybe_current_level() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or torch.compiler.is_exporting()
        or torch._C._get_tracing_state() is not None
    )


def _needs_operator(x: Tensor) -> bool:
    """Whether something besides autograd must see the call: a subclass of Tensor, a mode."""
    return type(x) not in (Tensor, torch.nn.Parameter) or torch._C._len_torch_dispatch_stack() > 0


def pau(
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    noise_state: Tensor | None = None,
    alpha: float = 0.0,
) -> Tensor:
    """Return F(x), differentiable; see ``pade_bench.functional``, which checks the arguments.

    Args:
        x: any shape; float32, float64, float16 or bfloat16.
        numerator: (m + 1,) coefficients a0 … am.
        denominator: (n,) coefficients b1 … bn.
        form: one of ``FORMS``.
        noise_state: for RPAU in training, see ``noise_state``.
        alpha: relative half-width of RPAU's noise; unused without ``noise_state``.
    """
    arguments = (x, numerator, denominator, form, noise_state, alpha)
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        return torch.ops.pade_bench.pau(*arguments)
    if _needs_formula():
        return _formula(*arguments)
    if _needs_operator(x):
        return torch.ops.pade_bench.pau(*arguments)
    return _Direct.apply(*arguments)


def _formula(*arguments: Any) -> Tensor:
    *unit, noise_state, _ = arguments
    return reference.pau(*unit) if noise_state is None else reference.rpau(*arguments)


def _formula_backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *unit, noise_state, _ = arguments
    if noise_state is None:
        return reference.pau_backward(*unit)
    return reference.rpau_backward(*arguments)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep the arguments of either operator for its backward pass."""
    *tensors, ctx.form, noise_state, ctx.alpha = inputs
    ctx.save_for_backward(*tensors, noise_state)


def _kept(ctx: Any) -> tuple[Any, ...]:
    *tensors, noise_state = ctx.saved_tensors
    return (*tensors, ctx.form, noise_state, ctx.alpha)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return (*torch.ops.pade_bench.pau_backward(grad, *_kept(ctx)), None, None, None)


def _differentiate_twice(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
    """Differentiate the reference's explicit gradients, which serves any further order too."""
    inputs, needed = _kept(ctx), ctx.needs_input_grad[:4]
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        outputs = _formula_backward(*inputs)
    wanted = [tensor for tensor, need in zip(inputs, needed, strict=False) if need]
    found = iter(torch.autograd.grad(outputs, wanted, grads, create_graph=create_graph))
    return (*(next(found) if need else None for need in needed), None, None, None)


class _Direct(torch.autograd.Function):
    """The operator without the dispatcher."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        _keep(ctx, arguments, None)
        return _forward(*arguments)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (grad,) = grads
        if _needs_formula() or torch._C._functorch.is_legacy_batchedtensor(grad):
            gradients = _formula_backward(grad, *_kept(ctx))
        elif _needs_operator(grad) or torch.is_grad_enabled():
            gradients = torch.ops.pade_bench.pau_backward(grad, *_kept(ctx))
        else:
            gradients = _backward(grad, *_kept(ctx))
        return (*gradients, None, None, None)


def _fake_forward(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _fake_backward(
    grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(numerator), torch.empty_like(denominator)


for _name, _implementation, _fake, _gradient in (
    ("pau", _forward, _fake_forward, _differentiate),
    ("pau_backward", _backward, _fake_backward, _differentiate_twice),
):
    _library.impl(_name, _implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"pade_bench::{_name}", _fake, lib=_library)
    torch.library.register_autograd(
        f"pade_bench::{_name}", _gradient, setup_context=_keep, lib=_library
    )
