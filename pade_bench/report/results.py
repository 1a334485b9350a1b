"""The tables that summarise: counts, parameters, coefficients, paired comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from pade_bench.report import paper
from pade_bench.report.accuracy import signed
from pade_bench.report.groups import Group
from pade_bench.report.statistics import ALPHA, Scores
from pade_bench.report.statistics.paired import (
    EXACT_PAIRS,
    Comparison,
    compare,
    count_against,
    smallest_p,
)
from pade_bench.report.statistics.ranks import Ranking
from pade_bench.report.tables import MISSING, Cell, Table


def scores(groups: Sequence[Group], metric: str = "accuracy") -> Scores:
    """Return the accuracy of every finished or diverged run by activation and block."""
    found: dict[str, dict[tuple[str, int], float | None]] = {}
    for group in sorted(groups, key=lambda g: (paper.activation_order(g.activation), g.variation)):
        for run in group.runs:
            if run.status != "unfinished":
                value = getattr(run, metric)
                found.setdefault(group.label, {})[run.experiment, run.seed] = value
    return found


def table5(groups: Sequence[Group]) -> Table:
    """Return Table 5: in how many runs PAU or RPAU is at least as good as each baseline."""
    standard = [
        g
        for g in groups
        if g.experiment in paper.EXPERIMENTS and not g.protocol and not g.variation
    ]
    imagenet = [g for g in standard if g.experiment == "imagenet_mobilenetv2"]
    by_metric = (scores(standard), scores(imagenet, "top5_accuracy"))
    table = Table(
        "table5",
        "Table 5: PAU and RPAU against each baseline",
        [
            ("", "baseline"),
            ("PAU/RPAU", "≥"),
            ("PAU/RPAU", "<"),
            ("paper", "≥"),
            ("paper", "<"),
            ("paper", "Δ"),
            ("PAU alone", "≥"),
            ("PAU alone", "<"),
            ("", "diverged"),
        ],
    )
    reference = paper.reference_values()
    for baseline in paper.TABLE5:
        label = paper.activation_label(baseline)
        counts = [[0, 0, 0], [0, 0, 0]]
        for found in by_metric:
            for i, family in enumerate((("PAU", "RPAU"), ("PAU",))):
                one = count_against([found.get(f, {}) for f in family], found.get(label, {}))
                for j, number in enumerate((one.at_least, one.below, one.diverged)):
                    counts[i][j] += number
        both, alone = counts
        compared = sum(both) > 0
        theirs = [reference["table5", baseline, c] for c in ("at_least", "below")]
        ours = [str(n) if compared else "–" for n in (*both[:2], *alone[:2], both[2])]
        mark = "" if compared else MISSING
        printed = [int(r.value) for r in theirs]
        points = None
        if sum(both[:2]):
            points = 100 * (both[0] / sum(both[:2]) - printed[0] / sum(printed))
        table.rows.append(
            [
                Cell(label),
                *(Cell(text, mark) for text in ours[:2]),
                *(Cell(r.text) for r in theirs),
                Cell("–", MISSING) if points is None else Cell(signed(points, 0)),
                *(Cell(text, mark) for text in ours[2:]),
            ]
        )
        table.data.append(
            {
                "baseline": label,
                "at_least": both[0],
                "below": both[1],
                "paper_at_least": theirs[0].text,
                "paper_below": theirs[1].text,
                "difference_in_points": points,
                "pau_alone_at_least": alone[0],
                "pau_alone_below": alone[1],
                "baseline_diverged": both[2],
            }
        )
    table.empty = all(line["at_least"] == line["below"] == 0 for line in table.data)
    table.notes = [
        "Counted are single runs: the better of PAU and RPAU against the baseline of the same "
        "experiment and seed, over all experiments of the paper; ImageNet counts twice, with "
        "top-1 and top-5. That this is the paper's rule is derived from its totals: "
        "42 = 5 seeds × 8 experiments + 2, 20 = 5 × 4 for Mixture, 15 = 5 × 3 for Maxout.",
        "Δ is the difference of the shares of ≥ in percentage points.",
        "The better of two against one favours the two; the columns for PAU alone do not. "
        "Runs in which the baseline diverged are not counted, as they are missing in the paper's "
        "totals too.",
    ]
    return table


def table6() -> Table:
    """Return Table 6: the initial coefficients in use beside those the paper prints."""
    lines = paper.initial_coefficients()
    rows_by_form = {(line["form"], line["function"]): line for line in lines}
    functions = list(dict.fromkeys(line["function"] for line in lines))
    coefficients = [*(f"a{j}" for j in range(6)), *(f"b{k}" for k in range(1, 5))]
    forms = ("sum_of_abs", "abs_of_sum")
    table = Table(
        "table6",
        "Table 6: initial coefficients",
        [("", "function"), ("", "source"), *(("", name) for name in coefficients)],
    )
    reference = paper.reference_values()
    for function in functions:
        for form in ("paper", *forms):
            row = [Cell(function if form == "paper" else ""), Cell(form.replace("_", " "))]
            for name in coefficients:
                printed = reference.get(("table6", function, name))
                ours = rows_by_form.get((form, function))
                if form == "paper":
                    row.append(Cell(printed.text) if printed else Cell("–", MISSING))
                elif ours:
                    row.append(Cell(_short(ours[name])))
                    value = float(Fraction(ours[name]))
                    table.data.append(
                        {
                            "function": function,
                            "form": form,
                            "coefficient": name,
                            "value": value,
                            "paper": printed.value if printed else None,
                            "difference": value - printed.value if printed else None,
                        }
                    )
            table.rows.append(row)
    table.notes = [
        'Rows "paper" are as printed; – where the text has lost the number. The paper\'s '
        "coefficients were fitted for the denominator 1 + |b1 x| + … + |bn x^n| (sum of abs); for "
        "1 + |b1 x + … + bn x^n| (abs of sum), the paper's Eq. 2 and the default here, we fitted "
        "our own."
    ]
    return table


def _short(number: str) -> str:
    return number if "/" in number or len(number) <= 10 else f"{float(number):.8f}"


def parameter_table(groups: Sequence[Group]) -> Table:
    """Return the networks' parameter counts beside the paper's."""
    table = Table("parameters", "Parameters of the networks", [("", "network")])
    names = {
        "fixed": "fixed activation", "pau_adds": "PAU adds", "pau": "with PAU", "maxout": "Maxout",
    }  # fmt: skip
    for name in names.values():
        table.columns += [(name, "ours"), (name, "paper"), (name, "Δ")]
    reference = paper.reference_values()
    for key, name, experiments in paper.NETWORKS:
        runs = [
            run
            for group in groups
            if group.experiment in experiments and not group.protocol and not group.variation
            for run in group.runs
            if run.parameters is not None
        ]
        ours: dict[str, int | None] = dict.fromkeys(names)
        for run in runs:
            if run.activation in paper.WITHOUT_PARAMETERS:
                ours["fixed"] = run.parameters
            elif run.activation in ("pau", "maxout"):
                ours[run.activation] = run.parameters
            if run.activation == "pau":
                ours["pau_adds"] = run.activation_parameters
        row = [Cell(name)]
        for column in names:
            value, printed = ours[column], reference.get(("parameters", key, column))
            difference = value - int(printed.value) if value is not None and printed else None
            row += [
                Cell("no run", MISSING) if value is None else Cell(f"{value:,}"),
                Cell(f"{int(printed.value):,}") if printed else Cell("–", MISSING),
                Cell("–", MISSING)
                if difference is None
                else Cell(f"{difference:+,}".replace("-", "−") if difference else "0"),
            ]
            table.data.append(
                {
                    "network": name,
                    "count": names[column],
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


def comparison_table(key: str, title: str, found: Scores) -> Table | None:
    """Return the paired comparisons of PAU and RPAU with all activations; ``None`` without any."""
    candidates = [c for c in map(paper.activation_label, paper.PADE) if c in found]
    comparisons = compare(found, candidates)
    if not comparisons:
        return None
    table = Table(
        key,
        title,
        [("", "baseline")]
        + [(c, n) for c in candidates for n in ("pairs", "median Δ", "won/tied/lost", "p (Holm)")],
    )
    by_pair: dict[tuple[str, str], Comparison] = {(c.candidate, c.baseline): c for c in comparisons}
    for baseline in found:
        row = [Cell(baseline)]
        for candidate in candidates:
            c = by_pair.get((candidate, baseline))
            if c is None:
                row += [Cell("–", MISSING)] * 4
                continue
            row += [
                Cell(str(c.n)),
                Cell(signed(c.median_difference)),
                Cell(f"{c.wins}/{c.ties}/{c.losses}"),
                Cell(f"{c.p_holm:.3f}" if c.p_holm >= 0.001 else "<0.001",
                     "best" if c.p_holm <= ALPHA else ""),
            ]  # fmt: skip
            table.data.append(
                {
                    "candidate": candidate, "baseline": baseline, "pairs": c.n,
                    "median_difference": c.median_difference, "won": c.wins, "tied": c.ties,
                    "lost": c.losses, "p": c.p, "p_holm": c.p_holm,
                }
            )  # fmt: skip
        if any(cell.text != "–" for cell in row[1:]):
            table.rows.append(row)
    most = max(c.n for c in comparisons)
    experiments = len({experiment for blocks in found.values() for experiment, _ in blocks})
    table.notes = [
        f"Pairs are runs with the same experiment and seed, over {experiments} "
        f"experiment{'s' * (experiments != 1)}; Δ in percentage points. Wilcoxon's signed-rank "
        f"test, two-sided, exact up to {EXACT_PAIRS} pairs, ties after Pratt: it is paired and "
        "does not take differences of accuracies close to 100 % for normal. Holm's correction "
        f"over all {len(comparisons)} comparisons of this table. Bold: p ≤ {ALPHA}. Seeds repeat "
        "the same experiments, so the conclusion is about these experiments, not about others."
    ]
    if (least := smallest_p(most, len(comparisons))) > ALPHA:
        table.notes.append(
            f"n is small: even if all {most} pairs favoured one side, the corrected p would "
            f"be {least:.2f}. No difference can be established from these runs."
        )
    elif most < 10:
        table.notes.append(f"n is small: at most {most} pairs.")
    return table


def ranking_notes(ranking: Ranking) -> list[str]:
    """Say how the mean ranks came about and what they allow to conclude."""
    notes = [
        f"Mean rank over {ranking.blocks} complete blocks (experiment and seed) of "
        f"{ranking.experiments} experiment{'s' * (ranking.experiments != 1)}; 1 is best, ties "
        f"share their rank, a diverged run ranks last. Friedman's test: p = "
        f"{ranking.friedman_p:.2g}. Bars join activations whose mean ranks are closer than "
        f"Nemenyi's critical difference at α = {ALPHA}: no difference between them is established."
    ]
    if ranking.friedman_p > ALPHA:
        notes.append(
            "Friedman's test cannot reject that all are equal: read nothing into the order."
        )
    if ranking.blocks < 10:
        notes.append(
            f"n is small: with {ranking.blocks} blocks only large differences can be found."
        )
    if ranking.left_out:
        notes.append(f"Left out, as they have too few runs: {', '.join(ranking.left_out)}.")
    return notes
