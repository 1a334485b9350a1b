"""A sweeper that searches with Optuna for settings with a high accuracy on a validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra_plugins.pade_bench._sweeper import OF_THE_SWEEP, PadeBenchSweeper, values_of

from pade_bench.errors import ConfigurationError, SweepError
from pade_bench.report.names import count
from pade_bench.report.tables import BEST, Cell, Table
from pade_bench.report.tables.terminal import print_table
from pade_bench.runs.files import write_atomically, writing_to
from pade_bench.runs.home import Run
from pade_bench.runs.state import DONE
from pade_bench.sweeps import launchers
from pade_bench.sweeps.jobs import Job, JobState, plan
from pade_bench.sweeps.outcome import conclude

if TYPE_CHECKING:
    import optuna

DIGITS = 4  # of a value that is drawn from an interval, so that homes and commands can be read
# The first trials of a study are drawn at random: they do not depend on what the others found.
RANDOM_TRIALS = 10


@dataclass
class Trial:
    """A trial of a study: the overrides it adds, and what came of it."""

    number: int
    chosen: dict[str, Any]
    state: str = "missing"
    validation_accuracy: float | None = None


@dataclass
class Study:
    """A search: what all its trials have in common, what they choose from, what they were.

    Args:
        fixed: the overrides that all trials have.
        space: setting -> Optuna's distribution.
        sampler: Optuna's.
    """

    fixed: list[str]
    space: Mapping[str, Any]
    sampler: Any
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._study: optuna.Study = _optuna().create_study(
            direction="maximize", sampler=self.sampler
        )

    def ask(self) -> list[str]:
        """Return the overrides of the next trial."""
        asked = self._study.ask(dict(self.space))
        chosen = {name: _rounded(value) for name, value in asked.params.items()}
        self.trials.append(Trial(asked.number, chosen))
        return [*self.fixed, *(f"{name}={value}" for name, value in chosen.items())]

    def tell(self, trial: Trial, state: str, validation_accuracy: float | None) -> None:
        """Say what came of a trial; one without a result is a failed trial."""
        trial.state, trial.validation_accuracy = state, validation_accuracy
        failed = _optuna().trial.TrialState.FAIL if validation_accuracy is None else None
        self._study.tell(trial.number, validation_accuracy, state=failed)

    def best(self) -> Trial:
        """Return the first trial with the highest accuracy.

        Raises:
            SweepError: none has a result.
        """
        done = [trial for trial in self.trials if trial.validation_accuracy is not None]
        if not done:
            raise SweepError(f"no trial of {' '.join(self.fixed)} has a result.")
        return max(done, key=lambda trial: trial.validation_accuracy or 0.0)


class OptunaSweeper(PadeBenchSweeper):
    """Search for the settings with the highest accuracy on the validation split.

    Settings with several values on the command line, ``interval(a, b)`` and ``tag(log, interval(a,
    b))`` included, are what is searched. Trials are jobs as in every sweep: processes of their
    own, with homes of their own; a trial that diverges or fails is a failed one. The sampler is
    seeded and finished runs are not made again, so the same command goes on with a study that was
    interrupted, without a data base.

    Args:
        params: setting -> values, as on the command line, where each can be given anew.
        n_trials: how many.
        n_jobs: how many are chosen, and handed to the launcher, at a time.
        seed: of Optuna's sampler (a tree-structured Parzen estimator).
        exclude: as of a sweep.
    """

    validation_setting = "data.validation"

    def __init__(
        self,
        params: Mapping[str, str] | None = None,
        n_trials: int = 20,
        n_jobs: int = 1,
        seed: int = 0,
        exclude: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__({}, exclude)
        self.searched = dict(params or {})
        for name, value in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if type(value) is not int or value < 1:
                raise ConfigurationError(
                    f"hydra.sweeper.{name}={value}: must be a whole number of at least 1."
                )
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.seed = seed

    def sweep(self, arguments: list[str]) -> None:
        """Make the trials, and say which was best.

        Raises:
            ConfigurationError: there is nothing to search, or by, or a trial cannot be made.
            SweepError: the search was stopped, or no trial has a result.
        """
        assert self.config is not None
        launchers.require(self.config)
        overrides = self.parsed(self.searched, arguments)
        fixed = [text for o in overrides if not o.is_sweep_override() for text in values_of(o)]
        space = {o.get_key_element(): distribution(o) for o in overrides if o.is_sweep_override()}
        if not space:
            raise ConfigurationError(
                "hydra/sweeper=optuna: nothing is searched. Give a setting several values, such as "
                "'optim.weights.lr=tag(log,interval(1e-4,1e-1))'."
            )
        if "seed" in space:
            raise ConfigurationError(
                "seed: a search would choose the luckiest of seeds. Give it one, and compare what "
                "it finds with several afterwards; sweep=tuned does both."
            )
        study = Study(fixed, space, self.sampler())
        if self.search([study]):
            print_table(_trials(study))
            self._write(study)

    def search(self, studies: Sequence[Study]) -> bool:
        """Make all trials of studies that go on side by side; return False for a dry run."""
        assert self.config is not None
        while any(len(study.trials) < self.n_trials for study in studies):
            asked = []
            for study in studies:
                for _ in range(min(self.n_jobs, self.n_trials - len(study.trials))):
                    job, runs = self.job(study.ask())
                    if not runs[-1].config.data.validation:
                        raise ConfigurationError(
                            "a search goes by the accuracy on a validation split, and there is "
                            f"none: add {self.validation_setting}=5000, or how many training "
                            "images to set apart."
                        )
                    asked.append((study, study.trials[-1], job, runs))
            found = [(job, runs) for _, _, job, runs in asked]
            self._check(found)
            if self.config.dry_run:
                number = self.n_trials * len(studies)
                print(plan([job for job, _ in found]))
                trials = count(number, "trial")
                print(f"{trials} in all; what later ones try depends on the first.")
                return False
            self._run(found)
            states = self._states([job for job, _ in found])
            stopped = [s for s in states if s.state not in (*DONE, "failed")]
            if stopped or (self.config.fail_fast and any(s.state == "failed" for s in states)):
                conclude(states)
            for (study, trial, _, runs), state in zip(asked, states, strict=True):
                study.tell(trial, state.state, _validation_accuracy(runs[-1], state))
        return True

    def job(self, overrides: Sequence[str]) -> tuple[Job, list[Run]]:
        """Return the one job that overrides describe."""
        ((_, runs),) = self._runs(overrides)
        return Job.of(runs, overrides), runs

    def parsed(self, params: Mapping[str, Any], arguments: Sequence[str]) -> list[Override]:
        """Return overrides, the last that is given for each setting."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = [f"{key}={value}" for key, value in params.items()]
        found = {o.get_key_element(): o for o in parser.parse_overrides([*given, *arguments])}
        return [o for o in found.values() if o.key_or_group not in OF_THE_SWEEP]

    def sampler(self) -> Any:
        return _optuna().samplers.TPESampler(
            n_startup_trials=RANDOM_TRIALS, seed=self.seed, constant_liar=self.n_jobs > 1
        )

    def keep(self, name: str, content: Any) -> Path:
        """Write what came of the search into a file of the sweep's folder; return its path."""
        assert self.config is not None
        path = Path(self.config.hydra.sweep.dir) / name
        with writing_to(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, yaml.safe_dump(content, sort_keys=False).encode())
        return path

    def _write(self, study: Study) -> None:
        """Write the result where, and as, Hydra's own sweeper of that name does."""
        best = study.best()
        path = self.keep(
            "optimization_results.yaml",
            {
                "name": "optuna",
                "best_params": best.chosen,
                "best_value": best.validation_accuracy,
            },
        )
        print(f"best: {' '.join(f'{k}={v}' for k, v in best.chosen.items())}  ({path})")


