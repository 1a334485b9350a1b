"""Certified accuracy over the size of the changes that are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from pade_bench.report.figures.style import look, write_title
from pade_bench.report.groups import Group
from pade_bench.report.names import count_of_each
from pade_bench.runs.certificate import Certificate

# With a marker, as a certificate may be for a single ε.
UNDER_ATTACK: dict[str, Any] = {
    "linestyle": ":", "linewidth": 1.2, "marker": "x", "markersize": 4,
}  # fmt: skip


def certified_accuracy(rows: Sequence[tuple[Group, Sequence[Certificate]]]) -> Figure | None:
    """Draw a panel for each network and settings, a line for each activation.

    Solid with a band of one sample standard deviation over seeds: certified accuracy, a lower
    bound; dotted: accuracy under attack, an upper bound.
    """
    titles = list(dict.fromkeys(group.title for group, _ in rows))
    if not titles:
        return None
    figure = Figure(figsize=(7, 0.7 + 3.2 * len(titles)), layout="constrained")
    panels = figure.subplots(len(titles), 1, squeeze=False)[:, 0]
    handles: dict[str, Artist] = {}
    for panel, title in zip(panels, titles, strict=True):
        for group, certificates in rows:
            if group.title != title:
                continue
            epsilons = [result.epsilon for result in certificates[0].results]
            certified, attacked = (
                np.array([[getattr(r, name) for r in c.results] for c in certificates])
                for name in ("certified_accuracy", "attacked_accuracy")
            )
            style = look(group.activation, group.variant)
            mean = certified.mean(axis=0)
            (line,) = panel.plot(
                epsilons, mean, marker=style.marker, markersize=5, **style.line()
            )  # fmt: skip
            if len(certificates) > 1:
                std = certified.std(axis=0, ddof=1)
                low, high = (mean - std).clip(0, 100), (mean + std).clip(0, 100)
                panel.fill_between(epsilons, low, high, color=style.color, alpha=0.15, linewidth=0)
            panel.plot(epsilons, attacked.mean(axis=0), color=style.color, **UNDER_ATTACK)
            handles[group.full_label] = line
        shown = [certificates for group, certificates in rows if group.title == title]
        images = count_of_each([c.images for certificates in shown for c in certificates], "image")
        seeds = count_of_each([len(certificates) for certificates in shown], "seed")
        write_title(panel, f"{title}  ({images}, {seeds})")
        epsilons = sorted({r.epsilon for g, cs in rows if g.title == title for r in cs[0].results})
        if positive := [e for e in epsilons if e > 0]:
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(FixedLocator(positive))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.set_xlabel("ε: largest change of a pixel, of a scale from 0 to 1")
        panel.set_ylabel("certified (%)")
        panel.set_ylim(-2, 102)
    (dotted,) = panels[0].plot([], [], color="gray", **UNDER_ATTACK)
    handles["under attack"] = dotted
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center",
        ncols=min(5, len(handles)),
    )  # fmt: skip
    return figure
