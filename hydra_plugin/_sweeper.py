"""What ``-m`` does: from a command line to jobs, and from jobs to a table of what came of them."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write

from pade_bench.config.compose import Composed, command_options, compose, search_path
from pade_bench.config.fields import flatten, to_plain
from pade_bench.config.schema import parse_seed
from pade_bench.errors import ConfigurationError, SweepError
from pade_bench.report.names import count
from pade_bench.runs.chain import chain
from pade_bench.runs.files import writing_to
from pade_bench.runs.home import Run
from pade_bench.sweeps import isolated, launchers
from pade_bench.sweeps.jobs import Job, JobState, plan, summary, survey
from pade_bench.sweeps.outcome import Follower, conclude, outcome, print_ranking, table

# Settings of the sweep, not of its jobs.
OF_THE_SWEEP = ("sweep", "dry_run", "fail_fast", "restart")
# States of a job in which it is started.
_TO_DO = ("missing", "failed", "interrupted")
# How often the jobs that are left are launched anew when a launcher itself gave up.
_LAUNCHES = 3


class PadeBenchSweeper(Sweeper):
    """Run the jobs of a sweep that are missing, failed or interrupted.

    Args:
        params: setting -> values, as on the command line, where each can be given anew.
        exclude: cells that are left out: settings that a job must not have all together.
    """

    def __init__(
        self, params: Mapping[str, str] | None = None, exclude: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self.params = dict(params or {})
        self.exclude = [dict(cell) for cell in exclude]
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Remember what Hydra hands over; each job is started by :class:`Isolated` instead."""
        self.hydra_context = hydra_context
        self.config = copy.deepcopy(config)
        # A launcher composes each job's configuration with these, but without sweep=NAME, in which
        # a sweeper may have settings that the usual one does not have.
        with read_write(self.config.hydra):
            self.config.hydra.overrides.hydra = [
                o
                for o in config.hydra.overrides.hydra
                if not o.lstrip("+~").startswith("hydra.sweeper.")
            ]

    def sweep(self, arguments: list[str]) -> None:
        """List or run the jobs that ``arguments`` describe.

        Raises:
            ConfigurationError: the sweep or one of its jobs cannot be made.
            SweepError: not every job has a result now.
        """
        assert self.config is not None
        launchers.require(self.config)
        found = self._jobs(arguments)
        jobs = [job for job, _ in found]
        self._check(found)
        if self.config.dry_run:
            return print(plan(jobs))
        try:
            self._run(found)
        finally:  # also when it is interrupted
            states = self._states(jobs)
            print(f"\n{table(states)}", flush=True)
            print_ranking(jobs)
        conclude(states)

    def _check(self, found: Sequence[tuple[Job, list[Run]]]) -> None:
        """Raise :class:`ConfigurationError` for a job that is to be run and cannot be."""
        if left := self._left(found):
            # Imported here, because a list of finished runs must not wait for torch.
            from pade_bench.training.preflight import check

            check(runs for _, runs in left)

    def _left(self, found: Sequence[tuple[Job, list[Run]]]) -> list[tuple[Job, list[Run]]]:
        """Return the jobs that are to be run."""
        assert self.config is not None
        states = survey([job for job, _ in found])
        return [
            one
            for one, state in zip(found, states, strict=True)
            if self.config.restart or state.state in _TO_DO
        ]

    def _run(self, found: Sequence[tuple[Job, list[Run]]]) -> None:
        """Run the jobs that are missing, failed or interrupted, all with ``restart``."""
        assert self.config is not None
        left = [job for job, _ in self._left(found)]
        if self.config.restart:
            # Once and here, not by each job: one that is preempted has to resume.
            for run in (run for _, runs in found for run in runs):
                config = dataclasses.replace(run.config, restart=True)
                with dataclasses.replace(run, config=config).claim():
                    pass
        if left:
            with writing_to(self.logs):
                self.logs.mkdir(parents=True, exist_ok=True)
            now = summary(survey([job for job, _ in found]))
            print(f"{now}\nwhat each job prints goes to {self.logs}", flush=True)
            self._launch(left, self.logs)

    def _states(self, jobs: Sequence[Job]) -> list[JobState]:
        """Return the state of jobs, from what lies on the disk and from the logs of this sweep."""
        states = survey(jobs)
        return [outcome(s, self.logs) for s in states] if self.logs.exists() else states

    @property
    def logs(self) -> Path:
        """The folder of what the jobs of this sweep print."""
        assert self.config is not None
        return Path(self.config.hydra.sweep.dir)

    def _launch(self, jobs: Sequence[Job], logs: Path) -> None:
        """Hand jobs to the launcher; launch anew what is left where it gave up itself."""
        assert self.config is not None
        assert self.hydra_context is not None
        options = command_options(self.config.hydra)
        for _ in range(_LAUNCHES):
            if not jobs or isolated.stopped(logs):
                return
            launcher = Plugins.instance().instantiate_launcher(
                self.hydra_context,
                isolated.Isolated(jobs, options, logs, self.config.fail_fast),
                self.config,
            )
            try:
                launchers.prepare(self.config)
                with Follower(jobs, logs):
                    returns = launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
                for job_return in returns:
                    _ = job_return.return_value  # raises what the task raised
                return
            except ConfigurationError:
                raise
            except Exception as error:  # theirs have no class in common
                reason = f"{type(error).__name__}: {error}"
            if not any(isolated.log_path(logs, job).exists() for job in jobs):
                raise SweepError(f"the launcher could not start a job: {reason}")
            print(f"the launcher lost a job: {reason}", flush=True)
            if not launchers.may_launch_again(self.config, logs):
                return
            states = [outcome(state, logs) for state in survey(jobs)]
            # One that still runs may be about to end with the worker that watched it.
            jobs = [s.job for s in states if s.state in ("missing", "interrupted", "running")]

    def _jobs(self, arguments: Sequence[str]) -> list[tuple[Job, list[Run]]]:
        """Return the jobs and their runs, every configuration composed and checked."""
        found: dict[Path, tuple[Job, list[Run]]] = {}
        excluded = 0
        for overrides, runs in self._runs(arguments):
            run = runs[-1]
            if run.config.trainer.strategy == "ddp":
                raise ConfigurationError(
                    "trainer=ddp: a run of several processes is started by itself, not in a sweep: "
                    f"python -m pade_bench {shlex.join(overrides)}"
                )
            settings = {**flatten(to_plain(run.config)), **run.names}
            if any(all(str(settings.get(k)) == str(v) for k, v in c.items()) for c in self.exclude):
                excluded += 1
            else:
                found.setdefault(run.directory, (Job.of(runs, overrides), runs))
        if not found:
            raise ConfigurationError(
                f"the sweep has {count(excluded, 'job')}, and hydra.sweeper.exclude leaves out "
                "every one."
            )
        return list(found.values())

    def _runs(self, arguments: Sequence[str]) -> Iterator[tuple[list[str], list[Run]]]:
        """Yield every combination of values, as the overrides of a job and its runs."""
        assert self.config is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        params = [f"{key}={value}" for key, value in self.params.items()]
        overrides = []
        for override in parser.parse_overrides([*params, *arguments]):
            if override.key_or_group not in OF_THE_SWEEP:
                overrides.append(override)
            elif override.is_sweep_override():
                raise ConfigurationError(f"{override.input_line}: a sweep has one value of it.")
        searched = search_path(self.config.hydra)
        composed = functools.cache(lambda *overrides: compose([*searched, *overrides]))
        # The last value that is given for a setting counts, at the place of the first.
        values = {o.get_key_element(): values_of(o) for o in overrides}
        for combination in itertools.product(*values.values()):
            # Composing takes a tenth of a second, and seeds differ in one number.
            seed = [o for o in combination if o.startswith("seed=")]
            found: Composed = composed(*(o for o in combination if o not in seed))
            if seed:
                number = parse_seed(seed[-1].removeprefix("seed="))
                found = dataclasses.replace(
                    found, config=dataclasses.replace(found.config, seed=number)
                )
            yield list(combination), chain(found)


def values_of(override: Override) -> list[str]:
    """Return an override as often as it has values: ``["seed=0", "seed=1"]``."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise ConfigurationError(
            f"{override.input_line}: a sweep needs single values, such as {key}=0.1,0.2."
        )
    return [f"{key}={value}" for value in override.sweep_string_iterator()]
