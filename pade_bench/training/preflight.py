"""Refusing what cannot be trained before anything of it exists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from pade_bench.activations import check_activation
from pade_bench.activations.factory import activation_factory
from pade_bench.data import ImageDataModule
from pade_bench.errors import ConfigurationError
from pade_bench.runs.home import Run
from pade_bench.training.fit import make_data, make_network
from pade_bench.training.loggers import make_loggers
from pade_bench.training.optimizers import make_optimizer
from pade_bench.training.pruning import check_chain


def check(jobs: Iterable[Sequence[Run]]) -> None:
    """Make whatever the settings of some jobs describe, without its memory and without any data.

    What a machine has is not looked at: a job may run on another one.

    Args:
        jobs: the runs of each; those that differ in their seed alone are made once.

    Raises:
        ConfigurationError: training would refuse one of them.
    """
    checked: set[str] = set()
    for runs in jobs:
        config = runs[-1].config
        settings = repr(
            [
                config.data,
                config.model,
                config.activation,
                config.optim,
                config.prune,
                config.logger,
            ]
        )
        if settings not in checked:
            _check(runs)
            checked.add(settings)


def _check(runs: Sequence[Run]) -> None:
    run = runs[0]
    factory = activation_factory(run.config.activation, run.trust)
    check_activation(factory())
    data = make_data(run)
    with torch.device("meta"):
        network = make_network(run, factory, data)
    _check_shapes(run.config.model.target, network, data)
    make_loggers(run, dry=True)
    make_optimizer(network, run.config.optim, run.config.trainer.max_epochs)
    if run.pruned_share is not None:
        check_chain(runs)


@torch.no_grad()
def _check_shapes(target: str, network: nn.Module, data: ImageDataModule) -> None:
    """Run a network without memory; refuse one that cannot take the images, or gives no logits."""
    shape = (2, data.in_channels, data.image_size, data.image_size)
    try:
        logits = network.eval()(torch.empty(shape, device="meta"))
    except NotImplementedError:  # it asks for values, which there are none of here
        return
    except RuntimeError as error:
        if "meta" in str(error):
            return
        raise ConfigurationError(
            f"model._target_={target} cannot take images of {'×'.join(map(str, shape[1:]))}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    found = tuple(getattr(logits, "shape", ()))
    if found != (2, data.num_classes):
        raise ConfigurationError(
            f"model._target_={target} makes of 2 images a result of the shape {found}, not "
            f"{(2, data.num_classes)}: a score for each class."
        )
