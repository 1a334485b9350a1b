"""Following a sweep: ``python -m pade_bench.status [--runs DIR] [filters]``."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pade_bench.errors import PadeBenchError, exit_with
from pade_bench.report.groups import Group, in_order, legend
from pade_bench.report.names import count
from pade_bench.report.selection import add_arguments, read_groups
from pade_bench.report.tables import Cell, Table
from pade_bench.report.tables.terminal import print_table
from pade_bench.runs.records import Result, unverified
from pade_bench.runs.state import STATES, duration, median_epoch, state


@dataclass
class CellStatus:
    """One configuration of an experiment: what its seeds are doing."""

    group: Group
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    details: list[str] = field(default_factory=list)
    remaining_seconds: float = 0.0
    unknown: int = 0  # runs for whose duration there is no measured epoch


def cell_statuses(groups: Iterable[Group], now: float) -> list[CellStatus]:
    """Return the status of every cell, with the seeds that others have and it has not.

    Args:
        groups: all groups of runs.
        now: the time, in seconds since the epoch.
    """
    groups = in_order(groups)
    return [_cell_status(group, groups, now) for group in groups]


def _cell_status(group: Group, groups: Sequence[Group], now: float) -> CellStatus:
    peers = [g for g in groups if _setting(g) == _setting(group)]
    seeds = {run.seed for peer in peers for run in peer.runs}
    cell = CellStatus(group)
    seconds, epochs = _estimate(group, peers, groups)
    for run in sorted(group.runs, key=lambda r: r.seed):
        now_doing = state(run)
        cell.counts[now_doing] += 1
        if now_doing == "failed":
            cell.details.append(f"seed {run.seed}: {run.directory / 'traceback.txt'}")
        if now_doing not in ("running", "failed", "interrupted"):
            continue
        left = _remaining(run, seconds, epochs)
        if now_doing == "running":
            left, text = _running(run, left, now)
            cell.details.append(text)
        cell.unknown += left is None
        cell.remaining_seconds += left or 0.0
    missing = len(seeds - {run.seed for run in group.runs})
    cell.counts["missing"] = missing
    if seconds is None or epochs is None:
        cell.unknown += missing
    else:
        cell.remaining_seconds += missing * seconds * epochs
    return cell


def _setting(group: Group) -> tuple[object, ...]:
    return group.experiment, group.protocol, group.pruned_share


def _estimate(
    group: Group, peers: Sequence[Group], groups: Sequence[Group]
) -> tuple[float | None, int | None]:
    """Return the seconds of an epoch and the epochs of a run, from runs as similar as possible."""
    same_experiment = [g for g in groups if g.experiment == group.experiment]
    seconds = median_epoch(
        *([r for g in similar for r in g.runs] for similar in ([group], peers, same_experiment))
    )
    epochs = None
    for similar in ([group], peers):
        known = [r.max_epochs for g in similar for r in g.runs if r.max_epochs]
        if known:
            epochs = max(known)
            break
    return seconds, epochs


def _remaining(run: Result, seconds: float | None, epochs: int | None) -> float | None:
    if run.seconds_per_epoch:
        seconds = statistics.median(run.seconds_per_epoch)
    epochs = run.max_epochs or epochs
    if seconds is None or epochs is None:
        return None
    return max(0, epochs - run.epochs) * seconds


def _running(run: Result, left: float | None, now: float) -> tuple[float | None, str]:
    """Return the seconds left, less what has passed since the last epoch, and a line on it."""
    where = f"seed {run.seed}: epoch {run.epochs} of {run.max_epochs or '?'}"
    if left is None:
        return None, where
    passed = 0.0
    with contextlib.suppress(OSError):  # no epoch is complete yet
        passed = now - (run.directory / "progress.json").stat().st_mtime
    left = max(0.0, left - passed)
    done_at = datetime.datetime.fromtimestamp(now + left)
    return left, f"{where}, done in {duration(left)} at {done_at:%H:%M}"


def table(cells: Sequence[CellStatus]) -> Table:
    """Return a row for each cell."""
    shown = [s for s in STATES if s in ("finished", "missing") or any(c.counts[s] for c in cells)]
    names = ["experiment", "activation", *shown, "remaining"]
    found = Table("status", "Status", [("", name) for name in names])
    before = None
    for cell in cells:
        g = cell.group
        name = g.experiment if not g.protocol else f"{g.experiment} ({g.settings})"
        left = duration(cell.remaining_seconds) if cell.remaining_seconds else "–"
        if cell.unknown:
            left = "?" if not cell.remaining_seconds else f"{left} + ?"
        counts = [str(cell.counts[s] or "·") for s in shown]
        row = [name if name != before else "", g.full_label, *counts, left]
        found.rows.append([Cell(text) for text in row])
        before = name
    return found


def details(cells: Sequence[CellStatus]) -> list[str]:
    """Return a line for each run that is running or has failed."""
    return [
        f"{cell.group.experiment} {cell.group.full_label}, {detail}"
        for cell in cells
        for detail in cell.details
    ]


def summary(cells: Sequence[CellStatus]) -> str:
    """Return in a line what is left to do."""
    total = sum(cell.remaining_seconds for cell in cells)
    todo = sum(c.counts[s] for c in cells for s in ("running", "failed", "interrupted", "missing"))
    unknown = sum(cell.unknown for cell in cells)
    text = f"{count(todo, 'run')} to do" if todo else "nothing left to do"
    if todo > unknown:
        text += f": {duration(total)} one after another, by measured epochs"
    if unknown:
        text += f"; for {unknown} there is no measured epoch yet"
    return text


def main(arguments: list[str] | None = None) -> int:
    """Print the status; return 0, 1 if a record cannot be used, 2 if there is no directory."""
    parser = argparse.ArgumentParser(
        prog="python -m pade_bench.status",
        description="Say which runs are finished, running, diverged, failed or missing.",
        epilog="A run is missing if another activation of its experiment has its seed. Exit "
        "status: 0; 1 if a record cannot be used, which is printed; 2 without a directory.",
    )
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        groups, problems = read_groups(options)
    except PadeBenchError as error:
        print(f"pade_bench.status: {error}", file=sys.stderr)
        return 2
    if cells := cell_statuses(groups, time.time()):
        print_table(table(cells), text_columns=(0, 1))
        print("\n".join([*details(cells), *legend(groups), summary(cells)]))
    else:
        print(f"no runs in {options.runs}")
    for sentence in unverified(run for group in groups for run in group.runs):
        print(sentence, file=sys.stderr)
    for problem in problems:
        print(f"cannot be used: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    exit_with(main)
