"""Mean ranks of all activations, with what cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pade_bench.report.figures.style import INK, look
from pade_bench.report.names import count
from pade_bench.report.statistics import ALPHA
from pade_bench.report.statistics.ranks import Ranking


def critical_difference(ranking: Ranking, named: Mapping[str, tuple[str, int]]) -> Figure:
    """Draw mean ranks on a line; bars join what Nemenyi's test cannot tell apart.

    Args:
        ranking: the mean ranks by label.
        named: for each label the activation's name and which of its variants it is.
    """
    ranks = sorted(ranking.mean_ranks.items(), key=lambda item: (item[1], item[0]))
    k = len(ranks)
    bars = ranking.indistinct()
    left = (k + 1) // 2
    step, bar_step = 0.42, 0.22
    top = 0.4 + bar_step * len(bars)
    height = top + step * left
    figure = Figure(figsize=(9.5, 0.9 + 0.62 * height), layout="constrained")
    panel = figure.subplots()
    margin = 0.28 * (k - 1)
    panel.set_xlim(1 - margin, k + margin)
    panel.set_ylim(height + 0.1, -1.5)
    _draw_axis(panel, k, ranking.critical_difference)
    for i, (low, high) in enumerate(bars):
        y = 0.25 + bar_step * i
        panel.hlines(y, low - 0.04, high + 0.04, color=INK, linewidth=4, alpha=0.55)
    for i, (label, value) in enumerate(ranks):
        on_left = i < left
        y = top + step * ((i if on_left else k - 1 - i) + 0.5)
        x = 1 - 0.12 * margin if on_left else k + 0.12 * margin
        style = look(*named[label])
        panel.plot([value, value, x], [0, y, y], color=style.color, linewidth=1.2)
        panel.plot(value, 0, marker=style.marker, color=style.color, markersize=6, zorder=5)
        panel.text(
            x + (-0.03 if on_left else 0.03) * margin, y,
            f"{label}  {value:.2f}" if on_left else f"{value:.2f}  {label}",
            ha="right" if on_left else "left", va="center",
        )  # fmt: skip
    return figure


def _draw_axis(panel: Axes, k: int, difference: float) -> None:
    """Draw the line from rank 1 to k and, above it, how long the critical difference is."""
    panel.set_axis_off()
    panel.hlines(0, 1, k, color=INK, linewidth=1.2)
    for tick in range(1, k + 1):
        panel.vlines(tick, -0.12, 0, color=INK, linewidth=1)
        panel.text(tick, -0.2, str(tick), ha="center", va="bottom", fontsize=8)
    width = min(difference, k - 1)
    panel.hlines(-1.05, 1, 1 + width, color=INK, linewidth=2)
    panel.text(
        1 + width + 0.02 * k, -1.05,
        f"critical difference {difference:.2f}"
        + (" (longer than the axis)" if difference > k - 1 else ""),
        va="center", fontsize=8,
    )  # fmt: skip


def ranking_notes(ranking: Ranking) -> list[str]:
    """Return how the mean ranks came about and what they allow to conclude."""
    notes = [
        f"Mean rank over {ranking.blocks} complete blocks (experiment and seed) of "
        f"{count(ranking.experiments, 'experiment')}; 1 is best, ties share their rank, a diverged "
        f"run ranks last. Friedman's test: p = {ranking.friedman_p:.2g}. Bars join activations "
        "whose mean ranks are closer than "
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
