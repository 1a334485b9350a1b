"""Draw the activations' times from a CSV of ``bench.py``, in the look of the report's figures.

``python scripts/plot_bench.py benchmarks/activations_cpu.csv`` writes the PNG beside it.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter, StrMethodFormatter

from pade_bench.report.figures.style import GRAY, RC, Look, look

LOOKS = {
    "ReLU": look("relu"),
    "SiLU": look("swish"),
    "PReLU": look("prelu"),
    "PAU (ours)": look("pau"),
    "RPAU (ours)": look("rpau"),
    "PAU, eager formula": look("pau", 1),
    "PAU, torch.compile": look("pau", 2),
    "rational-activations": Look(GRAY, "-", "h"),
}


def plot(path: Path) -> None:
    """Draw the ratios to ReLU over the number of elements, a panel for each layout."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    layouts = list(dict.fromkeys(row["layout"] for row in rows))
    with matplotlib.rc_context(RC):
        figure, axes = plt.subplots(
            1, len(layouts), figsize=(11, 4.2), sharey=True, squeeze=False, layout="constrained"
        )
        for panel, layout in zip(axes[0], layouts, strict=True):
            for name, style in LOOKS.items():
                line = [r for r in rows if (r["activation"], r["layout"]) == (name, layout)]
                elements, ratios, low, high = (
                    [float(row[key]) for row in line]
                    for key in ("elements", "ratio", "ratio_p10", "ratio_p90")
                )
                panel.plot(elements, ratios, marker=style.marker, markersize=5, label=name,
                           **style.line(name == "PAU (ours)"))  # fmt: skip
                panel.fill_between(elements, low, high, color=style.color, alpha=0.12, linewidth=0)
            panel.set(xscale="log", yscale="log", xlabel="elements")
            # Those of a logarithmic axis are mathematics, which figures of ours do not typeset.
            panel.xaxis.set_major_formatter(EngFormatter())
            panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            panel.set_title(layout, loc="left")
        axes[0][0].set_ylabel("time of forward + backward / ReLU")
        handles = {h.get_label(): h for panel in axes[0] for h in panel.lines if len(h.get_xdata())}
        names = [name for name in LOOKS if name in handles]
        figure.legend([handles[n] for n in names], names, loc="outside lower center", ncols=4)
        figure.suptitle(rows[0]["environment"], fontsize=8)
        figure.savefig(path.with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        plot(Path(argument))
