"""Figure 1: Padé units that approximate common activations."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from matplotlib.figure import Figure

from pade_bench.report import paper
from pade_bench.report.figures.style import GRAY, INK, look


def approximations() -> Figure:
    """Draw Padé units with their initial coefficients, and the functions they stand for."""
    lines = [line for line in paper.initial_coefficients() if line["form"] == "abs_of_sum"]
    figure = Figure(figsize=(9.5, 6.6), layout="constrained")
    x = np.linspace(-5, 5, 501)
    axes = figure.subplots(3, 3, sharex=True)
    for panel, line in zip(axes.flat, lines, strict=True):
        a = [float(Fraction(line[f"a{j}"])) for j in range(6)]
        b = [0.0, *(float(Fraction(line[f"b{k}"])) for k in range(1, 5))]
        y = np.polynomial.polynomial.polyval(x, a)
        y = y / (1 + np.abs(np.polynomial.polynomial.polyval(x, b)))
        panel.axvspan(-3, 3, color=GRAY, alpha=0.12, linewidth=0, label="fitted range")
        panel.plot(x, y, color=look("pau").color, linewidth=3, label="PAU")
        panel.plot(x, _exact(line["function"])(x), "--", color=INK, linewidth=1, label="function")
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
