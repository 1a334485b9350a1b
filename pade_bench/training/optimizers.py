"""The optimizer, its two groups of parameters, and the learning rates of their epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from pade_bench.activations.groups import parameter_groups
from pade_bench.config.components import arguments_of, make
from pade_bench.config.fields import Component, from_plain
from pade_bench.config.schema import OptimConfig, ParameterGroupConfig
from pade_bench.errors import ConfigurationError

_FUSED_ON_GPU = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


def make_optimizer(
    network: nn.Module, config: OptimConfig, epochs: int
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Return the configured optimizer and the learning rates of its groups in each epoch.

    Args:
        network: what is trained.
        config: the optimizer, and the settings of its groups.
        epochs: how many there will be.

    Raises:
        ConfigurationError: the optimizer or a schedule does not exist, or refuses its settings.
    """
    takes, takes_others = arguments_of("optim", config, torch.optim.Optimizer)
    groups: list[dict[str, Any]] = []
    factors = []
    for group in parameter_groups(network):
        name = group["name"]
        settings: ParameterGroupConfig = getattr(config, name)
        options: dict[str, float] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
        has_decay = takes_others or "weight_decay" in takes
        if not has_decay and options.pop("weight_decay"):  # which it would ignore
            raise ConfigurationError(
                f"optim.{name}.weight_decay={settings.weight_decay}: {config.target} has none."
            )
        groups.append({"params": group["params"], **options})
        factors.append(learning_rate_factor(f"optim.{name}", settings, epochs))
    # What a group does not say itself, which ours do; without it some classes cannot be made.
    defaults = {k: v for k, v in groups[0].items() if k in takes and k != "params"}
    optimizer = make("optim", config, torch.optim.Optimizer, params=groups, **defaults)
    return optimizer, LambdaLR(optimizer, factors)


def can_be_captured(config: OptimConfig) -> bool:
    """Tell whether an optimizer's step can be part of a CUDA graph, for which torch's are made.

    Others may count their steps, or keep what changes from step to step, on the CPU; a graph would
    repeat what it was when it was captured.
    """
    takes, _ = arguments_of("optim", config, torch.optim.Optimizer)
    is_torch_s = config.target.startswith("torch.optim.")
    return is_torch_s and ("capturable" in takes or config.target == "torch.optim.SGD")


def place_optimizer(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Make an optimizer right for the device, wherever the checkpoint was made that it is from.

    On a GPU Adam counts its steps there (``capturable``), as a CUDA graph needs it, and one kernel
    makes the step of all parameters (``fused``), unless the configuration says how to make it.
    Without a graph too, as it would compute other bits. On the CPU it is as torch makes it.
    """
    for group in optimizer.param_groups:
        if (
            type(optimizer) in _FUSED_ON_GPU
            and optimizer.defaults["fused"] is None
            and not (optimizer.defaults["foreach"] or optimizer.defaults["differentiable"])
        ):
            fuses = device.type == "cuda" and all(map(_is_dense, group["params"]))
            group["fused"] = True if fuses else None
        if "capturable" not in group:
            continue
        group["capturable"] = device.type != "cpu"
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "step" in state:
                state["step"] = state["step"].to(device)


def _is_dense(parameter: Tensor) -> bool:
    """Whether gradients have the layout of the parameter, which fused kernels require."""
    formats = (torch.contiguous_format, torch.channels_last)[: 1 + (parameter.dim() == 4)]
    return parameter.is_floating_point() and any(
        parameter.is_contiguous(memory_format=one) for one in formats
    )


def learning_rate_factor(
    where: str, group: ParameterGroupConfig, epochs: int
) -> Callable[[int], float]:
    """Return what a group's learning rate is multiplied by, as a function of the epoch (from 0).

    Args:
        where: where the group stands in the configuration.
        group: its settings.
        epochs: how many there will be.

    Raises:
        ConfigurationError: see :func:`scheduled_rates`.
    """
    if group.schedule is not None:
        rates = scheduled_rates(f"{where}.schedule", group.schedule, group.lr, epochs)
        # Lightning asks for the one after the last epoch too.
        return lambda epoch: rates[min(epoch, epochs - 1)] / group.lr

    def decay(epoch: int) -> float:
        steps = sum(m <= epoch for m in group.lr_milestones) if group.lr_milestones else epoch
        return group.lr_decay**steps

    return decay


class _Rate(torch.optim.Optimizer):
    """An optimizer with nothing but a learning rate, on which a schedule is tried."""

    def __init__(self, lr: float) -> None:
        super().__init__([nn.Parameter(torch.empty(0))], {"lr": lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing."""


def scheduled_rates(where: str, schedule: dict[str, Any], lr: float, epochs: int) -> list[float]:
    """Return the learning rate of each epoch by a schedule of torch's kind, stepped once an epoch.

    The rates are known before training, so a resumed run has those of one that was not
    interrupted, and each group can have a schedule of its own.

    Raises:
        ConfigurationError: there is no such class, it refuses its arguments, or it asks for more
            than the number of the epoch.
    """
    if lr == 0:
        raise ConfigurationError(f"{where}: a learning rate of 0 cannot follow a schedule.")
    component = from_plain(Component, schedule, where)
    optimizer = _Rate(lr)
    made = make(where, component, LRScheduler, optimizer=optimizer)
    rates = []
    for epoch in range(epochs):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if epoch < epochs - 1:
            try:
                made.step()
            except (TypeError, ValueError) as error:
                raise ConfigurationError(
                    f"{where}: {component.target} cannot tell the learning rate of epoch "
                    f"{epoch + 2} of {epochs}: {error}"
                ) from error
    return rates
