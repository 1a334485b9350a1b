"""The accuracies behind Figure 4: pruned networks."""

from __future__ import annotations

from collections.abc import Sequence

from pade_bench.report.groups import Group, in_order, pruned_groups, summarize
from pade_bench.report.tables import Cell, Table, no_value
from pade_bench.report.tables.cells import accuracy_cells, accuracy_data, seconds_cell

_COLUMNS = (
    "network", "activation", "pruned", "mean ± std", "best", "runs", "s/epoch", "parameters",
    "multiply-adds", "inference time",
)  # fmt: skip


def pruning_table(groups: Sequence[Group]) -> Table | None:
    """Return a row for each pruned share; ``None`` without any run."""
    pruned = pruned_groups(groups)
    if not pruned:
        return None
    table = Table(
        "pruning",
        "Figure 4 in numbers: accuracy of pruned networks",
        [("", name) for name in _COLUMNS],
    )
    for g in in_order(pruned):
        summary = g.summary()
        expected = len({r.seed for o in pruned if o.experiment == g.experiment for r in o.runs})
        first = g.runs[0]
        shares = [r.inference_share for r in g.finished if r.inference_share is not None]
        inference = summarize(shares) if shares else None
        table.rows.append([
            Cell(g.title), Cell(g.label), Cell(f"{g.pruned_share:g} %"),
            *accuracy_cells(g, summary, expected), seconds_cell(g),
            no_value() if first.parameters is None else Cell(f"{first.parameters:,}"),
            no_value() if first.multiply_adds is None else Cell(f"{first.multiply_adds:,.0f}"),
            no_value() if inference is None else Cell(f"{100 * inference.mean:.0f} %"),
        ])  # fmt: skip
        table.data.append(
            {"experiment": g.experiment, "settings": g.settings, "activation": g.label}
            | accuracy_data(g, summary, expected)
            | {
                "pruned_share": g.pruned_share,
                "parameters": first.parameters,
                "multiply_adds": first.multiply_adds,
                "inference_share": inference.mean if inference else None,
            }
        )
    table.notes = [
        "Accuracy in percent: mean ± sample standard deviation over seeds. s/epoch: the median "
        "time of an epoch in seconds. Inference time: of that of the unpruned network, both "
        "measured in turns at the end of each run; the mean over the seeds for which it is known "
        "within 10 %."
    ]
    return table
