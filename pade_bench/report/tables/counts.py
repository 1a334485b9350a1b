"""Table 5: in how many runs PAU or RPAU is at least as good as each baseline."""

from __future__ import annotations

from collections.abc import Sequence

from pade_bench.report import paper
from pade_bench.report.groups import Group, scores
from pade_bench.report.names import activation_label
from pade_bench.report.statistics import Scores
from pade_bench.report.statistics.paired import Count, count_against
from pade_bench.report.tables import Cell, Table, no_value, signed


def count_table(groups: Sequence[Group]) -> Table:
    """Return Table 5, over the experiments of the paper with its settings."""
    experiments = paper.experiments()
    standard = [
        g for g in groups if g.experiment in experiments and not g.protocol and not g.variation
    ]
    imagenet = [g for g in standard if g.experiment.startswith("imagenet")]
    by_metric = (scores(standard), scores(imagenet, "top5_accuracy"))
    table = Table(
        "table5",
        "Table 5: PAU and RPAU against each baseline",
        [
            ("", "baseline"), ("PAU/RPAU", "≥"), ("PAU/RPAU", "<"),
            ("paper", "≥"), ("paper", "<"), ("paper", "Δ"),
            ("PAU alone", "≥"), ("PAU alone", "<"), ("", "diverged"),
        ],
    )  # fmt: skip
    for baseline in paper.TABLE5:
        row, line = _against(baseline, by_metric)
        table.rows.append(row)
        table.data.append(line)
    table.empty = all(line["at_least"] == line["below"] == 0 for line in table.data)
    table.notes = [*_NOTES]
    return table


def _against(baseline: str, by_metric: Sequence[Scores]) -> tuple[list[Cell], dict[str, object]]:
    """Return a baseline's row, and the same unrounded."""
    label = activation_label(baseline)
    both, alone = (
        sum(
            (count_against([f.get(a, {}) for a in family], f.get(label, {})) for f in by_metric),
            Count(),
        )
        for family in (("PAU", "RPAU"), ("PAU",))
    )
    reference = paper.reference_values()
    theirs = [reference["table5", baseline, c] for c in ("at_least", "below")]
    at_least, below = (int(r.value) for r in theirs)
    points = None
    if compared := both.at_least + both.below:
        points = 100 * (both.at_least / compared - at_least / (at_least + below))
    values = (both.at_least, both.below, alone.at_least, alone.below, both.diverged)
    ours = [Cell(str(n)) if compared or both.diverged else no_value() for n in values]
    difference = no_value() if points is None else Cell(signed(points, 0))
    row = [Cell(label), *ours[:2], *(Cell(r.text) for r in theirs), difference, *ours[2:]]
    return row, {
        "baseline": label,
        "at_least": both.at_least, "below": both.below,
        "paper_at_least": theirs[0].text, "paper_below": theirs[1].text,
        "difference_in_points": points,
        "pau_alone_at_least": alone.at_least, "pau_alone_below": alone.below,
        "baseline_diverged": both.diverged,
    }  # fmt: skip


_NOTES = [
    "Counted are single runs: the better of PAU and RPAU against the baseline of the same "
    "experiment and seed, over all experiments of the paper; ImageNet counts twice, with "
    "top-1 and top-5. That this is the paper's rule is derived from its totals: "
    "42 = 5 seeds × 8 experiments + 2, 20 = 5 × 4 for Mixture, 15 = 5 × 3 for Maxout.",
    "Δ is the difference of the shares of ≥ in percentage points.",
    "The better of two against one favors the two; the columns for PAU alone do not. "
    "Runs in which the baseline diverged are not counted, as they are missing in the paper's "
    "totals too.",
]
