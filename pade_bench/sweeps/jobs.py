"""The jobs of a sweep: their state, and how long those that are left will take."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pade_bench.report.names import count
from pade_bench.runs.home import Run
from pade_bench.runs.records import Result, read_runs
from pade_bench.runs.state import DONE, STATES, duration, median_epoch, state_and_note


@dataclass(frozen=True)
class Job:
    """One command of a sweep: a run, or the runs of a pruning experiment one after another."""

    overrides: tuple[str, ...]
    runs_dir: Path
    homes: tuple[Path, ...]
    experiment: str
    activation: str
    config_hashes: tuple[str, ...]
    max_epochs: int  # of each run

    @classmethod
    def of(cls, runs: Sequence[Run], overrides: Iterable[str]) -> Job:
        """Return the job that makes one run or several."""
        first = runs[0]
        return cls(
            tuple(overrides),
            Path(first.config.runs_dir),
            tuple(run.directory for run in runs),
            first.names["experiment"],
            first.names["activation"],
            tuple(run.config_hash for run in runs),
            first.config.trainer.max_epochs,
        )

    @property
    def name(self) -> str:
        """The home of its first run below ``runs_dir``: ``mnist_lenet/pau/seed1``."""
        return str(self.homes[0].relative_to(self.runs_dir))

    @property
    def log_name(self) -> str:
        """The name of the file that keeps what it prints: jobs may begin with the same run."""
        return f"{self.homes[-1].relative_to(self.runs_dir)}.log".replace("/", "_")

    def home(self, cwd: Path) -> Path:
        """Return the home of the first run without a record, of the last where all have one."""
        homes = [cwd / home for home in self.homes]
        return next((home for home in homes if not (home / "record.json").exists()), homes[-1])


@dataclass(frozen=True)
class JobState:
    """What a job is doing: one of ``STATES``; what is left of it, in seconds if that is known."""

    job: Job
    state: str
    epochs: int = 0
    seconds_left: float | None = 0.0
    note: str = ""


def survey(jobs: Sequence[Job]) -> list[JobState]:
    """Return the state of every job, in their order, from the records and locks on the disk."""
    results: list[Result] = []
    for runs_dir in {job.runs_dir for job in jobs}:
        if runs_dir.is_dir():
            results += read_runs(runs_dir)[0]
    found = {result.directory: result for result in results}
    similar: dict[object, list[Result]] = defaultdict(list)
    for result in results:
        for key in (result.config_hash, (result.experiment, result.activation), result.experiment):
            similar[key].append(result)
    states = []
    for job in jobs:
        runs = [
            _run_state(job, home, config_hash, found.get(home), similar)
            for home, config_hash in zip(job.homes, job.config_hashes, strict=True)
        ]
        states.append(_together(job, runs))
    return states


def _together(job: Job, runs: list[JobState]) -> JobState:
    """Return the state of a job from those of its runs; one that diverged is the last of them."""
    end = next((i for i, run in enumerate(runs) if run.state == "diverged"), len(runs) - 1)
    runs = runs[: end + 1]
    now = next((run for run in runs if run.state not in DONE), runs[-1])
    left = [run.seconds_left for run in runs]
    seconds = None if None in left else sum(s for s in left if s is not None)
    begun = now.state == "missing" and any(run.state in DONE for run in runs)
    return JobState(
        job,
        "interrupted" if begun else now.state,
        sum(run.epochs for run in runs),
        seconds,
        now.note,
    )


def _run_state(
    job: Job,
    home: Path,
    config_hash: str,
    result: Result | None,
    similar: Mapping[object, list[Result]],
) -> JobState:
    now_doing, note = state_and_note(home, result, config_hash)
    epochs = result.epochs if result else 0
    left: float | None = 0.0
    if now_doing not in DONE:
        one = median_epoch(
            [result] if result else [],
            similar.get(config_hash, []),
            similar.get((job.experiment, job.activation), []),
            similar.get(job.experiment, []),
        )
        left = None if one is None else one * max(0, job.max_epochs - epochs)
    return JobState(job, now_doing, epochs, left, note)


def plan(jobs: Sequence[Job]) -> str:
    """Return what ``dry_run=true`` prints: every job with its state, and what is left."""
    states = survey(jobs)
    return f"{listing(states)}\n\n{summary(states)}"


def listing(states: Sequence[JobState]) -> str:
    """Return a line for every job.

    Not a table of rich's, which would break or hide what is too wide for a terminal: run and note
    may be long paths, which have to stay whole.
    """
    lines = [("state", "run", "epochs", "left", "")]
    for s in states:
        left = "?" if s.seconds_left is None else duration(s.seconds_left)
        epochs = f"{s.epochs}/{s.job.max_epochs * len(s.job.homes)}"
        lines.append((s.state, s.job.name, epochs, "–" if s.state in DONE else left, s.note))
    a, b, c, d, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        f"{state:<{a}}  {name:<{b}}  {epochs:>{c}}  {left:>{d}}  {note}".rstrip()
        for state, name, epochs, left, note in lines
    )


def summary(states: Sequence[JobState]) -> str:
    """Return how many jobs there are of each state, and the time that is left."""
    counts = Counter(s.state for s in states)
    text = f"{count(len(states), 'job')}: "
    text += ", ".join(f"{counts[name]} {name}" for name in STATES if counts[name])
    left = [s.seconds_left for s in states if s.state not in DONE]
    if known := [seconds for seconds in left if seconds is not None]:
        text += f"; {duration(sum(known))} left one after another, by measured epochs"
    if unknown := len(left) - len(known):
        text += f"; for {unknown} there is no measured epoch yet"
    return text
