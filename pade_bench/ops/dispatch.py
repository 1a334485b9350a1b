"""Which implementation of the Padé unit a call goes to, and how it is differentiated.

``apply`` takes the first of these that can serve:

- the formula, in ordinary operators, where a function transform (vmap, torch.func, forward-mode
  differentiation, export, tracing) or a kind of tensor that knows only those listens;
- torch's operators ``pade_bench::pau`` and ``pade_bench::pau_backward``, which torch.compile, fake
  tensors, DTensors and dispatch modes understand;
- the kernel for the device itself, under one autograd node, where nothing but autograd listens: a
  call through torch's dispatcher costs more than a kernel takes for some thousand elements.

Autocast has no rule for the unit, so the output keeps the type of ``x`` whatever the type of the
coefficients. For the backward pass the input and the coefficients are kept, nothing else: RPAU's
noise is drawn again from its state.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from pade_bench.ops import cpu, cuda, inductor, reference
from pade_bench.ops.build import BuildError
from pade_bench.ops.unit import Unit, check

# A unit is flat here: the dispatcher and autograd see only tensors that are arguments of their own.
_ARGUMENTS = (
    "Tensor x, Tensor numerator, Tensor denominator, str form, Tensor? noise_state, float noise"
)
_library = torch.library.Library("pade_bench", "DEF")

_KERNELS = {"cpu": cpu, "cuda": cuda}
_unavailable: set[str] = set()  # types of device whose kernel failed: asked once in a process


def apply(x: Tensor, unit: Unit) -> Tensor:
    """Return F(x), differentiable; of the shape, type and memory layout of ``x``.

    Raises:
        TypeError: see ``check``.
        ValueError: see ``check``.
    """
    if torch.compiler.is_compiling() or _is_transformed():
        return _apply_unusual(x, unit)
    return _apply_direct(x, *unit)


def backend(device: torch.device | str) -> str:
    """Return which implementation runs on ``device``: ``"cuda"``, ``"cpu"`` or ``"reference"``.

    Found out by running it, which compiles the kernel where that has not happened yet.
    """
    device = torch.device(device)
    if device.type not in _KERNELS:
        return "reference"
    numerator, denominator = torch.zeros(6, device=device), torch.zeros(4, device=device)
    _forward(numerator, numerator, denominator)
    return "reference" if device.type in _unavailable else device.type


def _is_transformed() -> bool:
    """Whether a function transform listens, which can only see through ordinary operators."""
    return (
        torch._C._functorch.maybe_current_level() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    )


# What a tensor may be besides its storage on a device: a leaf or not, and subject to autocast.
_ORDINARY = torch._C._dispatch_keys(torch.empty(0)).raw_repr()
for _key in ("CUDA", "AutogradCUDA", "AutocastCUDA"):
    _ORDINARY |= torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _key)).raw_repr()
_EXTRAORDINARY = ~_ORDINARY


def _is_extraordinary(*tensors: Tensor) -> bool:
    """Whether a tensor is more than memory on a device, or a dispatch mode must see the call.

    Such a tensor is a subclass of its own, nested, sparse, a negated or conjugated view of other
    memory, or has none.
    """
    keys = torch._C._dispatch_keys
    return torch._C._len_torch_dispatch_stack() > 0 or any(
        keys(tensor).raw_repr() & _EXTRAORDINARY for tensor in tensors
    )


def _knows_operators(x: Tensor) -> bool:
    """Whether the kind of tensor that ``x`` is knows what to do with a registered operator."""
    kind = type(x)
    if x.is_nested or x.layout is not torch.strided:
        return False
    if kind.__torch_dispatch__ is Tensor.__torch_dispatch__:
        return True
    # FakeTensor and FunctionalTensor of torch.compile, DTensor and what its collectives return.
    return kind.__module__.startswith(("torch._subclasses.", "torch.distributed."))


def _apply_unusual(x: Tensor, unit: Unit) -> Tensor:
    """Return F(x) where something besides autograd must see the call."""
    check(x, unit)
    exporting = torch.compiler.is_exporting()
    if torch.compiler.is_compiling() and not exporting:
        # RPAU in training stays opaque to Inductor: its noise needs the kernel's generator.
        fuses = unit.noise_state is None
        name = inductor.fusing_operator(_define_forward) if fuses else "pau"
        return getattr(torch.ops.pade_bench, name)(x, *unit)
    if not (exporting or _is_transformed()) and _knows_operators(x):
        return torch.ops.pade_bench.pau(x, *unit)
    if x.is_nested:
        if unit.noise_state is not None:
            raise TypeError(
                "RPAU draws its noise by the position in memory, and a nested tensor has no such "
                "order: apply the unit to x.values()"
            )
    elif x.layout is not torch.strided:
        x = x.to_dense()  # F(0) is not 0: of a sparse tensor every element counts
    return reference.formula(x, unit)


def _apply_direct(x: Tensor, *rest: Any) -> Tensor:
    """Return F(x) by a kernel under an autograd node, if nothing else must see the call."""
    unit = Unit(*rest)
    check(x, unit)
    if _is_extraordinary(x, unit.numerator, unit.denominator):
        return _apply_unusual(x, unit)
    return _Direct.apply(x, *rest)


class _Direct(torch.autograd.Function):
    """The operators without the dispatcher."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        _keep(ctx, arguments, None)
        return _forward(*arguments)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (grad,) = grads
        arguments = (grad, *_kept(ctx))
        if _is_transformed() or torch._C._functorch.is_legacy_batchedtensor(grad):
            gradients = _formula_gradients(*arguments)
        elif torch.is_grad_enabled() or _is_extraordinary(grad):
            gradients = torch.ops.pade_bench.pau_backward(*arguments)
        else:
            gradients = _backward(*arguments)
        return (*gradients, None, None, None)


