"""The units that replace a network's activations: where they are made, and what they start from."""

from __future__ import annotations

import copy
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from pade_bench.activations import PAU
from pade_bench.activations.factory import ActivationFactory
from pade_bench.activations.inputs import Inputs
from pade_bench.activations.matching import Function
from pade_bench.errors import ConfigurationError
from pade_bench.models.snapshot import left_as_it_was
from pade_bench.models.watch import refuse_lazy_layers, run
from pade_bench.ops import DTYPES

_HOOKS = re.compile(r"^_(forward|backward)\w*hooks|^_is_full_backward_hook$")
BATCHES = 16  # of inputs= are read


def unit_like(factory: ActivationFactory, model: nn.Module, name: str, old: Any) -> nn.Module:
    """Make a unit in the mode and with the hooks of ``old``, like the layer before it."""
    parent = model.get_submodule(name.rpartition(".")[0])
    before = _layer_before(model, name)
    unit = factory()
    if before is not None:
        unit.to(before.device, before.dtype if before.dtype in DTYPES else None)
    unit.train(old.training if isinstance(old, nn.Module) else parent.training)
    if isinstance(old, nn.Module):
        # The dictionaries themselves, so that handles given out before still remove their hooks.
        vars(unit).update({k: v for k, v in vars(old).items() if _HOOKS.match(k)})
    return unit


def _layer_before(model: nn.Module, name: str) -> nn.Parameter | None:
    """Return a parameter of the layer nearest before a module, or else of the nearest after it."""
    while name:
        above, _, attribute = name.rpartition(".")
        parent = model.get_submodule(above)
        children = list(parent._modules)
        at = children.index(attribute) if attribute in children else len(children)
        before = [p for child in children[:at] for p in _parameters(parent, child)]
        after = [p for child in children[at + 1 :] for p in _parameters(parent, child)]
        for parameters in (before[::-1], after, list(parent._parameters.values())):
            for parameter in parameters:
                if parameter is not None and parameter.is_floating_point():
                    return parameter
        name = above
    return None


def _parameters(parent: nn.Module, child: str) -> Iterable[nn.Parameter]:
    module = parent._modules[child]
    return () if module is None else module.parameters()


def chosen_init(
    init: str | Function | None, activation: Any, unit: nn.Module
) -> str | Function | None:
    """Return what units are to start from: ``"match"``, a function, or None for what they do.

    Args:
        init: what was asked for, None if nothing was.
        activation: what the units are made of.
        unit: one of them.

    Raises:
        ConfigurationError: something was asked for, and the units start from no function.
    """
    if not isinstance(unit, PAU):
        if init is not None:
            raise ConfigurationError(
                f"init={init!r} is for Padé units (pau, rpau): {type(unit).__name__} does not "
                "start from a function."
            )
        return None
    if init is not None:
        return init
    says_nothing = isinstance(activation, (str, type)) or (
        isinstance(activation, Mapping) and "init" not in activation
    )
    return "match" if says_nothing else None


def start_unit(unit: PAU, init: str | Function, name: str, old: Any, inputs: Inputs | None) -> None:
    """Let a unit start from ``init``, or if that is ``"match"``, from what it replaces.

    Args:
        unit: the new one.
        init: ``"match"``, or see :class:`pade_bench.PAU`.
        name: of the place in the network.
        old: what stood there, a module or a function.
        inputs: what arrives there, or an example of it, if that is known.

    Raises:
        ConfigurationError: what stood there is no function of one value.
    """
    if init != "match":
        return unit.start_from(init)
    try:
        unit.start_from(_as_function(old), inputs)
        if not all(p.isfinite().all() for p in unit.parameters() if not p.is_meta):
            unit.start_from(_as_function(old))  # those for tiny inputs may overflow
    except Exception as error:
        raise ConfigurationError(
            f"{name}: {type(old).__name__} is no function that a Padé unit can start from "
            f"({error}). Give init, such as init='lrelu_0.01'."
        ) from error


def _as_function(old: Any) -> Function:
    """Return what an activation computes in evaluation mode, on the CPU in float64."""
    if not isinstance(old, nn.Module):
        return old
    module = copy.deepcopy(old)
    if any(p.is_meta for p in module.parameters()):
        module.to_empty(device="cpu")
        for part in module.modules():
            getattr(part, "reset_parameters", lambda: None)()
    module = module.cpu().double().eval()
    if isinstance(module, nn.PReLU):  # a slope for each channel: their mean
        module.weight = nn.Parameter(module.weight.mean()[None])

    def function(x: Tensor) -> Tensor:
        return module.forward(x)  # without its hooks

    function.__name__ = type(old).__name__
    return function


def arriving(
    model: nn.Module,
    places: Mapping[str, tuple[nn.Module, Any]],
    inputs: Iterable[Any] | None,
    example_input: Any,
) -> dict[str, Inputs]:
    """Run a network and count what arrives at its units.

    In evaluation mode on ``inputs``. On an example it stays in the mode that it is in: batch norms
    that have seen nothing yet normalize in training mode alone, and that is what comes next for a
    new network.

    Args:
        model: the network with its units, each of which computes what it replaced meanwhile.
        places: each unit and what it replaced, by name.
        inputs: see :func:`pade_bench.convert_activations`.
        example_input: see there; used if there are no ``inputs``.

    Returns:
        the values for each name, of ``example_input`` as an example; nothing if both are None.

    Raises:
        ConfigurationError: there is no batch, or the network fails on one.
    """
    if inputs is not None:
        calls, argument = _batches(inputs, model), "inputs"
    elif example_input is not None:
        calls, argument = iter([example_input]), "example_input"
    else:
        return {}
    refuse_lazy_layers(model, argument)
    found = {name: Inputs(exact=inputs is not None) for name in places}
    with left_as_it_was(model), torch.no_grad():
        for name, (unit, old) in places.items():
            if isinstance(old, nn.Module):
                old = copy.copy(old)
                old.training = False
            unit.forward = functools.partial(_counted, found[name], getattr(old, "forward", old))
        if inputs is not None:
            model.eval()
        for call in calls:
            run(model, call, argument)
    return found


def _batches(inputs: Iterable[Any], model: nn.Module) -> Iterator[Any]:
    """Yield what to call the network with, of the first ``BATCHES`` batches."""
    if isinstance(inputs, (Tensor, Mapping)):
        raise ConfigurationError(
            "inputs must be a DataLoader or a list of batches, such as [x], not one batch."
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    number = 0
    for batch in itertools.islice(inputs, BATCHES):
        while isinstance(batch, (tuple, list)):
            batch = batch[0]
        yield tree_map(lambda v: v.to(device) if isinstance(v, Tensor) else v, batch)
        number += 1
    if not number:
        raise ConfigurationError("inputs gave no batch.")


def _counted(inputs: Inputs, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    inputs.add(x)
    return function(x)
