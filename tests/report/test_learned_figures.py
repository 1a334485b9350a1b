"""Pictures of learned activations."""

import numpy as np
import pytest

from pade_bench.report.figures.learned import draw_activations
from pade_bench.report.figures.style import GRAY, look
from pade_bench.runs.curves import LayerCurve


def curve(number):
    x = np.linspace(-3, 3, 11)
    return LayerCurve(str(number), x, x, x, np.linspace(-3, 3, 4), np.full(3, 1 / 6), x, x)


@pytest.mark.parametrize(("layers", "columns"), [(1, 4), (4, 4), (5, 4), (5, 3), (36, 6)])
def test_every_layer_has_a_panel_and_no_panel_is_empty(layers, columns):
    figure = draw_activations([curve(i) for i in range(layers)], "pau", columns=columns)
    visible = [panel for panel in figure.axes if panel.get_visible() and panel.get_title()]
    assert [panel.get_title() for panel in visible] == [f"layer {i}" for i in range(layers)]
    empty = [p for p in figure.axes if p.get_visible() and not p.has_data()]
    assert empty == []
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["start", "learned", "inputs"]


def test_the_function_has_the_color_of_its_activation():
    for activation in ("pau", "prelu"):
        figure = draw_activations([curve(0)], activation)
        (start, learned) = figure.axes[0].lines
        assert (start.get_color(), learned.get_color()) == (GRAY, look(activation).color)
