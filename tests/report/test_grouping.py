"""Only runs that differ in the seed alone are one group."""

import pytest

from pade_bench.report.grouping import group_runs
from pade_bench.report.groups import legend, pruned_groups, summarize
from pade_bench.runs.record import Record
from pade_bench.runs.records import read_runs


def labels(groups):
    return {(g.label, g.protocol): len(g.runs) for g in groups}


def test_seeds_are_one_group(runs):
    runs.sweep("mnist_lenet", ["pau", "relu"], seeds=3)
    assert labels(runs.groups()) == {("PAU", ()): 3, ("ReLU", ()): 3}


def test_changed_settings_are_groups_of_their_own_named_by_the_change(runs):
    runs.sweep("mnist_lenet", ["pau"], seeds=2)
    runs.sweep("mnist_lenet", ["pau"], seeds=3, changes={"trainer.max_epochs": 5})
    runs.sweep("mnist_lenet", ["pau"], seeds=4, changes={"activation.form": "sum_of_abs"})
    assert labels(runs.groups()) == {
        ("PAU", ()): 2,
        ("PAU", (("trainer.max_epochs", "5"),)): 3,
        ("PAU (form=sum_of_abs)", ()): 4,
    }


def test_changes_are_named_even_if_all_runs_have_them(runs):
    runs.sweep("mnist_lenet", ["pau", "relu"], seeds=2, changes={"trainer.max_epochs": 5})
    assert {g.protocol for g in runs.groups()} == {(("trainer.max_epochs", "5"),)}


def test_an_experiment_edited_between_sweeps_is_not_averaged_with_its_old_self(runs):
    runs.sweep("mnist_lenet", ["pau", "relu"], seeds=3)
    # Nothing changed on the command line, but the experiment's batch size was another.
    for seed in (3, 4):
        runs.finish("mnist_lenet", "pau", seed, config_changes={"data.batch_size": 64})
    assert labels(runs.groups()) == {
        ("PAU", ()): 3,
        ("ReLU", ()): 3,
        ("PAU", (("data.batch_size", "64"),)): 2,
    }


def test_activations_trained_with_different_settings_are_not_comparable(runs):
    runs.sweep("mnist_lenet", ["pau", "swish"], seeds=3)
    runs.sweep("mnist_lenet", ["relu"], seeds=3, config_changes={"optim.weights.lr": 0.1})
    assert ("ReLU", (("optim.weights.lr", "0.1"),)) in labels(runs.groups())


def test_records_without_configurations_are_kept_apart_by_their_hash(runs):
    for seed, rate in ((0, 0.002), (1, 0.002), (2, 0.1)):
        changes = {"optim.weights.lr": rate}
        home = runs.finish("mnist_lenet", "pau", seed, config_changes=changes, settings=None)
        (home / "config.yaml").unlink()
    groups = runs.groups()
    assert sorted(len(g.runs) for g in groups) == [1, 2]
    assert {g.protocol[0][0] for g in groups if g.protocol} == {"config_hash"}


def test_where_a_run_was_made_makes_no_difference(runs):
    runs.finish("mnist_lenet", "pau", 0, config_changes={"data.root": "/here"})
    runs.finish("mnist_lenet", "pau", 1, config_changes={"trainer.accelerator": "cuda"})
    home = runs.directory("mnist_lenet", "pau", 1)
    other = runs.directory("mnist_lenet", "pau", 0)
    records = [Record.read(path / "record.json") for path in (home, other)]
    assert records[0].config_hash == records[1].config_hash
    assert labels(runs.groups()) == {("PAU", ()): 2}


@pytest.mark.parametrize("changes", [{}, {"trainer.max_epochs": 5}])
def test_unfinished_runs_join_the_finished_ones_of_their_settings(runs, changes):
    runs.sweep("mnist_lenet", ["pau"], seeds=2, changes=changes)
    runs.progress("mnist_lenet", "pau", 2, epochs=1, changes=changes)
    (group,) = runs.groups()
    assert (len(group.finished), group.count("unfinished")) == (2, 1)


def test_a_run_that_never_began_an_epoch_is_not_taken_for_the_standard(runs):
    runs.sweep("mnist_lenet", ["pau"], seeds=2)
    runs.start("mnist_lenet", "pau", 0, changes={"trainer.max_epochs": 5})
    results, _ = read_runs(runs.root)
    assert (("trainer.max_epochs", "5"),) in {g.protocol for g in group_runs(results)}


