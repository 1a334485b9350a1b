"""Paired comparisons of PAU and RPAU with every other activation."""

from __future__ import annotations

from collections.abc import Sequence

from pade_bench.report.names import PADE, activation_label, count
from pade_bench.report.statistics import ALPHA, Scores
from pade_bench.report.statistics.paired import EXACT_PAIRS, Comparison, compare, smallest_p
from pade_bench.report.tables import BEST, Cell, Table, no_value, signed


def pair_table(key: str, title: str, found: Scores) -> Table | None:
    """Return the comparisons, a row for each activation; ``None`` without two pairs of runs."""
    candidates = [c for c in map(activation_label, PADE) if c in found]
    comparisons = compare(found, candidates)
    if all(c.n < 2 for c in comparisons):
        return None  # one pair shows nothing
    table = Table(
        key,
        title,
        [("", "baseline")]
        + [(c, n) for c in candidates for n in ("pairs", "median Δ", "won/tied/lost", "p (Holm)")],
    )
    by_pair = {(c.candidate, c.baseline): c for c in comparisons}
    for baseline in found:
        pairs = [by_pair.get((candidate, baseline)) for candidate in candidates]
        if not any(pairs):
            continue
        table.rows.append([Cell(baseline), *(cell for c in pairs for cell in _cells(c))])
        table.data += [_line(c) for c in pairs if c]
    table.notes = _notes(comparisons, found)
    return table


def _cells(c: Comparison | None) -> list[Cell]:
    if c is None:
        return [no_value() for _ in range(4)]
    return [
        Cell(str(c.n)),
        Cell(signed(c.median_difference)),
        Cell(f"{c.wins}/{c.ties}/{c.losses}"),
        Cell(
            f"{c.p_holm:.3f}" if c.p_holm >= 0.001 else "<0.001", BEST if c.p_holm <= ALPHA else ""
        ),
    ]


def _line(c: Comparison) -> dict[str, object]:
    return {
        "candidate": c.candidate, "baseline": c.baseline, "pairs": c.n,
        "median_difference": c.median_difference, "won": c.wins, "tied": c.ties, "lost": c.losses,
        "p": c.p, "p_holm": c.p_holm,
    }  # fmt: skip


def _notes(comparisons: Sequence[Comparison], found: Scores) -> list[str]:
    most = max(c.n for c in comparisons)
    experiments = len({experiment for blocks in found.values() for experiment, _ in blocks})
    notes = [
        f"Pairs are runs with the same experiment and seed, over {count(experiments, 'experiment')}"
        "; Δ in percentage points. Wilcoxon's signed-rank "
        f"test, two-sided, exact up to {EXACT_PAIRS} pairs, ties after Pratt: it is paired and "
        "does not take differences of accuracies close to 100 % for normal. Holm's correction "
        f"for {count(len(comparisons), 'comparison')}. Bold: p ≤ {ALPHA}. Seeds repeat "
        "the same experiments, so the conclusion is about these experiments, not about others."
    ]
    if (least := smallest_p(most, len(comparisons))) > ALPHA:
        notes.append(
            f"n is small: even if all {most} pairs favored one side, the corrected p would "
            f"be {least:.2f}. No difference can be established from these runs by this test."
        )
    elif most < 10:
        notes.append(f"n is small: at most {most} pairs.")
    return notes
