"""The figures, drawn with matplotlib from groups of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from pade_bench.report import paper
from pade_bench.report.groups import Group, describe, pruned_groups, summarize
from pade_bench.report.learned_functions import draw_layer
from pade_bench.report.statistics.ranks import Ranking
from pade_bench.report.style import INK, look
from pade_bench.runs.curves import LayerCurve


def approximations() -> Figure:
    """Figure 1: Padé units with their initial coefficients, and the functions they stand for."""
    lines = [line for line in paper.initial_coefficients() if line["form"] == "abs_of_sum"]
    figure = Figure(figsize=(9.5, 6.6), layout="constrained")
    x = np.linspace(-5, 5, 501)
    axes = figure.subplots(3, 3, sharex=True)
    for panel, line in zip(axes.flat, lines, strict=True):
        a = [float(Fraction(line[f"a{j}"])) for j in range(6)]
        b = [0.0, *(float(Fraction(line[f"b{k}"])) for k in range(1, 5))]
        y = np.polynomial.polynomial.polyval(x, a)
        y = y / (1 + np.abs(np.polynomial.polynomial.polyval(x, b)))
        panel.axvspan(-3, 3, color="#8c8c8c", alpha=0.12, linewidth=0, label="fitted range")
        panel.plot(x, _exact(line["function"])(x), "--", color=INK, linewidth=1.2, label="function")
        panel.plot(x, y, color=look("pau").color, linewidth=2, alpha=0.9, label="PAU")
        panel.set_title(f"{line['function']}  (error {float(line['max_error']):.2g})")
        panel.set_xlim(-5, 5)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _exact(name: str) -> Callable[[np.ndarray], np.ndarray]:
    if name.startswith("lrelu_"):
        slope = float(name.removeprefix("lrelu_"))
        return lambda x: np.where(x > 0, x, slope * x)
    functions: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "relu": lambda x: np.maximum(x, 0),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "tanh": np.tanh,
        "swish": lambda x: x / (1 + np.exp(-x)),
    }
    return functions[name]


def _arrange(
    figure: Figure, panels: np.ndarray, left: float, right: float, bottom: float, top: float,
    wspace: float, hspace: float,
) -> None:  # fmt: skip
    """Give a grid of panels margins and gaps in inches.

    Where panels are alike this is enough; to find out what each needs takes as long as drawing.
    """
    width, height = figure.get_size_inches()
    rows, columns = panels.shape
    panel_width = (width - left - right - wspace * (columns - 1)) / columns
    panel_height = (height - bottom - top - hspace * (rows - 1)) / rows
    figure.subplots_adjust(
        left / width, bottom / height, 1 - right / width, 1 - top / height,
        wspace / panel_width, hspace / panel_height,
    )  # fmt: skip


def learning_curves(experiments: Sequence[str], groups: Sequence[Group]) -> Figure | None:
    """Draw test accuracy and train loss per epoch: mean over seeds ± standard deviation.

    One row per experiment with finished runs; ``None`` if there is no such experiment.
    """
    shown = [e for e in experiments if any(g.experiment == e and g.finished for g in groups)]
    if not shown:
        return None
    names = {g.label for g in groups if g.experiment in shown and g.finished}
    longest = max(map(len, names))
    beside = len(names) > 6 or longest > 12
    margin = 0.85 + 0.075 * longest if beside else 0.15
    height = max(0.6 + 2.9 * len(shown), 0.3 + 0.2 * len(names) * beside)
    figure = Figure(figsize=(8.1 + margin, height))
    rows = figure.subplots(len(shown), 2, squeeze=False)
    _arrange(figure, rows, left=0.7, right=margin, bottom=0.5 if beside else 0.8, top=0.3,
             wspace=0.85, hspace=0.75)  # fmt: skip
    legend: dict[str, tuple[tuple[int, str], Line2D]] = {}
    for (left, right), experiment in zip(rows, shown, strict=True):
        here = [g for g in groups if g.experiment == experiment and g.finished]
        here.sort(key=lambda g: (paper.activation_order(g.activation), g.variation))
        floors, n_epochs = [], 1
        for group in here:
            for panel, name in ((left, "accuracy_per_epoch"), (right, "loss_per_epoch")):
                values = np.array([getattr(r, name) for r in group.finished])
                line = _curve(panel, group, values, positive=panel is right)
                if panel is left:
                    epochs = values.shape[1]
                    floors.append(values.mean(axis=0)[epochs // 2 if epochs >= 10 else 0 :].min())
                    n_epochs = max(n_epochs, epochs)
            legend[group.label] = ((paper.activation_order(group.activation)), line)
        _limit_accuracy(left, floors)
        right.set_yscale("log")
        # Fewer ticks, in plain numbers: each costs time and a font of powers would too.
        right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
        right.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        right.yaxis.set_minor_locator(NullLocator())
        left.set_ylabel("test accuracy (%)")
        right.set_ylabel("train loss")
        seeds = {len(g.finished) for g in here}
        mean = f"mean of {min(seeds)}" + (f"–{max(seeds)}" if len(seeds) > 1 else "")
        left.set_title(f"{paper.experiment_label(experiment)}  ({mean} seeds)", loc="left")
        for panel in (left, right):
            panel.set_xlabel("epoch")
            panel.set_xlim(1, max(n_epochs, 2))
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    labels = sorted(legend, key=lambda label: (legend[label][0], label))
    figure.legend(
        [legend[label][1] for label in labels],
        labels,
        loc="upper right" if beside else "lower center",
        ncols=1 if beside else len(labels),
    )
    return figure


def _curve(panel: Axes, group: Group, values: np.ndarray, positive: bool) -> Line2D:
    """Draw the mean of (seeds, epochs) with its spread; return the line."""
    style = look(group.activation, group.variation)
    emphasis = group.activation in paper.PADE
    epochs = np.arange(1, values.shape[1] + 1)
    mean = values.mean(axis=0)
    # Markers help where colours do not, but one per epoch would cover the lines.
    every = (len(paper.activation_label(group.activation)) % 3, max(1, len(epochs) // 6))
    (line,) = panel.plot(
        epochs, mean, marker=style.marker, markersize=4, markevery=every, **style.line(emphasis)
    )
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


def _limit_accuracy(panel: Axes, floors: Sequence[float]) -> None:
    """Leave out the steep beginning of long runs, in which all curves coincide."""
    low, high = panel.get_ylim()
    floor = min(floors)
    panel.set_ylim(max(low, floor - 0.15 * (high - floor)), min(high, 100.0))


def learned_activations(rows: Sequence[tuple[Group, list[LayerCurve]]]) -> Figure:
    """Figure 3: the activations of trained networks, a row per network, a panel per layer."""
    # Deep networks have a hundred layers: some, evenly spread, say what all would.
    chosen = [
        [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, 5).round().astype(int))]
        for _, layers in rows
    ]
    columns = max(map(len, chosen))
    figure = Figure(figsize=(2.1 * columns + 0.4, 2.2 * len(rows) + 0.4))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    handles: dict[str, Artist] = {}
    for (group, _), layers, panels in zip(rows, chosen, axes, strict=True):
        for panel, layer in zip(panels, layers, strict=False):
            color = look(group.activation, group.variation).color
            drawn = draw_layer(panel, layer, color, start_color=INK)
            handles |= {"inputs": drawn["inputs"], "start": drawn["start"]}
            handles[f"learned {group.label}"] = drawn["learned"]
            if not np.array_equal(layer.low, layer.high):
                handles["95 % of RPAU's noise"] = panel.fill_between(
                    layer.x, layer.low, layer.high, color=color, alpha=0.3, linewidth=0
                )
            panel.set_title(f"layer {layer.name}", fontsize=8)
            panel.tick_params(labelsize=7)
            panel.locator_params(nbins=5)
        for panel in panels[len(layers) :]:
            panel.set_visible(False)
        panels[0].set_ylabel(
            f"{group.label}\n{paper.experiment_label(group.experiment)}", fontsize=8
        )
    order = sorted(handles, key=lambda label: not label.startswith("learned"))
    ncols = max(1, int(figure.get_figwidth() / (0.85 + 0.075 * max(map(len, order)))))
    figure.legend([handles[label] for label in order], order, loc="lower center", ncols=ncols)
    bottom = 0.45 + 0.2 * math.ceil(len(order) / ncols)
    _arrange(figure, axes, left=0.75, right=0.1, bottom=bottom, top=0.3, wspace=0.45, hspace=0.55)
    return figure


def pruning(groups: Sequence[Group]) -> Figure | None:
    """Figure 4: accuracy over pruned share, parameters and multiply-adds; ``None`` without runs."""
    pruned = [g for g in pruned_groups(groups) if g.finished]
    networks = sorted({(g.experiment, g.protocol) for g in pruned})
    if not networks:
        return None
    figure = Figure(figsize=(9.5, 0.5 + 2.8 * len(networks)), layout="constrained")
    axes = figure.subplots(len(networks), 3, squeeze=False, sharey="row")
    handles = {}
    for panels, network in zip(axes, networks, strict=True):
        lines: dict[str, list[Group]] = {}
        for g in pruned:
            if (g.experiment, g.protocol) == network:
                lines.setdefault(g.label, []).append(g)
        for label, steps in sorted(lines.items()):
            steps.sort(key=lambda g: g.pruned_share or 0.0)
            summaries = [summarize(r.accuracy for r in g.finished) for g in steps]
            y = [s.mean for s in summaries if s]
            error = [s.std or 0.0 for s in summaries if s]
            style = look(steps[0].activation, steps[0].variation)
            first = [g.finished[0] for g in steps]
            over: list[list[float | None]] = [
                [run.pruned_share for run in first],
                [run.parameters for run in first],
                [run.multiply_adds for run in first],
            ]
            for panel, x in zip(panels, over, strict=True):
                if None in x:
                    continue
                handles[label] = panel.errorbar(
                    x, y, error, capsize=2, marker=style.marker, markersize=5, **style.line()
                )
        for panel, name in zip(
            panels, ("pruned filters (%)", "parameters", "multiply-adds"), strict=True
        ):
            panel.set_xlabel(name)
            panel.xaxis.set_major_locator(MaxNLocator(5))
            panel.xaxis.set_major_formatter(EngFormatter())
        panels[0].set_ylabel("test accuracy (%)")
        experiment, protocol = network
        title = paper.experiment_label(experiment)
        panels[0].set_title(f"{title}, {describe(protocol)}" if protocol else title, loc="left")
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles)
    )
    return figure


def critical_difference(ranking: Ranking, named: Mapping[str, tuple[str, object]]) -> Figure:
    """Draw mean ranks on a line; bars join what Nemenyi's test cannot tell apart.

    Args:
        ranking: the mean ranks by label.
        named: for each label the activation's name and its variation.
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
    panel.set_axis_off()
    margin = 0.28 * (k - 1)
    panel.set_xlim(1 - margin, k + margin)
    panel.set_ylim(height + 0.1, -1.5)
    panel.hlines(0, 1, k, color=INK, linewidth=1.2)
    for tick in range(1, k + 1):
        panel.vlines(tick, -0.12, 0, color=INK, linewidth=1)
        panel.text(tick, -0.2, str(tick), ha="center", va="bottom", fontsize=8)
    width = min(ranking.critical_difference, k - 1)
    panel.hlines(-1.05, 1, 1 + width, color=INK, linewidth=2)
    panel.text(
        1 + width + 0.02 * k, -1.05,
        f"critical difference {ranking.critical_difference:.2f}"
        + (" (longer than the axis)" if ranking.critical_difference > k - 1 else ""),
        va="center", fontsize=8,
    )  # fmt: skip
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
