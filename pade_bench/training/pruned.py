"""The network of a run that has lost filters: built anew, kept on disk, and what it saves."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pade_bench.data import ImageDataModule
from pade_bench.data.seeding import epoch_seed
from pade_bench.errors import RunError
from pade_bench.models.filters import (
    Filters,
    count_parameters,
    multiply_adds,
    remove_other_filters,
)
from pade_bench.runs.files import MOST_BYTES_OF_JSON, parse_json, read_file, writing_to
from pade_bench.runs.home import Run
from pade_bench.runs.record_parts import Costs, Pruning

# The two networks are timed in turns, at least so often, until their ratio is known so well, or for
# so long: a machine that does other things for a moment must not decide.
_LEAST_ROUNDS, _GOOD_ERROR, _MOST_SECONDS = 7, 0.02, 5.0


@dataclass(frozen=True)
class Pruned:
    """What a run takes from the one before it."""

    filters: Filters
    activations: dict[str, Tensor] = field(
        default_factory=dict
    )  # learned parameters, to go on from


def read_filters(run: Run) -> Filters | None:
    """Return the filters that the run's network has, ``None`` if it has not been started.

    Raises:
        RunError: the file is damaged.
    """
    path = run.directory / "filters.json"
    try:
        filters = parse_json(read_file(path, MOST_BYTES_OF_JSON), path.name)
        for name, kept in filters.items():
            if not isinstance(kept, list) or not all(type(i) is int and i >= 0 for i in kept):
                raise ValueError(f"{path.name}: {name!r} has no list of filters")
        return filters
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read: {error}. It is left as it is; restart=true moves it aside and "
            "starts the run anew."
        ) from error


def write_filters(run: Run, filters: Filters) -> None:
    """Write which filters the run's network has, before it is trained.

    Raises:
        RunError: the run was begun with others, as the run before it was another then.
    """
    there = read_filters(run)
    if there is None:
        with writing_to(run.directory):
            run.write("filters.json", json.dumps(filters).encode())
    elif there != filters:
        raise RunError(
            f"{run.directory} was begun with other filters than the run before it would leave now. "
            "It is left as it is; restart=true moves it aside and starts it anew."
        )


def prune(
    network: nn.Module,
    activation_type: type[nn.Module],
    data: ImageDataModule,
    run: Run,
    pruned: Pruned,
) -> None:
    """Give an unpruned network, with its initial weights, the filters of a run in place."""
    remove_other_filters(network, activation_type, example(data), pruned.filters)
    if run.config.prune.weights == "new":
        torch.manual_seed(
            epoch_seed(run.config.seed, len(run.config.prune.shares or ()), "weights")
        )
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
                module.reset_parameters()
    if pruned.activations:
        network.load_state_dict(pruned.activations, strict=False)


def example(data: ImageDataModule) -> Tensor:
    """Return an empty image of a data set, in a batch of one."""
    return torch.zeros(1, data.in_channels, data.image_size, data.image_size)


@torch.no_grad()
def costs(
    classifier: nn.Module, unpruned: nn.Module, images: Tensor, pruned_share: float
) -> Pruning:
    """Return what a network costs, and the same of the unpruned one, for a run's record.

    Args:
        classifier: the network, as it is trained.
        unpruned: the same before any pruning.
        images: (N, C, H, W) on the device of the network. ``inference_milliseconds`` is the time
            for all of them, a median; the two networks take turns.
        pruned_share: percent of the filters that are missing.
    """
    networks = {"pruned": classifier.eval(), "unpruned": unpruned.to(images.device).eval()}
    times: dict[str, list[float]] = {name: [] for name in networks}
    error, end = math.inf, time.perf_counter() + _MOST_SECONDS
    while len(times["unpruned"]) <= _LEAST_ROUNDS or (
        error > _GOOD_ERROR and time.perf_counter() < end
    ):
        for name, network in networks.items():
            start = time.perf_counter()
            network(images)
            if images.is_cuda:
                torch.cuda.synchronize()
            times[name].append(1000 * (time.perf_counter() - start))
        error = error_of_ratio(*(measured[1:] for measured in times.values()))
    found = {
        name: Costs(
            parameters=count_parameters(network),
            multiply_adds=multiply_adds(network, images),
            inference_milliseconds=statistics.median(times[name][1:]),
        )
        for name, network in networks.items()
    }
    return Pruning(
        pruned_share,
        found["pruned"].multiply_adds,
        found["pruned"].inference_milliseconds,
        inference_images=len(images),
        unpruned=found["unpruned"],
        inference_error=error,
    )


def error_of_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Return by how much the ratio of two medians may be wrong, as a share of it.

    Half of an interval that holds the ratio with at least 95 %: each median lies between two of the
    sorted values, whose numbers the binomial distribution gives; infinity for fewer than six.
    """
    (a_low, a_high), (b_low, b_high) = (_around_median(values) for values in (a, b))
    ratio = statistics.median(a) / statistics.median(b) if a and b else 1.0
    return (a_high / b_low - a_low / b_high) / (2 * ratio)


def _around_median(values: Sequence[float]) -> tuple[float, float]:
    n = len(values)
    if n < 6:  # even the smallest and the largest are not on both sides with 95 %
        return 1.0, math.inf
    reach = 0.98 * math.sqrt(n)  # 1.96 standard deviations of Binomial(n, 1/2)
    ordered = sorted(values)
    return ordered[math.floor(n / 2 - reach)], ordered[math.ceil(n / 2 + reach) - 1]
