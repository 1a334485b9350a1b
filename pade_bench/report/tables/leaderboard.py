"""The leaderboard as a table: for one experiment, and across experiments."""

from __future__ import annotations

from collections.abc import Sequence

from pade_bench.report.leaderboard import Across, Board, Entry
from pade_bench.report.statistics.intervals import POWER, Interval
from pade_bench.report.tables import BEST, Cell, Table, no_value
from pade_bench.report.tables.cells import accuracy_data, run_count, seconds_cell

_COLUMNS = ("activation", "accuracy", "95 % interval", "runs", "s/epoch", "× ReLU", "best",
            "parameters")  # fmt: skip


def board_table(board: Board, key: str) -> Table:
    """Return the activations of one experiment, best first."""
    table = Table(key, board.title, [("", name) for name in _COLUMNS])
    for entry in board.entries:
        table.rows.append(_row(entry, board.seeds))
        group = entry.group
        low, high = entry.interval or (None, None)
        table.data.append(
            {"experiment": group.experiment, "settings": group.settings, "activation": group.label}
            | accuracy_data(group, entry.summary, board.seeds)
            | {
                "interval_low": low,
                "interval_high": high,
                "time_ratio": entry.time_ratio,
                "parameters": group.runs[0].parameters,
            }
        )
    for cell in table.rows[0][1:2]:
        cell.mark = BEST
    return table


def _row(entry: Entry, seeds: int) -> list[Cell]:
    group, summary, ratio = entry.group, entry.summary, entry.time_ratio
    parameters = next((r.parameters for r in group.runs if r.parameters is not None), None)
    return [
        Cell(group.label),
        no_value("no result") if summary is None else Cell(f"{summary.mean:.2f}"),
        no_value() if entry.interval is None else Cell(_range(entry.interval)),
        Cell(run_count(group, seeds)),
        seconds_cell(group),
        no_value() if ratio is None else Cell(f"{ratio:.2f}"),
        no_value() if summary is None else Cell(f"{summary.best:.2f}"),
        no_value() if parameters is None else Cell(f"{parameters:,}"),
    ]


def board_notes() -> list[str]:
    """Return what all boards have in common, to be said once."""
    return [
        "Test accuracy in percent after the last epoch: the mean over seeds, Student's 95 % "
        "interval of the mean (none for one seed) and the best run. s/epoch: the median time of an "
        "epoch in seconds, test pass included; × ReLU: as a ratio to ReLU's, where both ran on "
        "the same device with as many threads.",
        "The first is compared with each other by a paired t-test over their common seeds, with "
        "Holm's correction; the seeds it would take are for a chance of "
        f"{100 * POWER:.0f} % to find a difference as large as the one seen, which, being the "
        "largest of several, tends to be too large.",
    ]


def across_table(rows: Sequence[Across]) -> Table:
    """Return the activations across experiments, best first."""
    table = Table(
        "across",
        "Across experiments",
        [("", name) for name in ("activation", "experiments", "runs")]
        + [("error relative to ReLU's", name) for name in ("IQM", "95 % interval")]
        + [("better than ReLU", name) for name in ("probability", "95 % interval ")],
    )
    for row in rows:
        table.rows.append([
            Cell(row.label), Cell(str(row.experiments)), Cell(f"{row.runs:,}"),
            Cell(f"{row.error:.3f}"), Cell(_range(row.error_interval, 3)),
            Cell(f"{row.improvement:.2f}"), Cell(_range(row.improvement_interval)),
        ])  # fmt: skip
        table.data.append(
            {
                "activation": row.label, "experiments": row.experiments, "runs": row.runs,
                "error_ratio": row.error,
                "error_ratio_low": row.error_interval[0],
                "error_ratio_high": row.error_interval[1],
                "improvement": row.improvement,
                "improvement_low": row.improvement_interval[0],
                "improvement_high": row.improvement_interval[1],
            }
        )  # fmt: skip
    table.notes = [
        "Over all experiments with their own settings in which ReLU has a result. IQM: the "
        "interquartile mean, over all runs, of the test error as a ratio to ReLU's mean test error "
        "in the same experiment; below 1 is better. Probability: that a run is better than one "
        "with ReLU. Intervals are the 95 % percentiles of a stratified bootstrap (Agarwal et al., "
        "2021: Deep RL at the Edge of the Statistical Precipice). A diverged run counts as an "
        "error of 100 %. Rows with fewer experiments are not comparable with the others."
    ]
    return table


def _range(interval: Interval, digits: int = 2) -> str:
    low, high = interval
    return f"{low:.{digits}f}–{high:.{digits}f}"
