"""Sweepers that search: with Optuna, for settings with a high accuracy on a validation split."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra_plugins.pade_bench._sweeper import OF_THE_SWEEP, PadeBenchSweeper, values_of

from pade_bench.errors import ConfigurationError, SweepError
from pade_bench.report.grouping import group_runs
from pade_bench.report.leaderboard import Board, boards
from pade_bench.report.names import count
from pade_bench.report.statistics.intervals import t_interval
from pade_bench.report.tables import BEST, Cell, Table
from pade_bench.report.tables.terminal import print_table
from pade_bench.runs.files import write_atomically, writing_to
from pade_bench.runs.home import Run
from pade_bench.runs.records import read_runs
from pade_bench.runs.state import DONE
from pade_bench.sweeps import launchers
from pade_bench.sweeps.jobs import Job, JobState, plan
from pade_bench.sweeps.outcome import conclude, table

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
        overrides = self._parsed(self.searched, arguments)
        fixed = [text for o in overrides if not o.is_sweep_override() for text in values_of(o)]
        space = {o.get_key_element(): _distribution(o) for o in overrides if o.is_sweep_override()}
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
        study = Study(fixed, space, self._sampler())
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
                    job, runs = self._job(study.ask())
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

    def _job(self, overrides: Sequence[str]) -> tuple[Job, list[Run]]:
        """Return the one job that overrides describe."""
        ((_, runs),) = self._runs(overrides)
        return Job.of(runs, overrides), runs

    def _parsed(self, params: Mapping[str, Any], arguments: Sequence[str]) -> list[Override]:
        """Return overrides, the last that is given for each setting."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = [f"{key}={value}" for key, value in params.items()]
        found = {o.get_key_element(): o for o in parser.parse_overrides([*given, *arguments])}
        return [o for o in found.values() if o.key_or_group not in OF_THE_SWEEP]

    def _sampler(self) -> Any:
        return _optuna().samplers.TPESampler(
            n_startup_trials=RANDOM_TRIALS, seed=self.seed, constant_liar=self.n_jobs > 1
        )

    def _write(self, study: Study) -> None:
        """Write the result where, and as, Hydra's own sweeper of that name does."""
        assert self.config is not None
        best = study.best()
        path = Path(self.config.hydra.sweep.dir) / "optimization_results.yaml"
        with writing_to(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            result = {
                "name": "optuna",
                "best_params": best.chosen,
                "best_value": best.validation_accuracy,
            }
            write_atomically(path, yaml.safe_dump(result, sort_keys=False).encode())
        print(f"best: {' '.join(f'{k}={v}' for k, v in best.chosen.items())}  ({path})")


# The best trial of a cell, and its final runs.
_Chosen = tuple[Trial, list[tuple[Job, list[Run]]]]


class TunedSweeper(OptunaSweeper):
    """Give every cell of a sweep the same search, then train it with several seeds.

    Every combination of values but seeds is a cell. For each the settings of ``search`` are
    searched with ``n_trials`` trials on a validation split; then the best of them are trained on
    all training images with every seed, none of which was used in the search.

    Args:
        params: setting -> values, as on the command line; ``seed`` has those of the final runs.
        search: setting -> interval, what is searched for each cell.
        validation: training images that are set apart in the search.
        n_trials, n_jobs, seed, exclude: see :class:`OptunaSweeper`.
    """

    validation_setting = "hydra.sweeper.validation"

    def __init__(
        self,
        params: Mapping[str, str] | None = None,
        search: Mapping[str, str] | None = None,
        validation: int = 5000,
        search_seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(params, **settings)
        self.space = dict(search or {})
        self.validation = validation
        self.search_seed = search_seed

    def sweep(self, arguments: list[str]) -> None:
        """Search, train, and print what every cell reached.

        Raises:
            ConfigurationError, SweepError: as of a search and of a sweep.
        """
        assert self.config is not None
        launchers.require(self.config)
        overrides = self._parsed(self.searched, arguments)
        seeds = [o for o in overrides if o.get_key_element() == "seed"]
        values = [v for o in seeds for v in values_of(o)] or ["seed=0"]
        if f"seed={self.search_seed}" in values:
            raise ConfigurationError(
                f"seed={self.search_seed} is that of the search: the final runs need others."
            )
        space = {o.get_key_element(): _distribution(o) for o in self._parsed(self.space, [])}
        for o in overrides:
            setting = o.get_key_element().lstrip("+~")
            if setting in space:
                raise ConfigurationError(
                    f"{o.input_line}: {setting} is what is searched here, in the interval of "
                    f"'hydra.sweeper.search={{{setting}:\"tag(log,interval(1e-4,1e-1))\"}}'."
                )
            if setting == "data.validation":
                raise ConfigurationError(
                    f"{o.input_line}: the final runs have all training images, and how many the "
                    f"search sets apart is {self.validation_setting}."
                )
        searching = [f"data.validation={self.validation}", f"seed={self.search_seed}"]
        others = [o.input_line or "" for o in overrides if o not in seeds]
        cells = [
            [o for o in job.overrides if not o.startswith("seed=")]
            for job, _ in self._jobs([*others, searching[-1]])
        ]
        studies = [Study([*cell, *searching], space, self._sampler()) for cell in cells]
        if not self.search(studies):
            final = count(len(cells) * len(values), "final run")
            return print(f"{final} on all training images with seeds of their own follow them.")
        chosen: list[_Chosen] = []
        for study, cell in zip(studies, cells, strict=True):
            best = study.best()
            tuned = [*cell, *(f"{k}={v}" for k, v in best.chosen.items())]
            chosen.append((best, [self._job([*tuned, seed]) for seed in values]))
        everything = [job for _, found in chosen for job in found]
        self._check(everything)
        self._run(everything)
        states = self._states([job for job, _ in everything])
        print(f"\n{table(states)}")
        print_table(_tuned(chosen), text_columns=(0, 1))
        for board in _boards(everything, space):
            print(f"{board.title}: {board.verdict}")
        self._write_tuned(chosen)
        conclude(states)

    def _write_tuned(self, chosen: Sequence[_Chosen]) -> None:
        """Write what was chosen for each cell, and what its runs reached."""
        assert self.config is not None
        path = Path(self.config.hydra.sweep.dir) / "tuned_results.yaml"
        found = [
            {
                "experiment": jobs[0][0].experiment,
                "activation": jobs[0][0].activation,
                "chosen": best.chosen,
                "validation_accuracy": best.validation_accuracy,
                "test_accuracy": {
                    str(job.homes[-1]): _test_accuracy(runs[-1]) for job, runs in jobs
                },
            }
            for best, jobs in chosen
        ]
        with writing_to(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, yaml.safe_dump(found, sort_keys=False).encode())
        print(f"written: {path}")


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


def _distribution(override: Override) -> Any:
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


def _test_accuracy(run: Run) -> float | None:
    record = run.sound_record()
    return record.test_accuracy if record else None


def _boards(made: Sequence[tuple[Job, list[Run]]], searched: Iterable[str]) -> list[Board]:
    """Return the rankings of the final runs, in which what was searched makes no difference."""
    homes = {home for job, _ in made for home in job.homes}
    found = [read_runs(root)[0] for root in {job.runs_dir for job, _ in made} if root.is_dir()]
    groups = group_runs(run for runs in found for run in runs if run.directory in homes)
    names = set(searched)
    return boards(
        dataclasses.replace(group, protocol=tuple(c for c in group.protocol if c[0] not in names))
        for group in groups
    )


def _tuned(chosen: Sequence[_Chosen]) -> Table:
    """Return a row for each cell: what was chosen, and the test accuracy that it reached."""
    names = ["experiment", "activation", *chosen[0][0].chosen, "validation", "test accuracy", "n"]
    found = Table("tuned", "Tuned", [("", name) for name in names])
    rows = []
    for best, jobs in chosen:
        accuracies = [_test_accuracy(runs[-1]) for _, runs in jobs]
        reached = [accuracy for accuracy in accuracies if accuracy is not None]
        text = "–"
        if reached:
            text = f"{statistics.mean(reached):.2f}"
            if interval := t_interval(reached):
                text += f" [{max(interval[0], 0):.2f}, {min(interval[1], 100):.2f}]"
        job = jobs[0][0]
        row = [job.experiment, job.activation, *map(str, best.chosen.values())]
        row += [f"{best.validation_accuracy:.2f}", text, f"{len(reached)} of {len(jobs)}"]
        mean = statistics.mean(reached) if reached else -1.0
        rows.append((job.experiment, -mean, [Cell(one) for one in row]))
    found.rows += [cells for _, _, cells in sorted(rows, key=lambda row: row[:2])]
    return found
