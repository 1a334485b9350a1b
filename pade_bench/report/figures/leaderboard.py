"""A leaderboard in pictures: accuracies sorted with their intervals, and against training time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pade_bench.report.figures.style import GRAY, OTHERS, Look, arrange, in_color, look, write_title
from pade_bench.report.groups import Changes
from pade_bench.report.leaderboard import Board, Entry
from pade_bench.report.names import REFERENCE

WIDTH = 4.8  # inches: two beside each other on a screen, one on a phone
LONGEST_LABEL = 40  # characters: a stranger's may be as long as a record allows
_UNITS = ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s"))


def dots(board: Board) -> Figure | None:
    """Draw the mean accuracies, best on top, with their 95 % intervals and the single seeds."""
    entries = [e for e in board.entries if e.summary]
    if not entries:
        return None
    figure, panel = _figure(
        height=0.3 + 0.24 * len(entries),
        left=0.2 + 0.075 * max(len(_label(e.group.label)) for e in entries),
    )
    low, high = _limits(entries)
    colored = in_color(board.groups)
    for y, entry in enumerate(entries):
        style, color = _look(entry, colored)
        accuracies = entry.group.accuracies
        panel.plot(accuracies, [y] * len(accuracies), "|", color=color, alpha=0.6, markersize=7)
        if entry.interval:
            panel.hlines(y, *entry.interval, color=color, linewidth=1.6)
        mean = entry.summary.mean if entry.summary else np.nan
        if mean < low:
            panel.text(low, y, f"◂ {mean:.2f}", va="center", fontsize=8)
        panel.plot(mean, y, style.marker, color=color, markersize=6, zorder=5)
        if entry.group.kind == (REFERENCE, ()):
            panel.axvline(mean, color=color, linestyle=":", linewidth=1)
    panel.set_yticks(range(len(entries)), [_label(e.group.label) for e in entries])
    panel.set_ylim(len(entries) - 0.5, -0.5)
    panel.set_xlim(low, high)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    panel.grid(visible=False, axis="y")
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel("test accuracy (%)")
    write_title(panel, board.title)
    return figure


def time_and_accuracy(board: Board) -> Figure | None:
    """Draw the mean accuracies over the time that a run's training takes."""
    entries = [e for e in board.entries if e.summary and e.group.seconds_per_epoch]
    if not entries:
        return None
    low, high = _limits(entries)
    handles: dict[str, Line2D] = {}
    colored = in_color(board.groups)
    n_names = len({e.group.label if e.group.kind in colored else OTHERS for e in entries})
    longest = max(len(_label(e.group.label)) for e in entries if e.group.kind in colored)
    columns = max(1, min(4, int(WIDTH / (0.45 + 0.08 * longest))))
    rows = math.ceil(n_names / columns)
    figure, panel = _figure(height=2.9, left=0.7, below=0.1 + 0.2 * rows)
    most = max(entry.group.training_seconds or 0.0 for entry in entries)
    unit, name = next((u, n) for u, n in _UNITS if most >= 2 * u or u == 1)
    for entry in reversed(entries):
        style, color = _look(entry, colored)
        group, summary = entry.group, entry.summary
        assert summary is not None
        time = (group.training_seconds or 0.0) / unit
        if entry.interval:
            panel.vlines(time, *entry.interval, color=color, linewidth=1, alpha=0.7)
        (dot,) = panel.plot(
            time, max(summary.mean, low), style.marker if summary.mean >= low else "v",
            color=color, markersize=6, linestyle="", zorder=5, clip_on=False,
        )  # fmt: skip
        handles[group.label if group.kind in colored else OTHERS] = dot
    panel.set_ylim(low, high)
    panel.set_xlim(0, 1.08 * most / unit)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.set_xlabel(f"training time of a run ({name})")
    panel.set_ylabel("test accuracy (%)")
    write_title(panel, board.title)
    names = sorted(handles, key=lambda name: (name == OTHERS, -list(handles).index(name)))
    figure.legend([handles[n] for n in names], list(map(_label, names)), loc="lower center",
                  ncols=columns, handlelength=1)  # fmt: skip
    return figure


def _label(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"


def _figure(height: float, left: float, below: float = 0.0) -> tuple[Figure, Axes]:
    """Return a figure with one panel of a height, all in inches, with room for labels around."""
    whole = 0.3 + height + 0.5 + below
    figure = Figure(figsize=(WIDTH, whole))
    panels = figure.subplots(1, 1, squeeze=False)
    # Asked to find out by itself what room it needs, matplotlib takes as long as for drawing.
    arrange(figure, panels, left, 0.2, 0.5 + below, 0.3, 0.0, 0.0)
    return figure, panels[0, 0]


def _look(entry: Entry, colored: set[tuple[str, Changes]]) -> tuple[Look, str]:
    """Return how an activation is drawn, and its color: gray where it does not stand out."""
    style = look(entry.group.activation, entry.group.variant)
    return style, style.color if entry.group.kind in colored else GRAY


def _limits(entries: Sequence[Entry]) -> tuple[float, float]:
    """Return the range of accuracies to show: all single seeds but those far below the rest.

    The interval of two or three seeds can be many times as wide: it is cut at the edge.
    """
    found = [np.array(e.group.accuracies) for e in entries]
    means = [values.mean() for values in found]
    median = float(np.median(means))
    usual = float(np.median([np.ptp(values) for values in found]))
    fence = median - 5 * max(max(means) - median, usual, 0.05)
    shown = [v for v in np.concatenate(found) if v >= fence]
    margin = 0.08 * (max(shown) - min(shown)) or 0.1
    return min(shown) - margin, max(shown) + margin
