"""Pictures of learned functions."""

from __future__ import annotations

import math

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pade_bench.runs.curves import LayerCurve

# Colour-blind safe (Okabe & Ito, 2008).
BLUE, GREY = "#0072B2", "#8c8c8c"


def draw_activations(
    layers: list[LayerCurve], title: str | None = None, columns: int = 4
) -> Figure:
    """Draw one panel per layer: the function, its start dashed, the input density behind."""
    columns = min(len(layers), columns)
    rows = math.ceil(len(layers) / columns)
    figure = Figure(figsize=(2.6 * columns, 2.5 * rows + 0.5), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    handles: dict[str, Artist] = {}
    for panel, layer in zip(panels, layers, strict=False):
        handles = draw_layer(panel, layer, BLUE, start_color=GREY)
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
        height, layer.edges, fill=True, color=GREY, alpha=0.3, zorder=0.5,
        transform=panel.get_xaxis_transform(),
    )  # fmt: skip
    (start,) = panel.plot(layer.x, layer.start, "--", color=start_color, linewidth=1.1)
    (learned,) = panel.plot(layer.x, layer.y, color=color, linewidth=1.8)
    panel.set_xlim(layer.x[0], layer.x[-1])
    return {"inputs": inputs, "start": start, "learned": learned}
