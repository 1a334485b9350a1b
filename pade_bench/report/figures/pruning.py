"""Figure 4: accuracy of pruned networks."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from pade_bench.report.figures.style import look, write_title
from pade_bench.report.groups import Group, in_order, pruned_groups

_OVER = {
    "pruned filters (%)": "pruned_share",
    "parameters": "parameters",
    "multiply-adds": "multiply_adds",
}


def pruning(groups: Sequence[Group]) -> Figure | None:
    """Draw accuracy over pruned share, parameters and multiply-adds; ``None`` without runs."""
    pruned = [g for g in in_order(pruned_groups(groups)) if g.finished]
    networks = list(dict.fromkeys(g.title for g in pruned))
    if not networks:
        return None
    figure = Figure(figsize=(9.5, 0.5 + 2.8 * len(networks)), layout="constrained")
    axes = figure.subplots(len(networks), 3, squeeze=False, sharey="row")
    handles: dict[str, Artist] = {}
    for panels, network in zip(axes, networks, strict=True):
        lines: dict[str, list[Group]] = {}
        for g in pruned:
            if g.title == network:
                lines.setdefault(g.label, []).append(g)
        for label, steps in lines.items():
            handles |= {label: _line(panels, steps)}
        for panel, name in zip(panels, _OVER, strict=True):
            panel.set_xlabel(name)
            panel.xaxis.set_major_locator(MaxNLocator(5))
            panel.xaxis.set_major_formatter(EngFormatter())
        panels[0].set_ylabel("test accuracy (%)")
        write_title(panels[0], network)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles)
    )
    return figure


def _line(panels: Sequence[Axes], steps: Sequence[Group]) -> Artist:
    """Draw one activation, a point for each share; return what stands for it in the legend."""
    summaries = [s for g in steps if (s := g.summary())]
    mean = [s.mean for s in summaries]
    style = look(steps[0].activation, steps[0].variant)
    for panel, name in zip(panels, _OVER.values(), strict=True):
        x = [getattr(g.finished[0], name) for g in steps]
        if None in x:
            continue
        (line,) = panel.plot(x, mean, marker=style.marker, markersize=5, **style.line())
        spread = [
            (a, s.mean, s.std) for a, s in zip(x, summaries, strict=True) if s.std is not None
        ]
        if spread:
            at, middle, std = zip(*spread, strict=True)
            panel.errorbar(at, middle, std, fmt="none", ecolor=style.color, capsize=2)
    return line
