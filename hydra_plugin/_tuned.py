"""A sweeper that gives every cell the same search, and then trains each with what it found."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra_plugins.pade_bench._search import OptunaSweeper, Study, Trial, distribution
from hydra_plugins.pade_bench._sweeper import values_of

from pade_bench.errors import ConfigurationError
from pade_bench.report.leaderboard import Board, accuracy_interval, boards
from pade_bench.report.names import count
from pade_bench.report.tables import Cell, Table
from pade_bench.report.tables.terminal import print_table
from pade_bench.runs.home import Run
from pade_bench.sweeps import launchers
from pade_bench.sweeps.jobs import Job
from pade_bench.sweeps.outcome import conclude, groups_of, table

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
        overrides = self.parsed(self.searched, arguments)
        seeds = [o for o in overrides if o.get_key_element() == "seed"]
        values = [v for o in seeds for v in values_of(o)] or ["seed=0"]
        if f"seed={self.search_seed}" in values:
            raise ConfigurationError(
                f"seed={self.search_seed} is that of the search: the final runs need others."
            )
        space = {o.get_key_element(): distribution(o) for o in self.parsed(self.space, [])}
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
        studies = [Study([*cell, *searching], space, self.sampler()) for cell in cells]
        if not self.search(studies):
            final = count(len(cells) * len(values), "final run")
            return print(f"{final} on all training images with seeds of their own follow them.")
        chosen: list[_Chosen] = []
        for study, cell in zip(studies, cells, strict=True):
            best = study.best()
            tuned = [*cell, *(f"{k}={v}" for k, v in best.chosen.items())]
            chosen.append((best, [self.job([*tuned, seed]) for seed in values]))
        everything = [job for _, found in chosen for job in found]
        self._check(everything)
        self._run(everything)
        states = self._states([job for job, _ in everything])
        print(f"\n{table(states)}")
        print_table(_tuned(chosen), text_columns=(0, 1))
        for board in _boards([job for job, _ in everything], space):
            print(f"{board.title}: {board.verdict}")
        self._write_tuned(chosen)
        conclude(states)

    def _write_tuned(self, chosen: Sequence[_Chosen]) -> None:
        """Write what was chosen for each cell, and what its runs reached."""
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
        print(f"written: {self.keep('tuned_results.yaml', found)}")


def _test_accuracy(run: Run) -> float | None:
    record = run.sound_record()
    return record.test_accuracy if record else None


def _boards(jobs: Sequence[Job], searched: Iterable[str]) -> list[Board]:
    """Return the rankings of the final runs, in which what was searched makes no difference."""
    names = set(searched)
    return boards(
        dataclasses.replace(group, protocol=tuple(c for c in group.protocol if c[0] not in names))
        for group in groups_of(jobs)
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
            if interval := accuracy_interval(reached):
                text += f" [{interval[0]:.2f}, {interval[1]:.2f}]"
        job = jobs[0][0]
        row = [job.experiment, job.activation, *map(str, best.chosen.values())]
        row += [f"{best.validation_accuracy:.2f}", text, f"{len(reached)} of {len(jobs)}"]
        mean = statistics.mean(reached) if reached else -1.0
        rows.append((job.experiment, -mean, [Cell(one) for one in row]))
    found.rows += [cells for _, _, cells in sorted(rows, key=lambda row: row[:2])]
    return found
