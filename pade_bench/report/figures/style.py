"""One look for every figure: an activation has the same color, dash and marker everywhere."""

from __future__ import annotations

import hashlib
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pade_bench.report.groups import Changes, Group
from pade_bench.report.names import PADE, REFERENCE

# Okabe & Ito's palette (2008), told apart by color-blind readers, without its yellow, which is
# too pale on white. A hue is a family of functions; its members differ in dash and marker, so
# nothing hangs on color alone.
BLUE, _GREEN, _ORANGE = "#0072B2", "#009E73", "#E69F00"
_SKY, _PURPLE, _VERMILION = "#56B4E9", "#CC79A7", "#D55E00"
_OLIVE = "#999933"  # Tol's
SMALLEST = 7.0  # points: a title that cannot be read is none
GRAY = "#8c8c8c"  # of what stays in the background
_FAMILIES = {
    BLUE: ("relu", "relu6", "lrelu", "rrelu"),
    _GREEN: ("elu", "celu", "selu", "softplus"),
    _ORANGE: ("swish", "gelu", "mish"),
    _SKY: ("prelu", "apl", "srelu", "slaf"),
    _OLIVE: ("maxout", "mixture", "tanh", "sigmoid"),
    _VERMILION: ("pau",),
    _PURPLE: ("rpau",),
}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
_MARKERS = "os^D"
_MORE_MARKERS = "XPv<>hd"  # of variants, and of activations that are not ours

# Stands for the color of the text around the figure: the page replaces it, so that figures are
# readable on light and dark. In PNG and PDF it is black.
INK = "#010101"


@dataclass(frozen=True)
class Look:
    """How an activation is drawn."""

    color: str
    dash: Any
    marker: str

    def line(self, emphasis: bool = False) -> dict[str, Any]:
        """Return keyword arguments for ``Axes.plot``."""
        return {
            "color": self.color,
            "linestyle": self.dash,
            "linewidth": 2.2 if emphasis else 1.3,
            "zorder": 4 if emphasis else 3,
        }


def look(activation: str, variant: int = 0) -> Look:
    """Return the look of an activation, whatever else is in the figure.

    Args:
        activation: its name.
        variant: which of its variants, 0 for none: it has a dash and a marker of its own.
    """
    for color, members in _FAMILIES.items():
        if activation in members:
            if variant:
                return Look(color, *_variant(variant - 1))
            i = members.index(activation)
            if activation in PADE:  # their lines lie on each other more often than others
                return Look(color, _DASHES[PADE.index(activation)], "*")
            return Look(color, _DASHES[i], _MARKERS[i])
    # Chosen by name, so that a user's own activation too looks the same in every figure.
    return Look(INK, *_variant(hashlib.sha256(activation.encode()).digest()[0] + variant))


def _variant(i: int) -> tuple[Any, str]:
    """Return a dash and a marker, which are not those of the i before and after."""
    return _DASHES[1 + i % 3], _MORE_MARKERS[i % len(_MORE_MARKERS)]


OTHERS = "others"  # what a legend calls the gray ones
FEW = 7  # activations that a figure can show in color
BEST = 3  # of many, so many stand out


def in_color(groups: Sequence[Group]) -> set[tuple[str, Changes]]:
    """Return the activations that stand out in a figure; the others are gray.

    Of many, these are the Padé units, the reference, and the best by their mean rank over the
    experiments of ``groups``.
    """
    ranks: dict[tuple[str, Changes], list[int]] = defaultdict(list)
    for experiment in {g.experiment for g in groups}:
        found = [(-s.mean, g.kind) for g in groups
                 if g.experiment == experiment and (s := g.summary())]  # fmt: skip
        for place, (_, key) in enumerate(sorted(found)):
            ranks[key].append(place)
    if len(ranks) <= FEW:
        return set(ranks)
    order = sorted(ranks, key=lambda key: (np.mean(ranks[key]), key))
    return set(order[:BEST]) | {key for key in ranks if key[0] in (*PADE, REFERENCE)}


RC: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRAY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}


def write_title(panel: Axes, text: str) -> None:
    """Write a title over a panel that ends within the figure: smaller, or in two small lines."""
    title = panel.set_title(text, loc="left")
    extent = title.get_window_extent()
    share = 0.98 * (panel.figure.bbox.x1 - extent.x0) / extent.width  # of the width that there is
    if share >= 1:
        return
    usual = float(title.get_fontsize())
    title.set_fontsize(max(usual * share, SMALLEST))
    if usual * share < SMALLEST:
        a_line = int(len(text) * usual * share / SMALLEST)
        title.set_text(textwrap.fill(text, a_line, max_lines=2, placeholder=" …"))


def arrange(
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
