"""What came of a sweep: the table at its end, and its exit status."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

from pade_bench.errors import RunHeldError, SweepError
from pade_bench.report.grouping import group_runs
from pade_bench.report.groups import Group
from pade_bench.report.names import count
from pade_bench.report.tables.terminal import print_leaderboard
from pade_bench.runs.progress_lines import is_progress
from pade_bench.runs.records import read_runs
from pade_bench.runs.state import DONE
from pade_bench.sweeps.isolated import ENDED, ending, log_path
from pade_bench.sweeps.jobs import Job, JobState, listing, summary


class Follower(threading.Thread):
    """Prints what matters of the jobs' logs while a launcher works.

    Args:
        jobs: the jobs, in the order in which they are numbered.
        logs: where their logs are; on a cluster, a folder that its machines share.
    """

    def __init__(self, jobs: Sequence[Job], logs: Path) -> None:
        super().__init__(daemon=True)
        self.jobs = jobs
        self.logs = logs
        self.offsets = [_size(log_path(logs, job)) for job in jobs]
        self.ended = threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        """Print until the launcher has returned, and then what is left."""
        last = False
        while not last:
            last = self.ended.wait(1.0)
            for number, job in enumerate(self.jobs):
                for line in self._new_lines(number, job):
                    self._print(f"[{number + 1}/{len(self.jobs)}] {job.name}:", line)

    def _new_lines(self, number: int, job: Job) -> list[str]:
        path = log_path(self.logs, job)
        if _size(path) <= self.offsets[number]:
            return []
        with open(path, "rb") as log:
            log.seek(self.offsets[number])
            complete = log.read().rpartition(b"\n")[0]
        if not complete:
            return []
        self.offsets[number] += len(complete) + 1
        return complete.decode(errors="replace").split("\n")

    def _print(self, job: str, line: str) -> None:
        if line.startswith(ENDED):
            state, _, reason = line.removeprefix(ENDED).partition(": ")
            print(job, f"{state}, {reason}" if reason else state, flush=True)
        elif is_progress(line):
            print(job, line, flush=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # not started yet


def outcome(state: JobState, logs: Path) -> JobState:
    """Return the state with what the job's log knows: a job may fail before its home exists."""
    if state.state in (*DONE, "running"):
        return state
    ended, reason = ending(logs, state.job)
    if ended in ("failed", "interrupted"):
        traceback = state.job.home(Path()) / "traceback.txt"
        where = traceback if ended == "failed" and traceback.exists() else log_path(logs, state.job)
        return dataclasses.replace(state, state=ended, note=f"{reason} ({where})")
    return dataclasses.replace(state, note=reason)


def table(states: Sequence[JobState]) -> str:
    """Return the jobs that have no result, and how many jobs there are of each state."""
    lacking = [s for s in states if s.state not in DONE]
    return "\n".join([*([listing(lacking), ""] if lacking else []), summary(states)])


def groups_of(jobs: Sequence[Job]) -> list[Group]:
    """Return the groups of the runs of jobs, as far as there are runs."""
    homes = {home for job in jobs for home in job.homes}
    found = [read_runs(runs_dir)[0] for runs_dir in {job.runs_dir for job in jobs}
             if runs_dir.is_dir()]  # fmt: skip
    return group_runs(run for runs in found for run in runs if run.directory in homes)


def print_ranking(jobs: Sequence[Job]) -> None:
    """Print which activation is ahead among the runs of the jobs that have a result."""
    print_leaderboard(groups_of(jobs))


def conclude(states: Sequence[JobState]) -> None:
    """Raise :class:`SweepError` unless every job has a result."""
    running = sum(s.state == "running" for s in states)
    lacking = sum(s.state not in DONE for s in states) - running
    if lacking:
        raise SweepError(
            f"{lacking} of {count(len(states), 'run')} {'has' if lacking == 1 else 'have'} no "
            f"result; the same command starts {'it' if lacking == 1 else 'them'} again."
        )
    if running:
        raise SweepError(
            f"{running} of {count(len(states), 'run')} {'is' if running == 1 else 'are'} being "
            "trained by other processes.",
            RunHeldError.exit_code,
        )
