"""The Padé unit on DTensors, whose elements lie on several devices.

It works element by element, so that any sharding of x is kept: each device applies the kernel to
its own shard, and the coefficients' gradients are summed over the devices.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from pade_bench.ops.unit import Unit


def apply(x: Any, unit: Unit) -> Tensor:
    """Return F(x), placed as ``x`` is, of the whole coefficients: a DTensor or replicated.

    Raises:
        TypeError: the unit draws noise, by positions in memory, which shards do not know.
    """
    from torch.distributed.tensor import DTensor, Replicate

    if unit.noise_state is not None:
        raise TypeError(
            "RPAU draws its noise by the position in memory, which a shard does not know: apply "
            "the unit to x.to_local(), or in evaluation mode"
        )
    _register()
    everywhere = [Replicate()] * x.device_mesh.ndim
    a, b = (
        c if isinstance(c, DTensor) else DTensor.from_local(c, x.device_mesh, everywhere)
        for c in unit[:2]
    )
    return torch.ops.pade_bench.pau(x, a, b, *unit[2:])


@functools.cache
def _register() -> None:
    """Tell DTensor how the operators may be sharded, along each dimension of the devices' mesh."""
    from torch.distributed.tensor import Partial, Replicate, Shard
    from torch.distributed.tensor.experimental import register_sharding

    whole: list[Any] = [Replicate()] * 2  # the coefficients
    rest: list[Any] = [None] * 3  # what is no tensor

    @register_sharding(torch.ops.pade_bench.pau.default)
    def _(x: Any, *_: Any) -> Any:
        placements: list[Any] = [Replicate(), *map(Shard, range(x.ndim))]
        return [([p], [p, *whole, *rest]) for p in placements]

    @register_sharding(torch.ops.pade_bench.pau_backward.default)
    def _(grad: Any, *_: Any) -> Any:
        found: list[Any] = [([Replicate()] * 3, [Replicate()] * 2 + whole + rest)]
        for shard in map(Shard, range(grad.ndim)):
            found.append(([shard, Partial(), Partial()], [shard, shard, *whole, *rest]))
        return found
