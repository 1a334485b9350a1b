"""Figures: what they show, and that all of it is on the paper."""

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pade_bench.report import figures, paper
from pade_bench.report.drawing import Plan
from pade_bench.report.style import RC


@pytest.fixture(autouse=True)
def look_of_the_report():
    with matplotlib.rc_context(RC):
        yield


def inside(figure):
    """Tell whether all legends and labels of a figure lie within it."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    box = figure.bbox
    parts = [*figure.legends, *(panel.title for panel in figure.axes)]
    parts += [panel.yaxis.label for panel in figure.axes]
    extents = [part.get_window_extent(renderer) for part in parts]
    return all(
        box.x0 <= e.x0 and e.x1 <= box.x1 and box.y0 <= e.y0 and e.y1 <= box.y1 for e in extents
    )


@pytest.mark.parametrize("n", [2, 6, 7, len(paper.ACTIVATIONS)])
def test_every_activation_is_in_the_legend_and_the_legend_on_the_paper(runs, n):
    runs.sweep("digits_lenet", list(paper.ACTIVATIONS)[:n], seeds=2)
    figure = figures.learning_curves(["digits_lenet"], runs.groups())
    (legend,) = figure.legends
    assert len(legend.get_texts()) == n
    assert inside(figure)
    curves = figure.axes[0].get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    assert not legend.get_window_extent().overlaps(curves)


def test_a_long_name_makes_room_for_itself(runs):
    runs.sweep("digits_lenet", ["pau"], seeds=2, changes={"activation.form": "sum_of_abs"})
    runs.sweep("digits_lenet", ["pau"], seeds=2)
    assert inside(figures.learning_curves(["digits_lenet"], runs.groups()))


@pytest.mark.parametrize("changes", [{}, {"activation.form": "sum_of_abs"}])
def test_learned_functions_have_their_legend_below(runs, changes):
    runs.sweep("digits_lenet", ["pau", "rpau"], seeds=1, learned=True)
    for rate in range(2):
        change = {**changes, "activation.rate": rate}
        runs.finish("digits_lenet", "pau", 0, changes=change, learned=True)
    rows = Plan([]).curves(runs.groups())
    assert len(rows) == 4
    figure = figures.learned_activations(rows)
    assert inside(figure)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not any(box.overlaps(panel.get_tightbbox()) for panel in figure.axes)


def test_the_accuracies_of_the_second_half_are_all_visible(runs):
    runs.sweep("digits_lenet", ["relu"], seeds=2, accuracy=98.0)
    runs.sweep("digits_lenet", ["sigmoid"], seeds=2, accuracy=90.0)
    figure = figures.learning_curves(["digits_lenet"], runs.groups())
    low, high = figure.axes[0].get_ylim()
    for line in figure.axes[0].lines:
        second_half = line.get_ydata()[5:]
        assert low <= second_half.min() <= second_half.max() <= high
    assert low > min(np.min(line.get_ydata()) for line in figure.axes[0].lines)
