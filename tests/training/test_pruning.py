"""The lottery-ticket experiment as a chain of runs."""

import dataclasses
import itertools
import json
import math
import shutil

import numpy as np
import pytest
import torch

from pade_bench import load_run
from pade_bench.errors import ConfigurationError, RunError
from pade_bench.evaluate import evaluate
from pade_bench.runs.record import Record
from pade_bench.runs.record_parts import Costs, Pruning
from pade_bench.training.fit import make_classifier
from pade_bench.training.module import Classifier
from pade_bench.training.pruned import Pruned, error_of_ratio, read_filters
from pade_bench.training.pruning import fit_chain

SHORT = ("experiment=prune_digits_lenet", "trainer.max_epochs=2", "prune.shares=[30,60]")


@pytest.fixture
def make_chain(make_runs):
    """Return a function from overrides to the runs of a chain."""
    return lambda *overrides: make_runs(*SHORT, *overrides)


def weights(run):
    return torch.load(run.checkpoint, weights_only=True)["state_dict"]


def homes(runs):
    return [run.directory.parent.name.rpartition("-")[2] for run in runs]


def test_each_run_has_a_home_and_a_record_of_a_smaller_network(make_chain, capsys):
    runs = make_chain()
    records = fit_chain(runs)
    said = capsys.readouterr().out.splitlines()
    shares = [
        "0 % of the filters pruned",
        "30 % of the filters pruned",
        "60 % of the filters pruned",
    ]
    told = [line for line in said if line in shares or line.startswith(("result", "try next"))]
    assert told[::2] == [*shares, told[-1]]  # each before its result
    assert told[-1].startswith("try next")
    assert len(told) == 7
    assert homes(runs)[1:] == ["pruned30", "pruned60"]
    assert [r.pruning.pruned_share for r in records] == [0, 30, 60]
    for run, record in zip(runs, records, strict=True):
        assert Record.read(run.directory / "record.json") == record
        assert record.pruning.unpruned.parameters == 61_746
        assert record.pruning.unpruned.multiply_adds == 416_520
        assert record.pruning.inference_milliseconds > 0
        assert record.pruning.inference_error > 0
    sizes = [(r.parameters, r.pruning.multiply_adds) for r in records]
    before = records[0].pruning.unpruned
    assert sizes[0] == (before.parameters, before.multiply_adds)
    for larger, smaller in itertools.pairwise(sizes):
        assert larger[0] > smaller[0]
        assert larger[1] > smaller[1]
    # 6, 16 and 120 filters
    assert [len(f) for f in read_filters(runs[1]).values()] == [4, 11, 84]
    assert [len(f) for f in read_filters(runs[2]).values()] == [2, 6, 48]
    for before, after in zip(
        read_filters(runs[1]).values(), read_filters(runs[2]).values(), strict=True
    ):
        assert set(after) < set(before)


def test_what_is_left_starts_from_its_own_initial_weights(make_chain):
    runs = make_chain()
    kept = {"0": [0, 2, 5], "3": list(range(8)), "6": list(range(60))}
    whole = make_classifier(runs[0]).network
    pruned = make_classifier(runs[1], Pruned(kept)).network
    assert torch.equal(pruned[0].weight, whole[0].weight[kept["0"]])
    assert torch.equal(pruned[3].weight, whole[3].weight[kept["3"]][:, kept["0"]])
    assert torch.equal(pruned[7].numerator, whole[7].numerator)


def test_weights_can_be_drawn_anew(make_chain):
    kept = {"0": [0, 2, 5]}
    networks = []
    for overrides in (
        (),
        ("prune.weights=new",),
        ("prune.weights=new",),
        ("prune.weights=new", "seed=1"),
    ):
        torch.rand(1)
        networks.append(make_classifier(make_chain(*overrides)[1], Pruned(kept)).network)
    ticket, new, again, other = (network[0].weight for network in networks)
    assert ticket.shape == new.shape == (3, 1, 5, 5)
    assert not torch.equal(ticket, new)
    assert torch.equal(new, again)
    assert not torch.equal(new, other)


@pytest.mark.parametrize("activations", ["initial", "learned"])
def test_learned_activations_are_kept_or_start_over(activations, make_chain, monkeypatch):
    runs = make_chain(f"prune.activations={activations}", "trainer.max_epochs=1")
    starts = []
    begin = Classifier.on_train_epoch_start

    def watch(self):
        starts.append(self.network[1].numerator.detach().clone())
        begin(self)

    monkeypatch.setattr(Classifier, "on_train_epoch_start", watch)
    fit_chain(runs)
    learned = weights(runs[0])["network.1.numerator"]
    assert not torch.equal(learned, starts[0])
    assert torch.equal(starts[1], learned if activations == "learned" else starts[0])