def _optuna() -> Any:
    """Return Optuna, which takes a second to import.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "a search needs the package optuna: pip install 'pade_bench[search]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def distribution(override: Override) -> Any:
    """Return Optuna's distribution for the values of a setting, as Hydra's own sweeper reads them.

    Raises:
        ConfigurationError: they are none that can be searched.
    """
    distributions, value = _optuna().distributions, override.value()
    try:
        if isinstance(value, IntervalSweep):
            low, high = value.start, value.end
            if unknown := value.tags - {"log"}:
                raise ValueError(
                    f"an interval has no tag {', '.join(sorted(unknown))}: log is the only one"
                )
            kind = distributions.FloatDistribution
            if isinstance(low, int) and isinstance(high, int):
                kind = distributions.IntDistribution
            return kind(low, high, log="log" in value.tags)
        if isinstance(value, RangeSweep) and not value.shuffle:
            return distributions.CategoricalDistribution(list(value.range()))
        if isinstance(value, ChoiceSweep):
            return distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{override.input_line}: {error}") from error
    raise ConfigurationError(
        f"{override.input_line}: is not several values; write interval(a,b), "
        "tag(log,interval(a,b)), or single ones."
    )


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _validation_accuracy(run: Run, state: JobState) -> float | None:
    """Return the accuracy on the validation split after the last epoch, in percent."""
    record = run.record() if state.state == "finished" else None
    return None if record is None else record.validation_accuracy


def _trials(study: Study) -> Table:
    """Return a row for each trial."""
    best = study.best()
    found = Table("trials", "Trials", [("", n) for n in ("trial", *study.space, "validation", "")])
    for trial in study.trials:
        accuracy = trial.validation_accuracy
        row = [str(trial.number), *(f"{trial.chosen[name]}" for name in study.space)]
        shown = "–" if accuracy is None else f"{accuracy:.2f} %"
        cells = [Cell(text) for text in (*row, shown)]
        mark = BEST if trial is best else ""
        found.rows.append([*cells, Cell("best" if mark else "", mark)
                           if trial.state == "finished" else Cell(trial.state)])  # fmt: skip
    return found
