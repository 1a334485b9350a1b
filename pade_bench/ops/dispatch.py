"""Which way a call of the Padé unit takes, and the autograd node of an ordinary one.

``apply`` takes the first of these that can serve:

- the formula, in ordinary operators, where a function transform (vmap, torch.func, forward-mode
  differentiation, export, tracing) or a kind of tensor that knows only those listens;
- torch's operators, which torch.compile, fake tensors, DTensors and dispatch modes understand;
- the kernel for the device, under one autograd node, where nothing but autograd listens: a call of
  an operator in Python costs more than a kernel takes for some thousand elements. The node is the
  one of ``kernels/pau_node.cpp`` once that and the kernels are loaded, before that, and where it
  cannot be compiled, the one below.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pade_bench.ops import distributed, inductor, node, operators, reference
from pade_bench.ops.unit import Unit, check

_functorch_level, _tracing_state = (
    torch._C._functorch.maybe_current_level,
    torch._C._get_tracing_state,
)


def apply(x: Tensor, unit: Unit) -> Tensor:
    """Return F(x), differentiable; of the shape, type and memory layout of ``x``.

    Raises:
        TypeError: see ``check``.
        ValueError: see ``check``.
    """
    # torch.compiler.is_compiling() in one call of the two that it takes; torch.compile knows it.
    if torch.compiler.is_dynamo_compiling() or torch.compiler._is_compiling_flag:
        return _apply_compiled(x, unit)
    if (  # _is_transformed(), without the call
        _functorch_level() is not None
        or forward_ad._current_level >= 0
        or _tracing_state() is not None
    ):
        check(x, unit)
        return reference.formula(x, unit)
    try:
        return (node.direct or _apply_direct)(x, *unit)
    except (TypeError, RuntimeError):
        check(x, unit)  # says more, where an argument is not what it must be
        raise


def _apply_compiled(x: Tensor, unit: Unit) -> Tensor:
    check(x, unit)
    if torch.compiler._is_exporting_flag:  # Dynamo of torch 2.11 takes is_exporting() for true
        return reference.formula(x, unit)
    # RPAU in training stays opaque to Inductor: its noise needs the kernel's generator.
    fuses = unit.noise_state is None
    name = inductor.fusing_operator(operators.define_forward) if fuses else "pau"
    return getattr(torch.ops.pade_bench, name)(x, *unit)


def _apply_direct(x: Tensor, *rest: Any) -> Tensor:
    """Return F(x) by a kernel under a node in Python, if nothing else must see the call."""
    unit = Unit(*rest)
    check(x, unit)
    if not _is_extraordinary(x, unit.numerator, unit.denominator):
        return _Node.apply(x, *rest)
    if type(x).__module__.startswith("torch.distributed.tensor"):
        return distributed.apply(x, unit)
    if _knows_operators(x):
        return torch.ops.pade_bench.pau(x, *rest)
    if x.is_nested:
        if unit.noise_state is not None:
            raise TypeError(
                "RPAU draws its noise by the position in memory, and a nested tensor has no such "
                "order: apply the unit to x.values()"
            )
    elif x.layout is not torch.strided:
        x = x.to_dense()  # F(0) is not 0: of a sparse tensor every element counts
    return reference.formula(x, unit)


class _Node(torch.autograd.Function):
    """The kernel as a node of autograd."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        operators.setup_context(ctx, arguments, None)
        return operators.forward(*arguments)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return (*_differentiate(*grads, *operators.saved_arguments(ctx)), None, None, None)


def _differentiate(grad: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a node by the formula, the operator or the kernel."""
    if _is_transformed() or torch._C._functorch.is_legacy_batchedtensor(grad):
        return operators.formula_gradients(grad, *arguments)
    if torch.is_grad_enabled() or _is_extraordinary(grad, *arguments[:3]):
        return torch.ops.pade_bench.pau_backward(grad, *arguments)
    return operators.backward(grad, *arguments)


def _is_transformed() -> bool:
    """Whether a function transform listens, which can only see through ordinary operators."""
    return (
        _functorch_level() is not None
        or forward_ad._current_level >= 0
        or _tracing_state() is not None
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


# What the node in C++ calls where a case is none of its own.
for _name, _in_python, _schema in (
    ("apply_in_python", _apply_direct, f"({operators.ARGUMENTS}) -> Tensor"),
    (
        "differentiate_in_python",
        _differentiate,
        f"(Tensor grad, {operators.ARGUMENTS}) -> (Tensor, Tensor, Tensor)",
    ),
):
    operators.library.define(_name + _schema)
    operators.library.impl(_name, _in_python, "CompositeImplicitAutograd")
for _key in ("FuncTorchBatched", "Batched"):  # gradients under vmap
    operators.library.impl("differentiate_in_python", operators.formula_gradients, _key)
