"""The command line: ``python -m pade_bench [experiment=NAME] [activation=NAME] [key=value …]``."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    CompactHydraException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pade_bench.config import schema
from pade_bench.errors import PadeBenchError, did_you_mean, one_of
from pade_bench.runs.chain import chain
from pade_bench.runs.home import Run
from pade_bench.sweeps import sweeper
from pade_bench.sweeps.isolated import end_with_parent
from pade_bench.sweeps.jobs import Job, plan

# Errors that a user can cause: their message is all that there is to say.
_EXPLAINED = (PadeBenchError, CompactHydraException, HydraException)


@hydra.main(version_base="1.3", config_path="pkg://pade_bench.configs", config_name="config")
def _job(config: DictConfig) -> float | None:
    """Do what ``config`` describes; return the accuracy, for sweepers that look for a high one."""
    try:
        return _train(config)
    except _EXPLAINED as error:  # here already: Hydra would print a line of its own before it
        _end(error)


def _train(config: DictConfig) -> float | None:
    """Train the run that ``config`` describes, or say that it is finished; return its accuracy."""
    choices: Any = HydraConfig.get().runtime.choices
    # The same experiment and activation with nothing else changed: what differs names the run.
    unchanged = hydra.compose(
        "config", [f"experiment={choices.experiment}", f"activation={choices.activation}"]
    )
    runs = chain(config, unchanged, {k: choices[k] for k in Run.CHOICES})
    if config.dry_run:
        return print(plan([Job.of(runs, HydraConfig.get().overrides.task)]))
    # Imported here, because printing a configuration must not wait for torch.
    from pade_bench.training import fit
    from pade_bench.training.pruning import fit_chain

    # What Lightning says of the machine and of itself would bury what the user asked for.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    warnings.filterwarnings("ignore", message="The `srun` command is available")

    records = [fit(runs[0])] if config.prune.shares is None else fit_chain(runs)
    return records[-1]["test_accuracy"]


def _end(error: Exception) -> NoReturn:
    print(f"pade_bench: {explain(error)}", file=sys.stderr)
    sys.exit(getattr(error, "exit_code", 2))


def explain(error: BaseException) -> str:
    """Word an error of Hydra or OmegaConf for a user who typed a command line."""
    # Hydra names the file of a mistake in YAML at the beginning of its own message.
    in_file = re.match(r"In '([^']+)': ", str(error))
    where = f"{in_file[1]}.yaml: " if in_file and in_file[1] != "config" else ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return where + _explain_key(cause)
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file and cause.options:
            group, _, name = str(cause.missing_cfg_file).rpartition("/")
            return where + one_of(group, name, sorted(cause.options))
        if isinstance(cause, OverrideParseException):
            return f"cannot read {cause.override}: {str(cause).splitlines()[0]}"
        cause = cause.__cause__ or cause.__context__
    return str(error)


def _explain_key(error: OmegaConfBaseException) -> str:
    parent = error.parent_node
    if not isinstance(parent, DictConfig) or error.key in parent:
        return f"{error.full_key}: {str(error).splitlines()[0]}"
    names = sorted(str(name) for name in parent if name != "hydra")
    where = str(error.full_key).rpartition(".")[0]
    if not where:
        where, names = "the configuration", [*names, "experiment"]
    return (
        f"{error.full_key} is no setting: {where} has {', '.join(names)}."
        f"{did_you_mean(str(error.key), names)}"
    )


def main() -> None:
    """Run the command line; errors that a user can cause are printed without a traceback."""
    end_with_parent()
    schema.register()
    sweeper.register()
    # With this variable Hydra raises what it would otherwise print in its own way.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        _job()
    except _EXPLAINED as error:
        _end(error)
    except KeyboardInterrupt:
        print("\npade_bench: interrupted; the same command resumes.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
