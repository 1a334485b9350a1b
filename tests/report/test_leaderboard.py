"""The ranking, and the sentence that says what it shows."""

import pytest

from pade_bench.report.leaderboard import across, boards, verdict_across
from pade_bench.report.names import ACTIVATIONS
from pade_bench.report.tables.leaderboard import across_table, board_table


def finish(runs, experiment, **accuracies):
    """Write runs of activations by the accuracies of their seeds."""
    for activation, values in accuracies.items():
        for seed, accuracy in enumerate(values):
            runs.finish(experiment, activation, seed, accuracy)


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def verdict(runs):
    (board,) = boards(runs.groups())
    return board.verdict


def test_the_ranking_of_published_runs(runs):
    # LeNet on MNIST, 100 epochs: results/ has these runs.
    pau, relu = [99.30, 99.21, 99.22, 99.30, 99.23], [99.19, 99.03, 99.18, 99.06, 99.20]
    finish(runs, "mnist_lenet", relu=relu, pau=pau)
    (board,) = boards(runs.groups())
    assert [row[:4] for row in texts(board_table(board, "key"))] == [
        ["PAU", "99.25", "99.20–99.31", "5"],
        ["ReLU", "99.13", "99.03–99.23", "5"],
    ]
    assert board.verdict == (
        "PAU is ahead of ReLU by 0.12 points over 5 seeds (95 % interval +0.01 to +0.23, paired "
        "t-test p = 0.041)."
    )


def test_one_seed_has_no_interval_and_establishes_nothing(runs):
    finish(runs, "mnist_lenet", relu=[98.0], pau=[99.0])
    (board,) = boards(runs.groups())
    assert texts(board_table(board, "key"))[0][:4] == ["PAU", "99.00", "–", "1"]
    assert "Nothing is established: PAU comes first, but it takes two seeds" in board.verdict


def test_what_is_not_established_says_how_many_seeds_it_would_take(runs):
    finish(runs, "mnist_lenet", relu=[98.0, 98.2, 98.1], pau=[98.1, 98.1, 98.3])
    text = verdict(runs)
    assert text.startswith("Nothing is established: PAU comes first, before ReLU by 0.07 points")
    # (1.960 + 0.842)² · (0.1528 / 0.0667)² + 1.960² / 2 = 43.1, so 44.
    assert text.endswith("to establish a difference like that would take about 44 seeds.")


def test_those_left_behind_and_those_not_are_told_apart(runs):
    finish(
        runs, "mnist_lenet", relu=[97.0, 97.1, 97.06], elu=[96.02, 96.1, 96.05],
        swish=[98.9, 99.1, 99.0], pau=[99.0, 99.12, 99.05],
    )  # fmt: skip
    text = verdict(runs)
    assert text.startswith("PAU is ahead of ReLU and ELU; of Swish that is not established: 0.06")
    assert "after Holm's correction" in text


def test_the_same_lead_with_every_seed_is_judged_by_its_sign(runs):
    finish(runs, "digits_lenet", relu=[97.5, 98.0, 97.75], pau=[97.75, 98.25, 98.0])
    assert verdict(runs) == (
        "Nothing is established: PAU comes first, before ReLU by 0.25 points with each of 3 seeds "
        "(sign test p = 0.25); to establish a difference like that would take about 6 seeds."
    )


def test_equal_runs_are_equal_whatever_the_number_of_seeds(runs):
    finish(runs, "mnist_lenet", elu=[98.0, 98.2], celu=[98.0, 98.2])
    assert " are equal with each of " in verdict(runs)


def test_an_activation_that_diverged_is_not_first(runs):
    finish(runs, "mnist_lenet", relu=[98.0, 98.1, 98.05], pau=[98.5, 98.61, 98.56], slaf=[99.0])
    for seed in (1, 2):
        runs.finish("mnist_lenet", "slaf", seed, status="diverged")
    text = verdict(runs)
    assert text.startswith("PAU is ahead of ReLU")
    assert text.endswith("With some seeds SLAF diverged.")


def test_alone_there_is_nothing_to_compare_with(runs):
    finish(runs, "mnist_lenet", pau=[98.0, 98.1])
    assert verdict(runs) == "Only PAU has results: there is nothing to compare it with."


def test_only_runs_with_the_same_settings_are_ranked_together(runs):
    finish(runs, "mnist_lenet", relu=[98.0, 98.1])
    runs.sweep("mnist_lenet", ["pau"], seeds=2, changes={"trainer.max_epochs": 5})
    runs.progress("mnist_vgg8", "pau", 0, epochs=1)
    runs.finish("prune_mnist_lenet", "pau", 0, pruned_share=10)
    assert [board.title for board in boards(runs.groups())] == [
        "MNIST, LeNet", "MNIST, LeNet, trainer.max_epochs=5",
    ]  # fmt: skip