def test_a_run_that_never_began_an_epoch_is_with_the_other_seeds_of_its_folder(runs):
    changes = {"prune.shares": [30], "trainer.max_epochs": 5}
    for seed in range(2):
        runs.finish("prune_mnist_lenet", "pau", seed, changes=changes, pruned_share=30)
    runs.start("prune_mnist_lenet", "pau", 2, changes=changes)
    runs.progress("prune_mnist_lenet", "pau", 3, epochs=1, changes=changes, pruned_share=30)
    (group,) = runs.groups()
    assert (len(group.finished), group.count("unfinished")) == (2, 2)


def test_pruning_stages_are_one_experiment_and_separate_groups(runs):
    for share in (10, 20):
        for seed in (0, 1):
            runs.finish(
                "prune_mnist_lenet", "pau", seed, changes={"prune.shares": [share]},
                pruned_share=share,
            )  # fmt: skip
    groups = runs.groups()
    assert {(g.protocol, g.pruned_share, len(g.runs)) for g in groups} == {((), 10, 2), ((), 20, 2)}


def test_summary_uses_the_sample_deviation_and_leaves_it_out_for_one_value():
    summary = summarize([1.0, 3.0, None])
    assert (summary.mean, summary.best, summary.n) == (2.0, 3.0, 2)
    assert summary.std == pytest.approx(2**0.5)
    assert summarize([5.0]).std is None
    assert summarize([None]) is None


def test_every_row_of_pruned_networks_begins_with_the_unpruned_one(runs):
    runs.finish("prune_mnist_lenet", "pau", 0, pruned_share=0)
    for changes in ({}, {"prune.weights": "new"}):
        runs.finish(
            "prune_mnist_lenet", "pau", 0, changes={**changes, "prune.shares": [10]},
            pruned_share=10,
        )  # fmt: skip
    found = {(g.protocol, g.pruned_share) for g in pruned_groups(runs.groups())}
    new = (("prune.weights", "new"),)
    assert found == {((), 0), ((), 10), (new, 0), (new, 10)}


def test_another_network_is_named_by_what_ran(runs):
    runs.finish("digits_lenet", "pau", 0)
    for depth in (0, 1):
        changes = {"model._target_": "pade_bench.models.ResNet101"}
        changes |= {"trainer.max_epochs": 5} if depth else {}
        runs.finish("digits_lenet", "pau", 0, changes=changes)
    assert {(g.title, g.protocol) for g in runs.groups()} == {
        ("Digits, LeNet", ()),
        ("Digits, ResNet101, with the recipe of digits_lenet", ()),
        (
            "Digits, ResNet101, with the recipe of digits_lenet, trainer.max_epochs=5",
            (("trainer.max_epochs", "5"),),
        ),
    }


def test_another_data_set_is_named_and_what_came_with_it_is_no_change(runs):
    for batch_size in (64, 128):
        changes = {
            "data._target_": "pade_bench.data.ImageFolder", "data.name": "flowers",
            "data.classes": 17, "data.batch_size": batch_size,
        }  # fmt: skip
        runs.sweep("cifar10_vgg8", ["pau", "relu"], seeds=2, changes=changes)
    title = "flowers, VGG-8, with the recipe of cifar10_vgg8"
    assert {(g.experiment, g.settings) for g in runs.groups()} == {
        (title, "data.batch_size=64"), (title, "data.batch_size=128"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "activation", "label"),
    [
        ("torch.nn.Hardtanh", "Hardtanh", "Hardtanh (min_val=-2)"),
        ("pade_bench.activations.PAU", "pau", "PAU (min_val=-2)"),
    ],
)
def test_another_activation_is_named_by_what_ran(runs, target, activation, label):
    changes = {"activation._target_": target, "activation.min_val": -2}
    runs.finish("digits_lenet", "relu", 0, changes=changes)
    (group,) = runs.groups()
    assert (group.activation, group.label) == (activation, label)


def test_long_lists_of_settings_have_short_names_and_a_legend(runs):
    for value in (1, 2):
        changes = {f"optim.weights.setting_{n}": value for n in range(5)}
        changes |= {"activation.init": f"a_function_with_a_long_name_{value}"}
        runs.sweep("mnist_lenet", ["pau"], seeds=1, changes=changes)
    first, second = sorted(runs.groups(), key=lambda g: g.protocol)
    assert (first.title, first.label) == ("MNIST, LeNet, settings A", "PAU (variant A)")
    assert (second.title, second.label) == ("MNIST, LeNet, settings B", "PAU (variant B)")
    assert (first.variant, second.variant) == (1, 2)
    lines = legend(group for group in (first, second))
    assert lines[0].startswith("settings A: optim.weights.setting_0=1, optim.weights.setting_1=1")
    assert lines[3] == "variant B: init=a_function_with_a_long_name_2"
    assert legend(runs.groups()[:0]) == []
