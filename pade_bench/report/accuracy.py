"""From groups of runs to tables of accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pade_bench.report import paper
from pade_bench.report.groups import Changes, Group, Summary, describe, pruned_groups, summarize
from pade_bench.report.paper import AccuracyTable, Reference
from pade_bench.report.tables import MISSING, Cell, Table, rank

Values = Mapping[tuple[str, str, str], Reference]
METRICS = {"accuracy": "", "top5_accuracy": "top-5"}


def accuracy_table(
    layout: AccuracyTable, groups: Sequence[Group], reference: Values | None = None
) -> Table:
    """Return the test accuracies after training: mean ± std over seeds, best, number of runs.

    Rows are the layout's activations, then others that were run. Groups with changed settings
    have rows of their own under a heading that names the changes; best and second are marked
    among rows of the same settings only.
    """
    reference = paper.reference_values() if reference is None else reference
    mine = [g for g in groups if g.experiment in layout.experiments and g.pruned_share is None]
    columns = [(e, "accuracy") for e in layout.experiments]
    if "imagenet_mobilenetv2" in layout.experiments:
        columns.append(("imagenet_mobilenetv2", "top5_accuracy"))
    table = Table(layout.key, layout.title, [("", "activation")], empty=not mine)
    printed = {
        (e, m): any(t == layout.key and c == f"{e}.{m}" for t, _, c in reference)
        for e, m in columns
    }
    for experiment, metric in columns:
        heading = " ".join([paper.experiment_label(experiment), METRICS[metric]]).strip()
        names = ["mean ± std", "best", "runs"]
        names += ["paper", "Δ"] if printed[experiment, metric] else []
        table.columns += [(heading, name) for name in names]
    for protocol in _protocols(mine, always_standard=bool(layout.activations)):
        block = [g for g in mine if g.protocol == protocol]
        if protocol:
            table.rows.append([Cell(f"with {describe(protocol)}")])
        rows = _rows(layout, block, complete=not protocol)
        marked: dict[int, list[tuple[Cell, float | None]]] = {}
        for activation, label, found in rows:
            row = [Cell(label)]
            for experiment, metric in columns:
                group = found.get(experiment)
                expected = _expected(layout, block, experiment, protocol)
                summary = summarize(getattr(r, metric) for r in group.finished) if group else None
                absent = ""
                if not group and (experiment, activation) in layout.left_out:
                    absent = "not in the paper"
                elif not expected:
                    absent = "–"  # these settings have not been asked of this experiment
                cells = _accuracy_cells(group, summary, expected, absent)
                for offset, value in enumerate(
                    (summary.mean if summary else None, summary.best if summary else None)
                ):
                    marked.setdefault(len(row) + offset, []).append((cells[offset], value))
                row += cells
                source = reference.get((layout.key, activation, f"{experiment}.{metric}"))
                if printed[experiment, metric]:
                    row += _reference_cells(source, summary)
                if not absent:
                    table.data.append(
                        _line(experiment, metric, protocol, label, group, summary, expected)
                        | _reference_data(source, summary)
                    )
            table.rows.append(row)
        for cells_of_column in marked.values():
            rank(cells_of_column)
    table.notes = _accuracy_notes(layout, mine, any(printed.values()))
    return table


def _protocols(groups: Sequence[Group], always_standard: bool) -> list[Changes]:
    protocols: set[Changes] = {g.protocol for g in groups}
    if always_standard:
        protocols.add(())
    return sorted(protocols)


def _rows(
    layout: AccuracyTable, groups: Sequence[Group], complete: bool
) -> list[tuple[str, str, dict[str, Group]]]:
    """Return (activation, label, group by experiment) for every row of a block."""
    found: dict[tuple[str, Changes], dict[str, Group]] = {}
    for group in groups:
        found.setdefault((group.activation, group.variation), {})[group.experiment] = group
    if complete:
        for activation in layout.activations:
            found.setdefault((activation, ()), {})
    listed = list(layout.activations)

    def order(key: tuple[str, Changes]) -> tuple[int, tuple[int, str], Changes]:
        place = listed.index(key[0]) if key[0] in listed else len(listed)
        return place, paper.activation_order(key[0]), key[1]

    return [
        (
            key[0],
            next((g.label for g in found[key].values()), paper.activation_label(key[0])),
            found[key],
        )
        for key in sorted(found, key=order)
    ]


def _expected(
    layout: AccuracyTable, block: Sequence[Group], experiment: str, protocol: Changes
) -> int:
    """Return how many seeds a cell should have: the paper's, elsewhere all that occur."""
    if layout.seeds and not protocol:
        return layout.seeds
    return len({r.seed for g in block if g.experiment == experiment for r in g.runs})


def _accuracy_cells(
    group: Group | None, summary: Summary | None, expected: int, absent: str = ""
) -> list[Cell]:
    if absent:
        return [Cell(absent, MISSING), Cell("–", MISSING), Cell("–", MISSING)]
    runs = run_count(group, expected)
    if summary is None:
        why = "diverged" if group and group.count("diverged") else "missing"
        if group and group.count("unfinished") == len(group.runs):
            why = "unfinished"
        return [Cell(why, MISSING), Cell("–", MISSING), Cell(runs, MISSING)]
    mark = MISSING if runs != str(summary.n) else ""
    return [Cell(mean_and_std(summary)), Cell(f"{summary.best:.2f}"), Cell(runs, mark)]


