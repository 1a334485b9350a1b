"""The state of a run: finished, running, failed …; and how long its epochs take."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable
from pathlib import Path

from pade_bench.runs import locks
from pade_bench.runs.record import DIVERGED, FINISHED
from pade_bench.runs.records import Result

STATES = (FINISHED, "running", DIVERGED, "failed", "interrupted", "missing")
DONE = (FINISHED, DIVERGED)


def state(run: Result) -> str:
    """Return what a run is doing: one of ``STATES``, but never ``missing``."""
    return state_and_note(run.directory, run, run.config_hash)[0]


def state_and_note(home: Path, run: Result | None, config_hash: str) -> tuple[str, str]:
    """Return what the run that should be in a home is doing, and what is to be said of it.

    Args:
        home: the directory.
        run: what was read there, ``None`` if nothing could be.
        config_hash: of the settings that a result must have to count.
    """
    if run is not None and run.status in DONE:
        if run.config_hash != config_hash:
            return "failed", "its home holds a run with other settings"
        return run.status, "unverified: its record has no checksum" if run.is_unverified else ""
    if locks.is_held(home / "lock"):
        return "running", locks.holder(home / "lock")
    if run is None:
        if os.path.lexists(home / "record.json"):
            return "interrupted", "its record is damaged"
        return "missing", ""
    traceback = home / "traceback.txt"
    return ("failed", str(traceback)) if os.path.lexists(traceback) else ("interrupted", "")


def median_epoch(*similar: Iterable[Result]) -> float | None:
    """Return the seconds of an epoch, from the first of several sets of runs that has any."""
    for runs in similar:
        if measured := [seconds for run in runs for seconds in run.seconds_per_epoch]:
            # An epoch during which the machine was busy or asleep should not count for all.
            return statistics.median(measured)
    return None


def duration(seconds: float) -> str:
    """Return ``less than 1 s``, ``45 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 0.5:
        return "less than 1 s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if round(minutes) < 60 else f"{minutes / 60:.1f} h"
