"""Which runs a configuration stands for: one, or those of a pruning experiment."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from pade_bench.config.schema import PruneConfig
from pade_bench.runs.home import Run


def chain(config: DictConfig, unchanged: DictConfig, names: Mapping[str, str]) -> list[Run]:
    """Return the run of a configuration, or for pruning the runs with ever more ``prune.shares``.

    Args:
        config: the configuration.
        unchanged: see :meth:`pade_bench.runs.home.Run.from_config`.
        names: see there.
    """
    if config.prune.shares is None:
        return [Run.from_config(config, unchanged, dict(names))]
    runs = []
    for n in range(len(config.prune.shares) + 1):
        here, standard = copy.deepcopy(config), copy.deepcopy(unchanged)
        for settings in (here, standard):
            settings.prune.shares = (settings.prune.shares or [])[:n]
            if n == 0:  # nothing is pruned yet, so that how it is pruned makes no other run of it
                settings.prune = OmegaConf.structured(PruneConfig(shares=[]))
        runs.append(Run.from_config(here, standard, dict(names)))
    return runs
