"""The state of a run: finished, running, failed …; and how long its epochs take."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from pade_bench.runs import locks
from pade_bench.runs.records import Result

STATES = ("finished", "running", "diverged", "failed", "interrupted", "missing")
DONE = ("finished", "diverged")


def state(run: Result) -> str:
    """Return what a run is doing: one of ``STATES``, but never ``missing``."""
    if run.status != "unfinished":
        return run.status
    if locks.is_held(run.directory / "lock"):
        return "running"
    return "failed" if (run.directory / "traceback.txt").exists() else "interrupted"


def median_epoch(*similar: Iterable[Result]) -> float | None:
    """Return the seconds of an epoch, from the first of several sets of runs that has any."""
    for runs in similar:
        if measured := [seconds for run in runs for seconds in run.seconds_per_epoch]:
            # An epoch during which the machine was busy or asleep should not count for all.
            return statistics.median(measured)
    return None


def duration(seconds: float) -> str:
    """Return ``45 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
