"""Padé coefficients and weights are trained by their own settings."""

from pathlib import Path

import pytest
import torch

from pade_bench import build_model
from pade_bench.config.schema import OptimConfig, ParameterGroupConfig
from pade_bench.errors import ConfigurationError
from pade_bench.training.optimizers import learning_rate_factor, make_optimizer

CONFIGS = Path(__file__).parents[2] / "configs"


def config(target="torch.optim.SGD", arguments=None, **coefficients):
    return OptimConfig(
        target,
        {"momentum": 0.9} if arguments is None else arguments,
        weights=ParameterGroupConfig(lr=0.1, weight_decay=5e-4, lr_decay=0.5),
        pade_coefficients=ParameterGroupConfig(**{"lr": 0.01, **coefficients}),
    )


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_each_group_has_its_own_rate_decay_and_schedule(kind):
    chosen = config(f"torch.optim.{kind.__name__}", arguments={})
    optimizer, scheduler = make_optimizer(build_model("lenet", "pau"), chosen, epochs=2)
    assert type(optimizer) is kind
    weights, coefficients = optimizer.param_groups
    assert (weights["lr"], weights["weight_decay"]) == (0.1, 5e-4)
    assert (coefficients["lr"], coefficients["weight_decay"]) == (0.01, 0.0)
    optimizer.step()
    scheduler.step()
    assert weights["lr"] == pytest.approx(0.05)
    assert coefficients["lr"] == 0.01


def test_a_network_without_pade_units_has_one_group():
    optimizer, _ = make_optimizer(build_model("lenet", "relu"), config(), epochs=1)
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("optim/*.yaml")), ids=lambda p: p.stem)
def test_every_optimizer_that_is_offered_trains(path, make_run):
    run = make_run("activation=pau", f"optim={path.stem}")
    network = build_model("lenet", "pau")
    optimizer, _ = make_optimizer(network, run.config.optim, epochs=1)
    weights, coefficients = optimizer.param_groups
    assert weights["lr"] == run.config.optim.weights.lr
    assert weights["weight_decay"] == run.config.optim.weights.weight_decay
    assert coefficients["weight_decay"] == 0.0
    before = [p.detach().clone() for p in network.parameters()]
    network(torch.ones(2, 1, 32, 32)).sum().backward()
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


class Undecaying(torch.optim.SGD):
    """An optimizer without weight decay, from outside of the package."""

    def __init__(self, params, lr):
        super().__init__(params, lr)


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        (config("torch.optim.Adma"), "optim._target_=torch.optim.Adma does not exist. Did you"),
        (config("torch.nn.ReLU"), "optim._target_=torch.nn.ReLU is not a class of torch.optim.Opt"),
        (config("torch.optim.Adam"), "optim.momentum: torch.optim.Adam takes betas, eps, ams"),
        (config(arguments={"momentum": -1}), "optim: torch.optim.SGD refuses its arguments: Inv"),
        (config(arguments={"nesterov": "yes"}), "optim.nesterov='yes': must be true or false."),
        (config(arguments={"params": []}), "optim.params: pade_bench sets this argument itself."),
        (
            config(f"{__name__}.Undecaying", arguments={}),
            f"optim.weights.weight_decay=0.0005: {__name__}.Undecaying has none.",
        ),
    ],
)
def test_what_an_optimizer_does_not_take_is_named(chosen, complaint):
    with pytest.raises(ConfigurationError) as error:
        make_optimizer(build_model("lenet", "pau"), chosen, epochs=1)
    assert str(error.value).startswith(complaint)


def test_milestones_are_the_epochs_after_which_the_rate_drops():
    group = ParameterGroupConfig(lr=1.0, lr_decay=0.1, lr_milestones=[2, 4])
    factor = learning_rate_factor("optim.weights", group, epochs=6)
    assert [factor(epoch) for epoch in range(6)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_without_milestones_the_rate_decays_every_epoch():
    factor = learning_rate_factor("optim.weights", ParameterGroupConfig(lr=1.0, lr_decay=0.5), 3)
    assert [factor(epoch) for epoch in range(3)] == [1, 0.5, 0.25]


SCHEDULES = "torch.optim.lr_scheduler"
COSINE = {"_target_": f"{SCHEDULES}.CosineAnnealingLR", "T_max": 4, "eta_min": 0.02}


def test_a_group_can_follow_a_schedule_of_torch():
    chosen = config(schedule=COSINE)
    optimizer, scheduler = make_optimizer(build_model("lenet", "pau"), chosen, epochs=4)
    reference = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=4, eta_min=0.02)
    for epoch in range(4):
        weights, coefficients = optimizer.param_groups
        assert weights["lr"] == pytest.approx(0.1 * 0.5**epoch)
        assert coefficients["lr"] == pytest.approx(reference.param_groups[0]["lr"])
        for one in (optimizer, reference, scheduler, schedule):
            one.step()