def test_a_chain_goes_on_where_it_stopped_to_the_same_bits(make_chain, tmp_path, monkeypatch):
    whole, cut = (make_chain(f"runs_dir={tmp_path / name}") for name in ("whole", "cut"))
    fit_chain(whole)
    step = Classifier.training_step

    def interrupt(self, batch, index):
        if self.network[0].out_channels == 4 and self.current_epoch == 1 and index == 3:
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit_chain(cut)
    assert [run.record() is not None for run in cut] == [True, False, False]
    first = (cut[0].directory / "record.json").stat().st_mtime_ns
    fit_chain(cut)
    assert (cut[0].directory / "record.json").stat().st_mtime_ns == first
    for a, b in zip(whole, cut, strict=True):
        assert read_filters(a) == read_filters(b)
        for name, value in weights(a).items():
            assert torch.equal(value, weights(b)[name]), name


def test_a_longer_chain_trains_only_what_is_new(make_chain):
    short = make_chain("prune.shares=[30]")
    fit_chain(short)
    written = [(run.directory / "record.json").stat().st_mtime_ns for run in short]
    longer = make_chain("prune.shares=[30,60]")
    fit_chain(longer)
    assert [run.directory for run in longer[:2]] == [run.directory for run in short]
    assert [(r.directory / "record.json").stat().st_mtime_ns for r in short] == written
    other = make_chain("prune.shares=[60]")
    assert other[1].directory != longer[2].directory


def test_a_pruned_network_is_rebuilt_from_its_directory_alone(make_chain, tmp_path):
    runs = make_chain()
    records = fit_chain(runs)
    alone = tmp_path / "elsewhere" / "seed0"
    shutil.copytree(runs[2].directory, alone)
    shutil.rmtree(tmp_path / "runs")
    network = load_run(alone).network
    assert sum(p.numel() for p in network.parameters()) == records[2].parameters
    now, recorded, _ = evaluate(alone)
    assert now == recorded


def test_a_run_begun_with_other_filters_is_left_as_it_is(make_chain):
    runs = make_chain("prune.shares=[30]")
    fit_chain(runs)
    (runs[1].directory / "record.json").unlink()
    filters = read_filters(runs[1])
    filters["0"] = [0, 1, 2, 3] if filters["0"] != [0, 1, 2, 3] else [1, 2, 3, 4]
    (runs[1].directory / "filters.json").write_text(json.dumps(filters))
    with pytest.raises(RunError, match="begun with other filters"):
        fit_chain(runs)
    assert read_filters(runs[1]) == filters


def test_a_run_that_diverges_ends_the_chain(make_chain):
    runs = make_chain(
        "activation=slaf", "optim=sgd", "optim.weights.lr=1e6", "optim.gradient_clip_norm=null"
    )
    records = fit_chain(runs)
    assert [r.status for r in records] == ["diverged"]
    assert not runs[1].directory.exists()


def test_maxout_is_refused(make_chain):
    runs = make_chain("activation=maxout")
    with pytest.raises(ConfigurationError, match="Maxout cannot be pruned"):
        fit_chain(runs)
    assert not runs[0].directory.exists()


@pytest.mark.parametrize("settings", [(), ("prune.weights=new",), ("prune.filter_score=sum",)])
def test_how_it_is_pruned_makes_no_other_run_of_the_unpruned_network(settings, make_chain):
    assert make_chain(*settings)[0].directory == make_chain()[0].directory
    assert (make_chain(*settings)[1].directory == make_chain()[1].directory) == (not settings)


def test_the_error_of_a_ratio_is_that_of_the_medians():
    steady = [2.0 + 0.01 * (i % 5) for i in range(100)]
    # Now and then the machine does something else.
    disturbed = [9.0 if i % 7 == 0 else 4 * value for i, value in enumerate(steady)]
    assert error_of_ratio(steady, steady) < 0.01
    assert error_of_ratio(disturbed, steady) < 0.02
    wild = [1.0 + 9 * (i % 2) for i in range(100)]
    assert error_of_ratio(wild, steady) > 0.5
    assert error_of_ratio(steady[:5], steady[:5]) == math.inf


def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        a, b = random.lognormal(0.5, 0.2, 15), random.lognormal(0, 0.2, 15)
        ratio = np.median(a) / np.median(b)
        held += abs(ratio - np.exp(0.5)) <= error_of_ratio([*a], [*b]) * ratio
    assert held >= 0.95 * 400


def test_a_time_that_is_not_known_well_is_not_shown():
    steady = Pruning(30, 1000.0, 4.0, 64, Costs(10, 2000.0, 5.0), inference_error=0.02)
    assert steady.inference_share == 0.8
    for error in (None, 0.3):
        assert dataclasses.replace(steady, inference_error=error).inference_share is None
