"""The Padé unit as torch's own operators ``pade_bench::pau`` and ``pade_bench::pau_backward``.

Registered operators are what torch.compile, fake tensors, DTensors and dispatch modes understand.
Autocast has no rule for them, so the output keeps the type of ``x`` whatever the type of the
coefficients. For the backward pass the input and the coefficients are saved, nothing else: RPAU's
noise is drawn again from its state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pade_bench.ops import backends, reference
from pade_bench.ops.unit import Unit

# A unit is flat here: the dispatcher and autograd see only tensors that are arguments of their own.
ARGUMENTS = (
    "Tensor x, Tensor numerator, Tensor denominator, str form, Tensor? noise_state, float noise"
)
library = torch.library.Library("pade_bench", "DEF")


def forward(x: Tensor, *rest: Any) -> Tensor:
    """Return F(x) for the flat arguments of the operator."""
    return backends.forward(x, Unit(*rest))


def backward(grad: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x and the coefficients for the flat arguments of the operator."""
    return backends.backward(grad, x, Unit(*rest))


def formula_gradients(grad: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return what ``backward`` does in ordinary operators, differentiable."""
    return reference.gradients(grad, x, Unit(*rest))


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Save the arguments of either operator for its backward pass."""
    *tensors, ctx.form, noise_state, ctx.noise = inputs
    ctx.save_for_backward(*tensors, noise_state)


def saved_arguments(ctx: Any) -> tuple[Any, ...]:
    """Return the arguments that ``setup_context`` saved."""
    *tensors, noise_state = ctx.saved_tensors
    return (*tensors, ctx.form, noise_state, ctx.noise)


def define_forward(name: str) -> None:
    """Define an operator that maps x to F(x)."""
    library.define(f"{name}({ARGUMENTS}) -> Tensor")
    _register(name, forward, _fake_forward, _differentiate)


def _register(
    name: str, implementation: Callable[..., Any], fake: Callable[..., Any], gradient: Any
) -> None:
    library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"pade_bench::{name}", fake, lib=library)
    torch.library.register_autograd(
        f"pade_bench::{name}", gradient, setup_context=setup_context, lib=library
    )


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return (*torch.ops.pade_bench.pau_backward(grad, *saved_arguments(ctx)), None, None, None)


def _differentiate_twice(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
    """Differentiate the reference's explicit gradients, which serves any further order too."""
    inputs, needed = saved_arguments(ctx), ctx.needs_input_grad[:4]
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: grad may depend on x and the coefficients by way of what follows in the network,
        # and that is not this node's to differentiate.
        variables = [tensor.view_as(tensor) for tensor in inputs[:4]]
        outputs = formula_gradients(*variables, *inputs[4:])
    wanted = [tensor for tensor, need in zip(variables, needed, strict=True) if need]
    found = iter(torch.autograd.grad(outputs, wanted, grads, create_graph=create_graph))
    return (*(next(found) if need else None for need in needed), None, None, None)


def _fake_forward(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _fake_backward(
    grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(numerator), torch.empty_like(denominator)


define_forward("pau")
library.define(f"pau_backward(Tensor grad, {ARGUMENTS}) -> (Tensor, Tensor, Tensor)")
_register("pau_backward", backward, _fake_backward, _differentiate_twice)
