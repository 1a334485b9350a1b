"""What the cells about a group of runs say, in every table."""

from __future__ import annotations

from typing import Any

from pade_bench.report.groups import Group, Summary
from pade_bench.report.tables import MISSING, Cell, no_value


def accuracy_cells(group: Group | None, summary: Summary | None, expected: int) -> list[Cell]:
    """Return the cells of mean ± std, best and number of runs.

    Args:
        group: the runs, ``None`` without any.
        summary: of the accuracies of those that finished.
        expected: how many runs there should be.
    """
    runs = run_count(group, expected)
    if summary is None:
        why = "diverged" if group and group.count("diverged") else "missing"
        if group and group.count("unfinished") == len(group.runs):
            why = "unfinished"
        return [no_value(why), no_value(), no_value(runs)]
    mark = MISSING if runs != str(summary.n) else ""
    return [Cell(mean_and_std(summary)), Cell(f"{summary.best:.2f}"), Cell(runs, mark)]


def accuracy_data(group: Group | None, summary: Summary | None, expected: int) -> dict[str, Any]:
    """Return the same and the time of an epoch, unrounded, for a line of the CSV."""
    return {
        "mean": summary.mean if summary else None,
        "std": summary.std if summary else None,
        "best": summary.best if summary else None,
        "runs": len(group.finished) if group else 0,
        "expected": expected,
        "diverged": group.count("diverged") if group else 0,
        "unfinished": group.count("unfinished") if group else 0,
        "seconds_per_epoch": group.seconds_per_epoch if group else None,
    }


def mean_and_std(summary: Summary) -> str:
    """Return ``99.12 ± 0.05``; without the spread where there is one value only."""
    spread = "" if summary.std is None else f" ± {summary.std:.2f}"
    return f"{summary.mean:.2f}{spread}"


def run_count(group: Group | None, expected: int) -> str:
    """Return ``5``, or what is missing: ``2 of 5, 3 diverged``."""
    n = len(group.finished) if group else 0
    parts = [str(n) if n >= expected else f"{n} of {expected}"]
    for status in ("diverged", "unfinished"):
        if group and (count := group.count(status)):
            parts.append(f"{count} {status}")
    return ", ".join(parts)


def seconds_cell(group: Group | None) -> Cell:
    """Return the cell of the seconds that an epoch takes, in three digits."""
    seconds = group.seconds_per_epoch if group else None
    if seconds is None:
        return no_value()
    return Cell(f"{seconds:.0f}" if seconds >= 100 else f"{seconds:#.3g}")