def _formula_gradients(grad: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return reference.gradients(grad, x, Unit(*rest))


def _forward(x: Tensor, *rest: Any) -> Tensor:
    return _compute("forward", x, x, Unit(*rest))


def _backward(grad: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _compute("backward", x, grad, x, Unit(*rest))


def _compute(operation: str, x: Tensor, *arguments: Any) -> Any:
    """Call ``operation`` of the kernel for the device of ``x``, or else of the reference."""
    device = x.device.type
    kernel = _KERNELS.get(device)
    if kernel is not None and device not in _unavailable:
        try:
            return getattr(kernel, operation)(*arguments)
        except (BuildError, cuda.CudaKernelError) as error:
            _unavailable.add(device)
            warnings.warn(
                f"the Padé unit runs in plain torch on this {device} device, many times slower "
                f"than its kernel: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
    return getattr(reference, operation)(*arguments)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Keep the arguments of either operator for its backward pass."""
    *tensors, ctx.form, noise_state, ctx.noise = inputs
    ctx.save_for_backward(*tensors, noise_state)


def _kept(ctx: Any) -> tuple[Any, ...]:
    *tensors, noise_state = ctx.saved_tensors
    return (*tensors, ctx.form, noise_state, ctx.noise)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return (*torch.ops.pade_bench.pau_backward(grad, *_kept(ctx)), None, None, None)


def _differentiate_twice(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
    """Differentiate the reference's explicit gradients, which serves any further order too."""
    inputs, needed = _kept(ctx), ctx.needs_input_grad[:4]
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        outputs = _formula_gradients(*inputs)
    wanted = [tensor for tensor, need in zip(inputs, needed, strict=False) if need]
    found = iter(torch.autograd.grad(outputs, wanted, grads, create_graph=create_graph))
    return (*(next(found) if need else None for need in needed), None, None, None)


def _fake_forward(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _fake_backward(
    grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(numerator), torch.empty_like(denominator)


def _register(name: str, implementation: Any, fake: Any, gradient: Any) -> None:
    _library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"pade_bench::{name}", fake, lib=_library)
    torch.library.register_autograd(
        f"pade_bench::{name}", gradient, setup_context=_keep, lib=_library
    )


def _define_forward(name: str) -> None:
    """Define an operator that maps x to F(x)."""
    _library.define(f"{name}({_ARGUMENTS}) -> Tensor")
    _register(name, _forward, _fake_forward, _differentiate)


_define_forward("pau")
_library.define(f"pau_backward(Tensor grad, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)")
_register("pau_backward", _backward, _fake_backward, _differentiate_twice)
