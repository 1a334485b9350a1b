"""Tables 2, 3 and 4: test accuracies after training, beside the paper's."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pade_bench.report import paper
from pade_bench.report.groups import Changes, Group, Summary, time_ratio
from pade_bench.report.names import (
    REFERENCE,
    activation_label,
    activation_order,
    count,
    experiment_label,
)
from pade_bench.report.paper import Reference, Sweep
from pade_bench.report.tables import Cell, Table, no_value, rank, signed
from pade_bench.report.tables.cells import accuracy_cells, accuracy_data

Values = Mapping[tuple[str, str, str], Reference]


def accuracy_table(sweep: Sweep, groups: Sequence[Group], reference: Values | None = None) -> Table:
    """Return the test accuracies after training: mean ± std over seeds, best, number of runs.

    Rows are the sweep's activations, then others that were run with the paper's settings.
    """
    reference = paper.reference_values() if reference is None else reference
    mine = [g for g in groups if g.experiment in sweep.experiments and not g.protocol]
    columns = _columns(sweep, reference)
    table = Table(sweep.key, sweep.title, [("", "activation")], empty=not mine)
    for column in columns:
        table.columns += [(column.heading, name) for name in column.names]
    table.columns.append(("time", "× ReLU"))
    ranked: dict[tuple[_Column, int], list[tuple[Cell, float | None]]] = {}
    for activation, label, found in _rows(sweep, mine):
        row = [Cell(label)]
        for column in columns:
            group = found.get(column.experiment)
            if not group and (column.experiment, activation) in sweep.left_out:
                row += [no_value("not in the paper"), *(no_value() for _ in column.names[1:])]
                continue
            summary = group.summary(column.metric) if group else None
            source = reference.get((sweep.key, activation, column.key))
            cells = accuracy_cells(group, summary, sweep.seeds)
            for i, value in enumerate((summary.mean, summary.best) if summary else ()):
                ranked.setdefault((column, i), []).append((cells[i], value))
            row += cells + (_reference_cells(source, summary) if column.printed else [])
            table.data.append(
                {"experiment": column.experiment, "activation": label}
                | {"metric": f"test_{column.metric}"}
                | accuracy_data(group, summary, sweep.seeds)
                | _reference_data(source, summary)
            )
        table.rows.append([*row, _time_cell(found, mine)])
    for cells_of_column in ranked.values():
        rank(cells_of_column)
    table.notes = _notes(mine, any(column.printed for column in columns))
    return table


@dataclass(frozen=True)
class _Column:
    """What is shown of an experiment, and whether the paper's value stands beside it."""

    experiment: str
    metric: str
    printed: bool

    @property
    def key(self) -> str:
        return f"{self.experiment}.{self.metric}"

    @property
    def heading(self) -> str:
        return experiment_label(self.experiment) + " top-5" * (self.metric == "top5_accuracy")

    @property
    def names(self) -> list[str]:
        names = ["mean ± std", "best", "runs"]
        return [*names, "paper", "Δ"] if self.printed else names


def _columns(sweep: Sweep, reference: Values) -> list[_Column]:
    metrics = [(e, "accuracy") for e in sweep.experiments]
    metrics += [(e, "top5_accuracy") for e in sweep.experiments if e.startswith("imagenet")]
    printed = {column for table, _, column in reference if table == sweep.key}
    return [_Column(e, metric, f"{e}.{metric}" in printed) for e, metric in metrics]


def _rows(sweep: Sweep, groups: Sequence[Group]) -> list[tuple[str, str, dict[str, Group]]]:
    """Return (activation, label, group by experiment) for every row."""
    found: dict[tuple[str, Changes], dict[str, Group]] = {(a, ()): {} for a in sweep.activations}
    for group in groups:
        found.setdefault(group.kind, {})[group.experiment] = group
    listed = list(sweep.activations)

    def order(key: tuple[str, Changes]) -> tuple[int, tuple[int, str], Changes]:
        place = listed.index(key[0]) if key[0] in listed else len(listed)
        return place, activation_order(key[0]), key[1]

    return [
        (key[0], next((g.label for g in found[key].values()), activation_label(key[0])), found[key])
        for key in sorted(found, key=order)
    ]


def _time_cell(found: Mapping[str, Group], groups: Sequence[Group]) -> Cell:
    """Return the time of an epoch as a ratio to the reference's, averaged over experiments."""
    references = {g.experiment: g for g in groups if g.kind == (REFERENCE, ())}
    ratios = [time_ratio(group, references.get(e)) for e, group in found.items()]
    known = [ratio for ratio in ratios if ratio is not None]
    return Cell(f"{statistics.geometric_mean(known):.2f}") if known else no_value()


def _reference_cells(source: Reference | None, summary: Summary | None) -> list[Cell]:
    if source is None:
        return [no_value(), no_value()]
    return [
        Cell(source.text),
        Cell(signed(summary.mean - source.value)) if summary else no_value(),
    ]


def _reference_data(source: Reference | None, summary: Summary | None) -> dict[str, object]:
    return {
        "paper": source.value if source else None,
        "difference": summary.mean - source.value if source and summary else None,
        "source": source.source if source else None,
    }


def _notes(groups: Sequence[Group], printed: bool) -> list[str]:
    notes = [
        "Test accuracy in percent after the last epoch: mean ± sample standard deviation over "
        "seeds, and the best run. Best of a column bold, second underlined. Time: of an epoch, as "
        "a ratio to ReLU's on the same device, the geometric mean over experiments."
    ]
    if not printed:
        notes.append(
            "No cell of this table could be recovered from the paper, so there is nothing to "
            "compare with."
        )
    counts = {len(g.finished) for g in groups if g.finished}
    if counts and min(counts) < 5:
        notes.append(
            f"Some cells have {count(min(counts), 'run')} only: their spread is itself uncertain."
        )
    if any(g.count("diverged") for g in groups):
        notes.append("Diverged runs have no accuracy; means are over those that finished.")
    return notes