def test_a_resumed_schedule_goes_on_where_it_was():
    def make():
        return make_optimizer(build_model("lenet", "pau"), config(schedule=COSINE), epochs=4)

    optimizer, scheduler = make()
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[1]["lr"])
        optimizer.step()
        scheduler.step()
        if len(rates) == 2:
            states = optimizer.state_dict(), scheduler.state_dict()
    optimizer, scheduler = make()
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    resumed = []
    for _ in range(2):
        resumed.append(optimizer.param_groups[1]["lr"])
        optimizer.step()
        scheduler.step()
    assert resumed == rates[2:]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("schedule/*.yaml")), ids=lambda p: p.stem)
def test_every_schedule_that_is_offered_lasts_the_whole_training(path, make_run):
    more = ["optim.weights.schedule.max_lr=0.01"] if path.stem == "one_cycle" else []
    run = make_run(
        f"schedule@optim.weights.schedule={path.stem}", "optim.weights.lr_decay=1", *more
    )
    epochs = run.config.trainer.max_epochs
    factor = learning_rate_factor("optim.weights", run.config.optim.weights, epochs)
    rates = [factor(epoch) for epoch in range(epochs + 1)]
    assert min(rates) >= 0
    assert len(set(rates)) > 2


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        ({"_target_": f"{SCHEDULES}.CosineLR"}, "._target_=torch.optim.lr_scheduler.CosineLR does"),
        ({"_target_": "torch.optim.SGD"}, "._target_=torch.optim.SGD is not a class of torch.opt"),
        ({"T_max": 3}, ": it names no class (_target_)."),
        ({**COSINE, "T_maxx": 3}, ".T_maxx: torch.optim.lr_scheduler.CosineAnnealingLR takes T_ma"),
        ({**COSINE, "T_max": "all"}, ".T_max='all': must be a whole number."),
        (
            {"_target_": f"{SCHEDULES}.OneCycleLR", "max_lr": 0.1, "total_steps": 9},
            ": torch.optim.lr_scheduler.OneCycleLR refuses its arguments: optimizer must support",
        ),
        (
            {"_target_": f"{SCHEDULES}.OneCycleLR", "max_lr": 0.1, "total_steps": 2,
             "cycle_momentum": False},
            ": torch.optim.lr_scheduler.OneCycleLR cannot tell the learning rate of epoch 4 of 9",
        ),
        (
            {"_target_": f"{SCHEDULES}.ReduceLROnPlateau"},
            ": torch.optim.lr_scheduler.ReduceLROnPlateau cannot tell the learning rate of epoch 2",
        ),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_be_followed_is_refused_before_training(schedule, complaint):
    with pytest.raises(ConfigurationError) as error:
        make_optimizer(build_model("lenet", "pau"), config(schedule=schedule), epochs=9)
    assert str(error.value).startswith(f"optim.pade_coefficients.schedule{complaint}")


def test_a_rate_of_nothing_cannot_follow_a_schedule():
    with pytest.raises(ConfigurationError, match="a learning rate of 0 cannot follow"):
        make_optimizer(build_model("lenet", "pau"), config(lr=0.0, schedule=COSINE), epochs=9)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("+optim.lr=1", "optim.lr is not a setting: see optim.weights.lr and optim.pade_coeff"),
        (
            "+optim.weight_decay=1",
            "optim.weight_decay is not a setting: see optim.weights.weight_decay",
        ),
        ("schedule@optim.weights.schedule=cosine", "optim.weights: a learning rate follows a sch"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(override, complaint, make_run):
    with pytest.raises(ConfigurationError) as error:
        make_run(override)
    assert str(error.value).startswith(complaint)
