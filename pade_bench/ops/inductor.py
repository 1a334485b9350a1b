"""The Padé unit as Inductor sees it: a formula to fuse forward, the kernel backward.

Inductor cannot fuse into an operator that it does not know. So a compiled network calls an operator
of its own, with the kernel and the gradients of ``pade_bench::pau``, for which Inductor has a
decomposition: batch norm, the unit and what follows become one generated kernel. Other backends of
torch.compile call the kernel.

The gradients stay with the kernel, because Inductor forms the sums over all elements badly:
benchmarks/compile_cpu.md has the alternatives with their times.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pade_bench.ops import reference, unit


@functools.cache
def operator_name() -> str:
    """Return the name of the operator, which changes with its decomposition.

    Inductor keeps generated code on disk under a key that knows an operator by its name only.
    """
    source = inspect.getsource(reference) + inspect.getsource(unit)
    return f"pau_{hashlib.sha256(source.encode()).hexdigest()[:8]}"


def fusing_operator(define: Callable[[str], None]) -> str:
    """Return the name of the operator, defined when a compile first meets a unit.

    Not before, as importing Inductor takes seconds.

    Args:
        define: makes an operator of a name, with the kernels and gradients of the unit.
    """
    name = operator_name()
    if not hasattr(torch.ops.pade_bench, name):
        from torch._inductor import decomposition

        define(name)
        operator = getattr(torch.ops.pade_bench, name).default
        decomposition.register_decomposition(operator)(_decompose)
        # Of what this process compiled before, Inductor remembers its table of decompositions.
        decomposition.fast_random_decomps.cache_clear()
    return name


# What torch.compiler.assume_constant_result does, so that Dynamo runs the function while it traces:
# the decorator imports Dynamo, which takes longer than all of this package.
fusing_operator._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _decompose(x: Tensor, *rest: Any) -> Tensor:
    return reference.formula(x, unit.Unit(*rest))
