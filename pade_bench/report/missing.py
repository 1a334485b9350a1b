"""What of the paper has not been run: the command that makes it, and about how long that takes."""

from __future__ import annotations

import csv
import functools
import importlib.resources
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pade_bench.report import paper
from pade_bench.report.groups import Group
from pade_bench.report.names import count
from pade_bench.report.paper import Sweep

STAGES = 7  # of a pruning experiment: unpruned, then with 10 to 60 % of the filters missing


@dataclass(frozen=True)
class Missing:
    """Tables and figures without a run, and what would make them."""

    what: str
    command: str
    cost: str


def missing(groups: Sequence[Group], shown: Sequence[str]) -> list[Missing]:
    """Return what the report cannot show.

    Args:
        groups: all groups of runs.
        shown: the keys of the tables and figures that have a run.
    """
    figures = {f.key: f.table for f in paper.curve_figures()} | {"figure3": "table2"}
    found = []
    for key in ("table2", "table3", "table4", "fig4"):
        sweep = paper.sweep(key)
        parts = [key] + [figure for figure, table in sorted(figures.items()) if table == key]
        left = [_name(part) for part in parts if part.replace("fig4", "figure4") not in shown]
        if left:
            found.append(Missing(", ".join(left), sweep.command, _cost(sweep, groups)))
    return found


def _name(key: str) -> str:
    return f"{'Table' if key.startswith('table') else 'Figure'} {key[-1]}"


def _cost(sweep: Sweep, groups: Sequence[Group]) -> str:
    stages = STAGES if sweep.key == "fig4" else 1
    runs = count(len(sweep.cells) * sweep.seeds * stages, "run")
    measured = _measured(groups)
    here = _hours(sweep, stages, {e: measured.get(e) for e in sweep.experiments})
    if here:
        return f"{runs}, {here} by epochs measured in these runs"
    parts = []
    for column, where in (("cpu", "two CPU cores"), ("gpu", "one H200")):
        known = {e: line[column] for e, line in _estimates().items()}
        if hours := _hours(sweep, stages, known):
            parts.append(f"about {hours} on {where}")
    return f"{runs}, {', '.join(parts)} at ReLU's speed"


def _hours(sweep: Sweep, stages: int, seconds: dict[str, float | None]) -> str:
    """Return the hours that a sweep takes by the seconds of an epoch; nothing if one is unknown."""
    total = 0.0
    for experiment, _ in sweep.cells:
        experiment = experiment.removeprefix("prune_")
        epoch = seconds.get(experiment)
        if epoch is None:
            return ""
        total += epoch * (_estimates()[experiment]["epochs"] or 0) * sweep.seeds * stages
    hours = total / 3600
    return f"{hours:,.0f} h" if hours >= 10 else f"{hours:.1f} h"


def _measured(groups: Sequence[Group]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for group in groups:
        if group.seconds_per_epoch:
            found.setdefault(group.experiment, []).append(group.seconds_per_epoch)
    return {experiment: statistics.median(seconds) for experiment, seconds in found.items()}


@functools.cache
def _estimates() -> dict[str, dict[str, float | None]]:
    """Return epochs and the seconds of one, estimated from measured training steps with ReLU.

    On two cores of an AMD EPYC (benchmarks/training.md), and one NVIDIA H200 without CUDA graphs.
    """
    text = (importlib.resources.files(__package__) / "epoch_seconds.csv").read_text(
        encoding="utf-8"
    )
    return {
        row["experiment"]: {k: float(row[k]) if row[k] else None for k in ("epochs", "cpu", "gpu")}
        for row in csv.DictReader(text.splitlines())
    }
