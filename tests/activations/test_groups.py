"""Padé coefficients are told from weights."""

import torch
from torch import nn

from pade_bench import PAU, build_model, parameter_groups


def by_name(network):
    return {group["name"]: group["params"] for group in parameter_groups(network)}


def ids(parameters):
    return {id(p) for p in parameters}


def test_groups_are_split_by_module_type_and_cover_every_parameter_once():
    network = build_model("lenet", "pau")
    groups = by_name(network)
    assert len(groups["pade_coefficients"]) == 8
    assert len(groups["weights"]) == 10
    together = [*groups["weights"], *groups["pade_coefficients"]]
    assert ids(together) == ids(network.parameters())
    assert len(together) == len(list(network.parameters()))


def test_a_parameters_name_does_not_decide():
    class Weights(nn.Module):
        def __init__(self):
            super().__init__()
            self.numerator = nn.Parameter(torch.ones(2))
            self.unit = PAU()

    network = Weights()
    groups = by_name(network)
    assert ids(groups["weights"]) == {id(network.numerator)}
    assert ids(groups["pade_coefficients"]) == ids(network.unit.parameters())


def test_subclasses_and_other_learnable_activations_are_told_apart():
    assert len(by_name(build_model("lenet", "rpau"))["pade_coefficients"]) == 8
    assert by_name(build_model("lenet", "prelu")).keys() == {"weights"}


def test_an_optimizer_takes_the_groups_with_settings_for_the_coefficients():
    network = nn.Sequential(nn.Linear(3, 3), PAU())
    optimizer = torch.optim.AdamW(parameter_groups(network, lr=1.0, weight_decay=0.0), lr=0.1)
    weights, coefficients = optimizer.param_groups
    assert (weights["lr"], weights["weight_decay"]) == (0.1, 0.01)
    assert (coefficients["lr"], coefficients["weight_decay"]) == (1.0, 0.0)
