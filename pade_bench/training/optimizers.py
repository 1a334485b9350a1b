"""The optimiser and its two parameter groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from pade_bench.activations import PAU

if TYPE_CHECKING:
    from pade_bench.config.schema import OptimConfig, ParameterGroupConfig


def parameter_groups(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Split the parameters into ``pade_coefficients`` and all others, the ``weights``.

    The module's type decides, not a parameter's name. Parameters of other learnable
    activations are weights: the paper sets the Padé units apart from "the rest of the network".
    """
    coefficients = [
        parameter
        for module in network.modules()
        if isinstance(module, PAU)
        for parameter in module.parameters()
    ]
    known = {id(parameter) for parameter in coefficients}
    weights = [p for p in network.parameters() if id(p) not in known]
    return {"weights": weights, "pade_coefficients": coefficients}


def learning_rate_factor(group: ParameterGroupConfig, epoch: int) -> float:
    """Return what the group's initial learning rate is multiplied by in ``epoch`` (from 0)."""
    steps = sum(m <= epoch for m in group.lr_milestones) if group.lr_milestones else epoch
    return group.lr_decay**steps


def make_optimizer(
    network: nn.Module, config: OptimConfig
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Return the configured optimiser and the per-epoch learning rates of its groups."""
    parameters, names = [], []
    for name, members in parameter_groups(network).items():
        if members:
            group = getattr(config, name)
            parameters.append(
                {"params": members, "lr": group.lr, "weight_decay": group.weight_decay}
            )
            names.append(name)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adam":
        optimizer = torch.optim.Adam(parameters)
    else:
        optimizer = torch.optim.SGD(parameters, lr=0.0, momentum=config.momentum)

    def factor(name: str) -> Any:
        return lambda epoch: learning_rate_factor(getattr(config, name), epoch)

    return optimizer, LambdaLR(optimizer, [factor(name) for name in names])


def place_optimizer(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Make an optimizer right for the device, wherever the checkpoint was made that it is from.

    On a GPU Adam counts its steps there (``capturable``), as a CUDA graph needs it; without a graph
    too, as it would compute other bits. On the CPU it counts on the CPU.
    """
    for group in optimizer.param_groups:
        if "capturable" not in group:
            continue
        group["capturable"] = device.type != "cpu"
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "step" in state:
                state["step"] = state["step"].to(device)
