"""The networks' parameter counts beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pade_bench.report import paper
from pade_bench.report.groups import Group
from pade_bench.report.tables import Cell, Table, no_value
from pade_bench.runs.records import Result

_COUNTS = {
    "fixed": "fixed activation", "pau_adds": "PAU adds", "pau": "with PAU", "maxout": "Maxout",
}  # fmt: skip


def parameter_table(groups: Sequence[Group]) -> Table:
    """Return what the networks of the runs have, where they are the paper's."""
    table = Table("parameters", "Parameters of the networks", [("", "network")])
    for name in _COUNTS.values():
        table.columns += [(name, "ours"), (name, "paper"), (name, "Δ")]
    reference = paper.reference_values()
    standard = [g for g in groups if not g.protocol and not g.variation]
    for key, network, experiments in paper.NETWORKS:
        ours = _counted(run for g in standard if g.experiment in experiments for run in g.runs)
        row = [Cell(network)]
        for column, name in _COUNTS.items():
            value, printed = ours.get(column), reference.get(("parameters", key, column))
            difference = value - int(printed.value) if value is not None and printed else None
            row += [
                no_value("no run") if value is None else Cell(f"{value:,}"),
                Cell(f"{int(printed.value):,}") if printed else no_value(),
                no_value()
                if difference is None
                else Cell(f"{difference:+,}".replace("-", "−") if difference else "0"),
            ]
            table.data.append(
                {
                    "network": network,
                    "count": name,
                    "ours": value,
                    "paper": int(printed.value) if printed else None,
                    "difference": difference,
                    "source": printed.source if printed else None,
                }
            )
        table.rows.append(row)
    table.empty = all(line["ours"] is None for line in table.data)
    table.notes = ["Counted in the networks of the runs; – where the paper has no number."]
    return table


def _counted(runs: Iterable[Result]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for run in runs:
        if run.parameters is None:
            continue
        if run.activation in paper.WITHOUT_PARAMETERS:
            found["fixed"] = run.parameters
        elif run.activation in ("pau", "maxout"):
            found[run.activation] = run.parameters
        if run.activation == "pau":
            found["pau_adds"] = run.activation_parameters
    return found
