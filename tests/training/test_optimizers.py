"""Padé coefficients and weights are trained by their own settings."""

import pytest
import torch
from torch import nn

from pade_bench import PAU, build_model
from pade_bench.config.schema import OptimConfig, ParameterGroupConfig
from pade_bench.training.optimizers import (
    learning_rate_factor,
    make_optimizer,
    parameter_groups,
)


def ids(parameters):
    return {id(p) for p in parameters}


def test_groups_are_split_by_module_type_and_cover_every_parameter_once():
    network = build_model("lenet", "pau")
    groups = parameter_groups(network)
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
    groups = parameter_groups(network)
    assert ids(groups["weights"]) == {id(network.numerator)}
    assert ids(groups["pade_coefficients"]) == ids(network.unit.parameters())


def test_subclasses_and_other_learnable_activations_are_told_apart():
    assert len(parameter_groups(build_model("lenet", "rpau"))["pade_coefficients"]) == 8
    assert not parameter_groups(build_model("lenet", "prelu"))["pade_coefficients"]


def config(optimizer="sgd", **coefficients):
    return OptimConfig(
        optimizer=optimizer,
        momentum=0.9,
        weights=ParameterGroupConfig(lr=0.1, weight_decay=5e-4, lr_decay=0.5),
        pade_coefficients=ParameterGroupConfig(**{"lr": 0.01, **coefficients}),
    )


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_each_group_has_its_own_rate_decay_and_schedule(name, kind):
    optimizer, scheduler = make_optimizer(build_model("lenet", "pau"), config(name))
    assert type(optimizer) is kind
    weights, coefficients = optimizer.param_groups
    assert (weights["lr"], weights["weight_decay"]) == (0.1, 5e-4)
    assert (coefficients["lr"], coefficients["weight_decay"]) == (0.01, 0.0)
    optimizer.step()
    scheduler.step()
    assert weights["lr"] == pytest.approx(0.05)
    assert coefficients["lr"] == 0.01


def test_a_network_without_pade_units_has_one_group():
    optimizer, _ = make_optimizer(build_model("lenet", "relu"), config())
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_milestones_are_the_epochs_after_which_the_rate_drops():
    group = ParameterGroupConfig(lr=1.0, lr_decay=0.1, lr_milestones=[2, 4])
    factors = [learning_rate_factor(group, epoch) for epoch in range(6)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_without_milestones_the_rate_decays_every_epoch():
    group = ParameterGroupConfig(lr=1.0, lr_decay=0.5)
    assert [learning_rate_factor(group, epoch) for epoch in range(3)] == [1, 0.5, 0.25]