def mean_and_std(summary: Summary, digits: int = 2) -> str:
    """Return ``99.12 ± 0.05``; without the spread where there is one value only."""
    spread = "" if summary.std is None else f" ± {summary.std:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread}"


def signed(difference: float, digits: int = 2) -> str:
    """Return ``+0.12``, ``−0.12`` or ``0.00``."""
    text = f"{difference:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def run_count(group: Group | None, expected: int) -> str:
    """Return ``5``, or what lacks: ``2/5 runs, 3 diverged``."""
    n = len(group.finished) if group else 0
    parts = [str(n) if n >= expected else f"{n}/{expected} runs"]
    for status in ("diverged", "unfinished"):
        if group and (count := group.count(status)):
            parts.append(f"{count} {status}")
    return ", ".join(parts)


def _reference_cells(source: Reference | None, summary: Summary | None) -> list[Cell]:
    if source is None:
        return [Cell("–", MISSING), Cell("–", MISSING)]
    return [
        Cell(source.text),
        Cell(signed(summary.mean - source.value)) if summary else Cell("–", MISSING),
    ]


def _reference_data(source: Reference | None, summary: Summary | None) -> dict[str, object]:
    return {
        "paper": source.value if source else None,
        "difference": summary.mean - source.value if source and summary else None,
        "source": source.source if source else None,
    }


def _line(
    experiment: str,
    metric: str,
    protocol: Changes,
    label: str,
    group: Group | None,
    summary: Summary | None,
    expected: int,
) -> dict[str, object]:
    return {
        "experiment": experiment,
        "settings": describe(protocol),
        "activation": label,
        "metric": f"test_{metric}",
        "mean": summary.mean if summary else None,
        "std": summary.std if summary else None,
        "best": summary.best if summary else None,
        "runs": len(group.finished) if group else 0,
        "expected": expected,
        "diverged": group.count("diverged") if group else 0,
        "unfinished": group.count("unfinished") if group else 0,
    }


def _accuracy_notes(layout: AccuracyTable, groups: Sequence[Group], printed: bool) -> list[str]:
    notes = [
        "Test accuracy in percent after the last epoch: mean ± sample standard deviation over "
        "seeds, and the best run. Best of a column bold, second underlined."
    ]
    if layout.activations and not printed:
        notes.append(
            "No cell of this table could be recovered from the paper, so there is nothing to "
            "compare with."
        )
    counts = {len(g.finished) for g in groups if g.finished}
    if counts and min(counts) < 5:
        notes.append(
            f"Some cells have {min(counts)} run{'s' * (min(counts) != 1)} only: their spread "
            "is itself uncertain."
        )
    if any(g.count("diverged") for g in groups):
        notes.append("Diverged runs have no accuracy; means are over those that finished.")
    return notes


def pruning_table(groups: Sequence[Group]) -> Table | None:
    """Return the accuracies behind Figure 4, a row per pruned share; ``None`` without any run."""
    pruned = pruned_groups(groups)
    if not pruned:
        return None
    table = Table(
        "pruning",
        "Figure 4 in numbers: accuracy of pruned networks",
        [("", name) for name in (
            "network", "activation", "pruned", "mean ± std", "best", "runs", "parameters",
            "multiply-adds", "inference time",
        )],
    )  # fmt: skip
    for g in sorted(
        pruned,
        key=lambda g: (g.experiment, g.protocol, paper.activation_order(g.activation),
                       g.variation, g.pruned_share),
    ):  # fmt: skip
        summary = summarize(r.accuracy for r in g.finished)
        name = paper.experiment_label(g.experiment)
        name += f", {describe(g.protocol)}" if g.protocol else ""
        expected = len({r.seed for o in pruned if o.experiment == g.experiment for r in o.runs})
        first = g.runs[0]
        inference = summarize(r.inference_share for r in g.finished)
        table.rows.append(
            [
                Cell(name), Cell(g.label), Cell(f"{g.pruned_share:g} %"),
                *_accuracy_cells(g, summary, expected),
                Cell("–" if first.parameters is None else f"{first.parameters:,}"),
                Cell("–" if first.multiply_adds is None else f"{first.multiply_adds:,.0f}"),
                Cell("–" if inference is None else f"{100 * inference.mean:.0f} %"),
            ]
        )  # fmt: skip
        table.data.append(
            _line(g.experiment, "accuracy", g.protocol, g.label, g, summary, expected)
            | {
                "pruned_share": g.pruned_share,
                "parameters": first.parameters,
                "multiply_adds": first.multiply_adds,
                "inference_share": inference.mean if inference else None,
            }
        )
    table.notes = [
        "Accuracy in percent: mean ± sample standard deviation over seeds. Inference time: of that "
        "of the unpruned network, both measured in turns at the end of each run; the mean over "
        "seeds."
    ]
    return table
