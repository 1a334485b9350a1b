"""Learning curves: test accuracy and train loss for each epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from pade_bench.report.figures.style import GRAY, OTHERS, arrange, in_color, look, write_title
from pade_bench.report.groups import Group, in_order
from pade_bench.report.names import PADE, count_of_each, experiment_label


def learning_curves(experiments: Sequence[str], groups: Sequence[Group]) -> Figure | None:
    """Draw test accuracy and train loss for each epoch: mean over seeds ± standard deviation.

    One row for each experiment with finished runs; ``None`` if there is no such experiment. Of
    many activations those of :func:`in_color` stand out, and the others are gray.
    """
    groups = [g for g in in_order(groups) if g.finished]
    shown = [e for e in experiments if any(g.experiment == e for g in groups)]
    if not shown:
        return None
    groups = [g for g in groups if g.experiment in shown]
    colored = in_color(groups)
    lines: dict[str, tuple[Line2D, list[np.ndarray]]] = {}
    figure = Figure(figsize=(9, 0.6 + 2.9 * len(shown)))
    rows = figure.subplots(len(shown), 2, squeeze=False)
    for panels, experiment in zip(rows, shown, strict=True):
        here = [g for g in groups if g.experiment == experiment]
        for group in here:
            emphasis = group.kind in colored
            drawn = _group(panels, group, emphasis)
            label = group.label if emphasis else OTHERS
            lines.setdefault(label, (drawn[0], []))[1].extend(drawn[1])
        _dress(panels, experiment, here)
    _add_legend(figure, rows, lines)
    return figure


def _group(panels: Sequence[Axes], group: Group, emphasis: bool) -> tuple[Line2D, list[np.ndarray]]:
    """Draw a group's accuracy and loss; return its line and what it shows."""
    means = []
    for panel, name in zip(panels, ("accuracy_per_epoch", "loss_per_epoch"), strict=True):
        values = group.curves(name)
        line = _curve(panel, group, values, emphasis, positive=panel is panels[1])
        means.append(values.mean(axis=0))
    return line, means


def _curve(panel: Axes, group: Group, values: np.ndarray, emphasis: bool, positive: bool) -> Line2D:
    """Draw the mean of (seeds, epochs), in color with its spread; return the line."""
    epochs = np.arange(1, values.shape[1] + 1)
    mean = values.mean(axis=0)
    if not emphasis:
        marker = "." if len(epochs) == 1 else ""
        (line,) = panel.plot(epochs, mean, color=GRAY, linewidth=0.8, alpha=0.6, marker=marker)
        return line
    style = look(group.activation, group.variant)
    # Markers help where colors do not, but many would cover the lines.
    step = 1 + (len(epochs) - 1) // 6
    places = list(range(len(group.label) % step, len(epochs), step))
    (line,) = panel.plot(
        epochs, mean, marker=style.marker, markersize=4, markevery=places,
        **style.line(group.activation in PADE),
    )  # fmt: skip
    if len(values) > 1:
        std = values.std(axis=0, ddof=1)
        low = np.maximum(mean - std, mean / 10) if positive else mean - std
        band = np.stack([np.r_[epochs, epochs[::-1]], np.r_[low, (mean + std)[::-1]]], axis=1)
        # What fill_between does, in a third of the time.
        panel.add_collection(
            PolyCollection([band], facecolor=style.color, alpha=0.12, linewidth=0), autolim=False
        )
        panel.update_datalim(band)
    return line


def _dress(panels: Sequence[Axes], experiment: str, groups: Sequence[Group]) -> None:
    """Set the axes, titles and limits of an experiment's two panels."""
    left, right = panels
    _limit_accuracy(left, groups)
    right.set_yscale("log")
    # Fewer ticks, in plain numbers: each costs time and a font of powers would too.
    right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
    right.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    right.yaxis.set_minor_locator(NullLocator())
    left.set_ylabel("test accuracy (%)")
    right.set_ylabel("train loss")
    seeds = count_of_each([len(g.finished) for g in groups], "seed")
    write_title(left, f"{experiment_label(experiment)}  ({seeds})")
    epochs = max(run.epochs for g in groups for run in g.finished)
    for panel in panels:
        panel.set_xlabel("epoch")
        panel.set_xlim((1, epochs) if epochs > 1 else (0.5, 1.5))
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _limit_accuracy(panel: Axes, groups: Sequence[Group]) -> None:
    """Leave out the steep beginning of long runs, in which all curves coincide."""
    floors = []
    for group in groups:
        mean = group.curves("accuracy_per_epoch").mean(axis=0)
        floors.append(mean[len(mean) // 2 if len(mean) >= 10 else 0 :].min())
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, min(floors) - 0.15 * (high - min(floors))), min(high, 100.0))


def _add_legend(
    figure: Figure, rows: np.ndarray, lines: dict[str, tuple[Line2D, list[np.ndarray]]]
) -> None:
    """Name the lines beside the panels; those that lie on each other have one name."""
    named: dict[bytes, list[str]] = {}
    for label, (_, means) in lines.items():
        named.setdefault(b"".join(m.tobytes() for m in means), []).append(label)
    labels = [" = ".join(same) for same in named.values()]
    handles = [lines[same[0]][0] for same in named.values()]
    order = sorted(range(len(labels)), key=lambda i: labels[i] == OTHERS)
    labels, handles = [labels[i] for i in order], [handles[i] for i in order]
    longest = max(map(len, labels))
    beside = len(labels) > 6 or sum(map(len, labels)) > 60
    margin = 0.85 + 0.075 * longest if beside else 0.15
    figure.set_figwidth(8.1 + margin)
    figure.set_figheight(max(figure.get_figheight(), 0.3 + 0.2 * len(labels) * beside))
    arrange(figure, rows, left=0.7, right=margin, bottom=0.5 if beside else 0.8, top=0.3,
            wspace=0.85, hspace=0.75)  # fmt: skip
    figure.legend(
        handles, labels, loc="upper right" if beside else "lower center",
        ncols=1 if beside else len(labels),
    )  # fmt: skip
