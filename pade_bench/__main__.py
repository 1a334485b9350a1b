"""The command line: ``python -m pade_bench [experiment=NAME] [activation=NAME] [key=value …]``."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib.metadata import version
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException, HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pade_bench.config.compose import composed, register
from pade_bench.config.explain import explain, explain_inside_a_value
from pade_bench.errors import NOBODY_READS, ConfigurationError, PadeBenchError, exit_with
from pade_bench.runs.chain import chain
from pade_bench.sweeps import launchers
from pade_bench.sweeps.isolated import end_with_parent
from pade_bench.sweeps.jobs import Job, plan

try:
    from hydra_plugins.pade_bench._search import OptunaSweeper
    from hydra_plugins.pade_bench._sweeper import PadeBenchSweeper
    from hydra_plugins.pade_bench._tuned import TunedSweeper
except ModuleNotFoundError:  # pip learns of a folder of the repository when it installs it
    sys.exit("pade_bench: this checkout was installed before hydra_plugin/ was in it; do so again.")

# Errors that a user can cause: their message is all that there is to say.
_EXPLAINED = (PadeBenchError, CompactHydraException, HydraException, OmegaConfBaseException)


@hydra.main(version_base="1.3", config_path="pkg://pade_bench.configs", config_name="config")
def _job(config: DictConfig) -> float | None:
    """Do what ``config`` describes; return what a search maximizes, see :func:`_train`."""
    try:
        return _train(config)
    except _EXPLAINED as error:  # here already: Hydra would print a line of its own before it
        _end(error)
    except BrokenPipeError:  # for the same reason
        sys.exit(NOBODY_READS)


def _train(config: DictConfig) -> float | None:
    """Train the run that ``config`` describes, or say that it is finished.

    Returns the accuracy on the images that ``data.validation`` sets apart, None without any or if
    training diverged: sweepers of Hydra's search by what is returned, and must not see the test
    split.
    """
    sweeper = HydraConfig.get().runtime.choices["hydra/sweeper"]
    if sweeper == "optuna":
        raise ConfigurationError("hydra/sweeper=optuna searches with -m alone: add it.")
    runs = chain(composed(config, HydraConfig.get()))
    # Imported here, because printing a configuration must not wait for torch.
    from pade_bench.training import fit
    from pade_bench.training.preflight import check
    from pade_bench.training.pruning import fit_chain
    from pade_bench.training.trainer import check_devices

    # What Lightning says of the machine and of itself would bury what the user asked for.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    warnings.filterwarnings("ignore", message="The `srun` command is available")

    if config.restart or any(run.sound_record() is None for run in runs):
        check_devices(runs[0].config)
        check([runs])
    if config.dry_run:
        return print(plan([Job.of(runs, HydraConfig.get().overrides.task)]))
    records = [fit(runs[0])] if config.prune.shares is None else fit_chain(runs)
    return records[-1].validation_accuracy


def _end(error: Exception) -> NoReturn:
    print(f"pade_bench: {explain(error)}", file=sys.stderr)
    sys.exit(getattr(error, "exit_code", 2))


def main() -> NoReturn:
    """Run the command line; errors that a user can cause are printed without a traceback."""
    exit_with(_command)


def _command() -> None:
    if "--version" in sys.argv[1:]:  # Hydra would tell its own
        return print(f"pade_bench {version('pade_bench')}")
    end_with_parent()
    register()
    launchers.register()
    for sweeper in (PadeBenchSweeper, OptunaSweeper, TunedSweeper):
        Plugins.instance().register(sweeper)
    # With this variable Hydra raises what it would otherwise print in its own way.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        _job()
    except _EXPLAINED as error:
        _end(error)
    except ValueError as error:
        if "Config group override" not in str(error):  # Hydra does not name it
            raise
        group = next((a for a in sys.argv if a.endswith("=null")), "a group of settings")
        _end(ConfigurationError(f"{group}: must be the name of a file; --help lists them."))
    except AssertionError as error:
        if "Unexpected type for root" not in str(error):  # of OmegaConf, which does not name it
            raise
        _end(ConfigurationError(explain_inside_a_value(sys.argv[1:])))
    except KeyboardInterrupt:
        print("\npade_bench: interrupted; the same command resumes.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