def test_times_are_compared_on_the_same_device_only(runs):
    runs.finish("mnist_lenet", "relu", 0, wall_seconds_per_epoch=[2.0] * 10)
    runs.finish("mnist_lenet", "pau", 0, wall_seconds_per_epoch=[3.0] * 10)
    runs.finish("mnist_lenet", "elu", 0, provenance={"device": "a GPU"})
    (board,) = boards(runs.groups())
    ratios = {entry.group.label: entry.time_ratio for entry in board.entries}
    assert ratios == {"ReLU": 1.0, "PAU": 1.5, "ELU": None}


@pytest.fixture
def three_experiments(runs):
    """Return boards in which PAU has half of ReLU's errors, and Swish is missing once."""
    for experiment, error in (("mnist_lenet", 2.0), ("mnist_vgg8", 1.0), ("digits_lenet", 4.0)):
        finish(
            runs, experiment, relu=[100 - error - 0.1, 100 - error + 0.1],
            pau=[100 - error / 2 - 0.05, 100 - error / 2 + 0.05],
        )  # fmt: skip
    finish(runs, "mnist_lenet", swish=[97.0, 98.5])
    finish(runs, "mnist_vgg8", swish=[98.8, 99.2])
    runs.sweep("mnist_lenet", ["relu", "pau"], seeds=2, changes={"trainer.max_epochs": 5})
    return boards(runs.groups())


def test_across_experiments_errors_are_relative_to_relus(three_experiments):
    pau, relu, swish = across(three_experiments)
    assert (pau.label, pau.experiments, pau.runs) == ("PAU", 3, 6)
    assert pau.error == pytest.approx(0.5, abs=0.01)
    assert (pau.improvement, pau.improvement_interval) == (1.0, (1.0, 1.0))
    assert (relu.error, relu.improvement) == (pytest.approx(1.0), 0.5)
    # Of four runs against ReLU's 97.9 and 98.1, 98.9 and 99.1: 0 + 1, 0 + 1 of two each.
    assert (swish.experiments, swish.improvement) == (2, 0.5)
    assert swish.improvement_interval[0] < 0.5 < swish.improvement_interval[1]
    assert texts(across_table([pau]))[0][:3] == ["PAU", "3", "6"]


def test_across_experiments_the_best_is_named(three_experiments):
    rows = across(three_experiments)
    assert verdict_across(rows) == (
        "Across 3 experiments a run with PAU is better than one with ReLU with probability 1.00 "
        "(95 % interval 1.00 to 1.00): PAU is ahead of ReLU in these experiments."
    )


def test_across_experiments_the_best_of_many_is_judged_as_such(runs):
    relu = [97.8, 98.0, 98.1, 98.3, 98.4, 97.9]
    for experiment in ("mnist_lenet", "mnist_vgg8"):
        finish(runs, experiment, relu=relu, pau=[a + 0.2 for a in relu])
    (alone, _) = across(boards(runs.groups()))
    assert alone.corrected_interval == alone.improvement_interval
    assert alone.improvement_interval[0] > 0.5
    assert "PAU is ahead" in verdict_across([alone])
    for activation in list(ACTIVATIONS)[1:13]:
        for experiment in ("mnist_lenet", "mnist_vgg8"):
            finish(runs, experiment, **{activation: [a - 0.1 for a in relu]})
    rows = across(boards(runs.groups()))
    assert rows[0].improvement_interval == alone.improvement_interval
    assert rows[0].corrected_interval[0] < 0.5
    text = verdict_across(rows)
    assert "corrected for 13 comparisons" in text
    assert "not established" in text


def test_across_experiments_chance_is_not_an_advantage(runs):
    for experiment in ("mnist_lenet", "mnist_vgg8"):
        finish(runs, experiment, relu=[98.0, 98.2, 98.4], pau=[98.1, 98.3, 98.2])
    text = verdict_across(across(boards(runs.groups())))
    assert text.endswith("that any activation is ahead of ReLU is not established.")


def test_a_diverged_run_is_worse_than_any(runs):
    for experiment in ("mnist_lenet", "mnist_vgg8"):
        finish(runs, experiment, relu=[20.0, 20.0])
        for seed in (0, 1):
            runs.finish(experiment, "slaf", seed, status="diverged")
    slaf = next(row for row in across(boards(runs.groups())) if row.label == "SLAF")
    assert (slaf.error, slaf.improvement) == (1.25, 0.0)


def test_one_experiment_is_not_several(runs):
    finish(runs, "mnist_lenet", relu=[98.0, 98.2], pau=[98.1, 98.3])
    assert across(boards(runs.groups())) == []
