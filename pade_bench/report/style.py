"""One look for every figure: an activation has the same colour, dash and marker everywhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from pade_bench.report import paper

# Okabe & Ito's palette (2008), told apart by colour-blind readers, without its yellow, which is
# too pale on white. A hue is a family of functions; its members differ in dash and marker, so
# nothing hangs on colour alone.
_BLUE, _GREEN, _ORANGE = "#0072B2", "#009E73", "#E69F00"
_SKY, _PURPLE, _VERMILION, _GREY = "#56B4E9", "#CC79A7", "#D55E00", "#8c8c8c"
_FAMILIES = {
    _BLUE: ("relu", "relu6", "lrelu", "rrelu"),
    _GREEN: ("elu", "celu", "selu", "softplus"),
    _ORANGE: ("swish", "gelu", "mish"),
    _SKY: ("prelu", "apl", "srelu", "slaf"),
    _GREY: ("maxout", "mixture", "tanh", "sigmoid"),
    _VERMILION: ("pau",),
    _PURPLE: ("rpau",),
}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
_MARKERS = "os^D"

# Stands for the colour of the text around the figure: the page replaces it, so that figures are
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


def look(activation: str, variation: object = ()) -> Look:
    """Return the look of an activation, whatever else is in the figure.

    Args:
        activation: its name.
        variation: what was changed of it; it changes the dash and the marker, not the colour.
    """
    # Chosen by name, so that a user's own activation too looks the same in every figure.
    digest = hashlib.sha256(f"{activation}{variation or ''}".encode()).digest()
    dash, marker = _DASHES[1 + digest[0] % 3], "XPv<>h"[digest[1] % 6]
    for color, members in _FAMILIES.items():
        if activation in members:
            if variation:
                return Look(color, dash, marker)
            i = members.index(activation)
            return Look(color, _DASHES[i], "*" if activation in paper.PADE else _MARKERS[i])
    return Look(INK, dash, marker)


RC: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#8c8c8c",
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}
