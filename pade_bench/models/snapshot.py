"""Putting a network back to what it was, after it has been run or taken apart."""

from __future__ import annotations

import contextlib
import copy
import random
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

_CONTAINERS = (dict, OrderedDict, list, set)


class Snapshot:
    """What the modules of a network hold: attributes, parameters, children, hooks, modes.

    Args:
        model: the network.
        values: keep the values of its tensors too, which takes once more their memory.
    """

    def __init__(self, model: nn.Module, values: bool = False) -> None:
        self._attributes = [(vars(module), dict(vars(module))) for module in model.modules()]
        held = [value for _, attributes in self._attributes for value in attributes.values()]
        # Hooks, parameters and children lie in dictionaries; code keeps things in lists.
        self._contents = [(v, copy.copy(v)) for v in held if type(v) in _CONTAINERS]
        self._values: list[tuple[Tensor, Tensor]] = []
        if values:
            tensors = [*model.parameters(), *model.buffers()]
            tensors += [value for value in held if isinstance(value, Tensor)]
            self._values = [(t, t.detach().clone()) for t in dict.fromkeys(tensors)]

    def restore(self) -> None:
        """Give every module that was in the network what it held."""
        for attributes, before in self._attributes:
            attributes.clear()
            attributes.update(before)
        for container, before in self._contents:
            container.clear()
            container.extend(before) if isinstance(container, list) else container.update(before)
        with torch.no_grad():
            for tensor, value in self._values:
                if not (tensor.is_meta or torch.equal(tensor, value)):
                    tensor.copy_(value)


@contextlib.contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Undo what running a network does to it and to the random generators."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    snapshot = Snapshot(model, values=True)
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            snapshot.restore()
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
