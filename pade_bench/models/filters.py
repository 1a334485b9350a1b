"""Removing filters of convolutions from a network, with everything that depends on them.

Which tensors depend on a filter (the next convolution, batch norm, the other summands of a residual
sum, slices behind a concatenation, depthwise filters) is found by Torch-Pruning (Fang et al.:
*DepGraph: Towards Any Structural Pruning*, CVPR 2023). It was chosen over code of our own because
it traces all of our networks right, which a test holds by comparing with masking. What it cannot
know is that learnable activations are element-wise: their parameters look to it like weights
without a layer. So it is shown the network with ReLU in place of every activation, which leaves the
dependencies as they are.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pade_bench.errors import ConfigurationError

if TYPE_CHECKING:
    import torch_pruning

Filters = dict[str, list[int]]  # the kept filters of each group, numbered as before any pruning


@dataclass(frozen=True)
class FilterGroup:
    """Convolutions whose i-th filters can only be removed together; most groups hold one."""

    convolutions: tuple[str, ...]  # their names within the network
    filters: int  # of each

    @property
    def name(self) -> str:
        """Return the name of the first convolution, which stands for the group."""
        return self.convolutions[0]


def filter_groups(
    network: nn.Module, activation_type: type[nn.Module], images: Tensor
) -> list[FilterGroup]:
    """Return all groups of tied convolutions, in the order of the network's modules.

    Args:
        network: a network of convolutions.
        activation_type: the class of its activations.
        images: an input (N, C, H, W), which is run through it once.
    """
    names = [n for n, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    groups = []
    with _dependencies(network, activation_type, images) as graph:
        for dependencies in graph.get_all_groups(root_module_types=[nn.Conv2d]):
            tied = {
                dependency.target.module
                for dependency, _ in dependencies
                if graph.is_out_channel_pruning_fn(dependency.handler)
            }
            members = tuple(n for n in names if network.get_submodule(n) in tied)
            groups.append(FilterGroup(members, _conv(network, members[0]).out_channels))
    return sorted(groups, key=lambda group: names.index(group.name))


def check_share(groups: Sequence[FilterGroup], share: float) -> None:
    """Raise :class:`ConfigurationError` if ``share`` percent are all filters of a layer or none."""
    if share > 0 and not any(_removed(group, share) for group in groups):
        raise ConfigurationError(
            f"prune.shares: {share:g} % of the filters would be none in any layer. Shares are in "
            "percent: a fifth is 20."
        )
    for group in groups:
        if _removed(group, share) >= group.filters:
            raise ConfigurationError(
                f"prune.shares: {share:g} % of the {group.filters} filters of layer {group.name} "
                "would be all of them."
            )


def strongest_filters(
    network: nn.Module,
    groups: Sequence[FilterGroup],
    before: Filters,
    share: float,
    score: str,
) -> Filters:
    """Return the filters that are left when those with the lowest scores are removed.

    Args:
        network: a trained network that has the filters ``before``.
        groups: of the network before any pruning.
        before: the filters that it has.
        share: how many percent of the filters before any pruning are to be missing, rounded to
            the nearest number in each layer.
        score: of a filter: ``sum_of_abs`` of its weights, or their ``sum``; tied filters have the
            sum of their scores.
    """
    kept = {}
    for group in groups:
        scores = torch.zeros(len(before[group.name]), dtype=torch.float64)
        for name in group.convolutions:
            weight = _conv(network, name).weight.detach().double().cpu()
            scores += (weight.abs() if score == "sum_of_abs" else weight).sum((1, 2, 3))
        order = scores.argsort(descending=True, stable=True)
        chosen = order[: group.filters - _removed(group, share)].sort().values
        kept[group.name] = [before[group.name][i] for i in chosen.tolist()]
    return kept


def remove_other_filters(
    network: nn.Module, activation_type: type[nn.Module], images: Tensor, kept: Filters
) -> None:
    """Remove all filters but the ``kept`` of an unpruned network, with what depends on them."""
    import torch_pruning  # here, as runs that prune nothing need not wait for it

    with _dependencies(network, activation_type, images) as graph:
        for name, indices in kept.items():
            conv = _conv(network, name)
            removed = sorted(set(range(conv.out_channels)) - set(indices))
            if removed:
                graph.get_pruning_group(
                    conv, torch_pruning.prune_conv_out_channels, removed
                ).prune()


def count_parameters(network: nn.Module) -> int:
    """Return how many numbers a network learns, each shared one counted once."""
    return sum(p.numel() for p in network.parameters())


def multiply_adds(network: nn.Module, images: Tensor) -> int:
    """Return the multiply-adds that convolutions and linear layers take for one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images[:1])
    return counter.get_total_flops() // 2


def _conv(network: nn.Module, name: str) -> nn.Conv2d:
    return cast(nn.Conv2d, network.get_submodule(name))


def _removed(group: FilterGroup, share: float) -> int:
    return math.floor(group.filters * share / 100 + 0.5)


@contextlib.contextmanager
def _dependencies(
    network: nn.Module, activation_type: type[nn.Module], images: Tensor
) -> Iterator[torch_pruning.DependencyGraph]:
    import torch_pruning

    activations = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if type(child) is activation_type
    ]
    for parent, name, _ in activations:
        setattr(parent, name, nn.ReLU())
    training = network.training
    try:
        # In evaluation mode, so that the images leave no trace in batch norm.
        with torch.enable_grad():
            graph = torch_pruning.DependencyGraph().build_dependency(network.eval(), images)
        yield graph
    finally:
        network.train(training)
        for parent, name, activation in activations:
            setattr(parent, name, activation)
