"""Learned activation functions: of one run, layer by layer, and Figure 3."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pade_bench.report.figures.style import GRAY, INK, arrange, look
from pade_bench.report.groups import Group
from pade_bench.report.names import experiment_label
from pade_bench.runs.curves import LayerCurve


def draw_activations(
    layers: list[LayerCurve], activation: str, title: str | None = None, columns: int = 4
) -> Figure:
    """Draw one panel per layer: the function, its start dashed, the input density behind.

    Args:
        layers: what was measured.
        activation: whose color the functions have.
        title: of the figure.
        columns: panels in a row, at most.
    """
    columns = min(len(layers), columns)
    rows = math.ceil(len(layers) / columns)
    figure = Figure(figsize=(2.6 * columns, 2.5 * rows + 0.5), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    handles: dict[str, Artist] = {}
    for panel, layer in zip(panels, layers, strict=False):
        handles = draw_layer(panel, layer, look(activation).color, start_color=GRAY)
        panel.set_title(f"layer {layer.name}", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(layers) :]:
        panel.set_visible(False)
    figure.legend(
        [handles[name] for name in ("start", "learned", "inputs")],
        ["start", "learned", "inputs"],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def draw_layer(panel: Axes, layer: LayerCurve, color: str, start_color: str) -> dict[str, Artist]:
    """Draw one layer into ``panel``; return what a legend names: inputs, start, learned."""
    # In parts of the panel's height, whatever its y axis shows.
    height = layer.density / (1.6 * max(layer.density.max(), 1e-12))
    inputs = panel.stairs(
        height, layer.edges, fill=True, color=GRAY, alpha=0.3, zorder=0.5,
        transform=panel.get_xaxis_transform(),
    )  # fmt: skip
    (start,) = panel.plot(layer.x, layer.start, "--", color=start_color, linewidth=1.1)
    (learned,) = panel.plot(layer.x, layer.y, color=color, linewidth=1.8)
    panel.set_xlim(layer.x[0], layer.x[-1])
    return {"inputs": inputs, "start": start, "learned": learned}


def learned_activations(rows: Sequence[tuple[Group, list[LayerCurve]]]) -> Figure:
    """Draw the activations of trained networks, a row for each network, a panel for each layer."""
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
            color = look(group.activation, group.variant).color
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
        trained = textwrap.fill(experiment_label(group.experiment), 36)
        panels[0].set_ylabel(f"{group.label}\n{trained}", fontsize=8)
    order = sorted(handles, key=lambda label: not label.startswith("learned"))
    ncols = max(1, int(figure.get_figwidth() / (0.85 + 0.075 * max(map(len, order)))))
    figure.legend([handles[label] for label in order], order, loc="lower center", ncols=ncols)
    bottom = 0.45 + 0.2 * math.ceil(len(order) / ncols)
    arrange(figure, axes, left=0.75, right=0.1, bottom=bottom, top=0.3, wspace=0.45, hspace=0.55)
    return figure
