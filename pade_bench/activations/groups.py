"""A network's parameters for an optimizer, Padé coefficients apart from the weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from pade_bench.activations.pade import PAU


def parameter_groups(model: nn.Module, **coefficients: Any) -> list[dict[str, Any]]:
    """Return the parameter groups ``weights`` and ``pade_coefficients``, those that are not empty.

        optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-3, weight_decay=0), lr=1e-4)

    The module's type decides, not a parameter's name. Parameters of other learnable activations
    are weights: the paper sets the Padé units apart from "the rest of the network".

    Args:
        model: any network.
        coefficients: the optimizer's settings for the coefficients. Weight decay would pull these
            towards F = 0, not towards a simpler function.
    """
    units = [p for m in model.modules() if isinstance(m, PAU) for p in m.parameters()]
    known = {id(parameter) for parameter in units}
    weights = [p for p in model.parameters() if id(p) not in known]
    groups = [
        {"name": "weights", "params": weights},
        {"name": "pade_coefficients", "params": units, **coefficients},
    ]
    return [group for group in groups if group["params"]]
