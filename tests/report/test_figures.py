"""Figures: what they show, and that all of it is on the paper."""

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from pade_bench.report.figures.curves import learning_curves
from pade_bench.report.figures.drawing import Plan
from pade_bench.report.figures.leaderboard import dots, time_and_accuracy
from pade_bench.report.figures.learned import learned_activations
from pade_bench.report.figures.pruning import pruning
from pade_bench.report.figures.style import FEW, GRAY, RC, SMALLEST, in_color, look, write_title
from pade_bench.report.leaderboard import boards
from pade_bench.report.names import ACTIVATIONS, activation_label


@pytest.fixture(autouse=True)
def look_of_the_report():
    with matplotlib.rc_context(RC):
        yield


def inside(figure):
    """Tell whether all legends and labels of a figure lie within it."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    box = figure.bbox
    extents = [part.get_window_extent(renderer) for part in figure.legends]
    extents += [panel.get_tightbbox(renderer) for panel in figure.axes if panel.get_visible()]
    return all(
        box.x0 <= e.x0 and e.x1 <= box.x1 and box.y0 <= e.y0 and e.y1 <= box.y1 for e in extents
    )


def legend_texts(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("n", [2, 6, FEW])
def test_a_few_activations_are_all_in_the_legend_and_that_is_beside_the_curves(runs, n):
    runs.sweep("digits_lenet", list(ACTIVATIONS)[:n], seeds=2)
    figure = learning_curves(["digits_lenet"], runs.groups())
    assert sorted(legend_texts(figure)) == sorted(map(activation_label, list(ACTIVATIONS)[:n]))
    assert inside(figure)
    curves = figure.axes[0].get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    assert not figure.legends[0].get_window_extent().overlaps(curves)


def test_of_many_activations_the_best_the_pade_units_and_the_reference_stand_out(runs):
    for place, activation in enumerate(ACTIVATIONS):  # the later, the better
        runs.finish("digits_lenet", activation, 0, 90 + place / 10)
    groups = runs.groups()
    colored = {"ReLU", "PAU", "RPAU", "Softplus", "Tanh", "Sigmoid"}
    assert {activation_label(name) for name, _ in in_color(groups)} == colored
    figure = learning_curves(["digits_lenet"], groups)
    assert set(legend_texts(figure)) == colored | {"others"}
    gray = [line for line in figure.axes[0].lines if line.get_color() == GRAY]
    assert len(gray) == len(ACTIVATIONS) - len(colored)
    assert inside(figure)
    (board,) = boards(groups)
    for figure in (dots(board), time_and_accuracy(board)):
        marks = [line for line in figure.axes[0].lines if line.get_marker() not in ("|", "None")]
        assert sum(line.get_color() == GRAY for line in marks) == len(gray)
        assert inside(figure)


def test_lines_on_each_other_share_a_name(runs):
    runs.finish("digits_lenet", "relu", 0, 98.0)
    histories = {"test_accuracy_per_epoch": [97.0, 98.0], "train_loss_per_epoch": [0.2, 0.1]}
    for activation in ("elu", "celu"):
        runs.finish("digits_lenet", activation, 0, 98.0, epochs=2, **histories)
    figure = learning_curves(["digits_lenet"], runs.groups())
    assert legend_texts(figure) == ["ReLU", "ELU = CELU"]


def test_a_single_epoch_is_a_point(runs):
    runs.sweep("digits_lenet", list(ACTIVATIONS)[:9], seeds=2, epochs=1)
    figure = learning_curves(["digits_lenet"], runs.groups())
    for line in figure.axes[0].lines:
        assert line.get_marker() not in ("", "None")
        assert line.get_markevery() in (None, [0])
    assert inside(figure)


def test_one_seed_has_no_interval_and_no_error_bar(runs):
    for share in (0, 30):
        for activation in ("relu", "pau"):
            runs.finish(
                "prune_mnist_lenet", activation, 0, changes={"prune.shares": [share]},
                pruned_share=share, multiply_adds=1000 - share,
            )  # fmt: skip
    runs.sweep("mnist_lenet", ["relu", "pau"], seeds=1)
    figure = pruning(runs.groups())
    assert not any(panel.collections for panel in figure.axes)
    assert not any(hasattr(handle, "has_yerr") for handle in figure.legends[0].legend_handles)
    (board,) = boards(runs.groups())
    assert not dots(board).axes[0].collections


def test_pau_and_rpau_are_told_apart_where_their_lines_lie_on_each_other():
    assert look("pau").dash != look("rpau").dash


def test_ties_are_both_visible(runs):
    runs.sweep("digits_lenet", ["elu", "celu"], seeds=2, accuracy=98.0)
    (board,) = boards(runs.groups())
    panel = dots(board).axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["ELU", "CELU"]
    assert {line.get_ydata()[0] for line in panel.lines} == {0, 1}


def test_one_far_below_the_rest_does_not_squeeze_them(runs):
    for place, activation in enumerate(["relu", "elu", "pau", "sigmoid"]):
        accuracy = 20.0 if activation == "sigmoid" else 98 + place / 10
        runs.finish("digits_lenet", activation, 0, accuracy)
    (board,) = boards(runs.groups())
    low, high = dots(board).axes[0].get_xlim()
    assert 97 < low < 98 < 98.2 < high
    assert any("20.00" in text.get_text() for text in dots(board).axes[0].texts)


@pytest.mark.parametrize("spread", [0.2, 1.0])
def test_a_few_that_are_close_are_all_within_the_axes(runs, spread):
    for place, activation in enumerate(["elu", "relu", "pau"]):
        for seed in range(2):
            accuracy = 95.5 - 0.12 * place + spread * (seed - 0.5)
            runs.finish("digits_lenet", activation, seed, accuracy)
    (board,) = boards(runs.groups())
    low, high = dots(board).axes[0].get_xlim()
    assert all(low < a < high for group in board.groups for a in group.accuracies)


def test_a_tick_at_the_edge_of_the_leaderboard_is_not_cut(runs):
    for seed, accuracies in enumerate([(97.99, 98.64), (98.37, 98.74)]):
        for activation, accuracy in zip(("relu", "pau"), accuracies, strict=True):
            runs.finish("mnist_lenet", activation, seed, accuracy)
    (board,) = boards(runs.groups())
    figure = dots(board)
    assert figure.axes[0].get_xlim()[1] == pytest.approx(98.8)
    assert inside(figure)


def test_a_users_activation_does_not_look_like_the_one_it_replaced(runs):
    runs.finish("digits_lenet", "relu", 0, changes={"activation._target_": "torch.nn.Hardtanh"})
    (group,) = runs.groups()
    assert look(group.activation, group.variant).color != look("relu").color


def test_variants_of_an_activation_have_its_color_and_are_told_apart(runs):
    for degree in range(8):
        runs.finish("digits_lenet", "pau", 0, changes={"activation.init": f"f{degree}"})
    looks = [look(group.activation, group.variant) for group in runs.groups()]
    assert {one.color for one in looks} == {look("pau").color}
    assert len({(one.dash, one.marker) for one in looks} | {look("pau")}) == 9


def test_a_long_name_makes_room_for_itself(runs):
    runs.sweep("digits_lenet", ["pau"], seeds=2, changes={"activation.form": "sum_of_abs"})
    runs.sweep("digits_lenet", ["pau"], seeds=2)
    assert inside(learning_curves(["digits_lenet"], runs.groups()))


@pytest.mark.parametrize("length", [20, 90, 150, 400])
def test_a_title_ends_within_its_figure(length):
    figure = Figure(figsize=(4.8, 3))
    panel = figure.subplots()
    write_title(panel, "settings " * (length // 9))
    (title,) = [text for text in panel.findobj(Text) if "settings" in text.get_text()]
    assert title.get_window_extent().x1 <= figure.bbox.x1
    assert title.get_fontsize() >= SMALLEST
    assert title.get_text().count("\n") <= 1


@pytest.mark.parametrize("changes", [{}, {"activation.form": "sum_of_abs"}])
def test_learned_functions_have_their_legend_below(runs, changes):
    runs.sweep("digits_lenet", ["pau", "rpau"], seeds=1, learned=True)
    for rate in range(2):
        change = {**changes, "activation.rate": rate}
        runs.finish("digits_lenet", "pau", 0, changes=change, learned=True)
    rows = Plan([]).curves(runs.groups())
    assert len(rows) == 4
    figure = learned_activations(rows)
    assert inside(figure)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not any(box.overlaps(panel.get_tightbbox()) for panel in figure.axes)


def test_the_accuracies_of_the_second_half_are_all_visible(runs):
    runs.sweep("digits_lenet", ["relu"], seeds=2, accuracy=98.0)
    runs.sweep("digits_lenet", ["sigmoid"], seeds=2, accuracy=90.0)
    figure = learning_curves(["digits_lenet"], runs.groups())
    low, high = figure.axes[0].get_ylim()
    for line in figure.axes[0].lines:
        second_half = line.get_ydata()[5:]
        assert low <= second_half.min() <= second_half.max() <= high
    assert low > min(np.min(line.get_ydata()) for line in figure.axes[0].lines)
