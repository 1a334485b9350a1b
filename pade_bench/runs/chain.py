"""Which runs a configuration stands for: one, or those of a pruning experiment."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pade_bench.config.schema import Config, PruneConfig
from pade_bench.runs.home import Run

if TYPE_CHECKING:
    from pade_bench.config.compose import Composed


def chain(composed: Composed) -> list[Run]:
    """Return the run of a configuration; for pruning, the runs with ever more ``prune.shares``."""
    shares = composed.config.prune.shares
    if shares is None:
        return [Run.of(composed)]
    return [
        Run.of(
            dataclasses.replace(
                composed,
                config=_first(composed.config, n),
                unchanged=_first(composed.unchanged, n),
            )
        )
        for n in range(len(shares) + 1)
    ]


def _first(config: Config, n: int) -> Config:
    """Return a configuration with its first ``n`` shares alone."""
    # Nothing is pruned yet in the first run, so that how it is pruned makes no other run of it.
    prune = dataclasses.replace(config.prune, shares=(config.prune.shares or [])[:n])
    return dataclasses.replace(config, prune=prune if n else PruneConfig(shares=[]))
