"""Whatever lies below the runs directory is read or named."""

import json

import pytest
from synthetic_runs import write_record

from pade_bench.errors import RunError
from pade_bench.runs import records
from pade_bench.runs.records import read_runs


def read(runs):
    results, problems = read_runs(runs.root)
    return {(r.experiment, r.activation, r.seed): r for r in results}, problems


def test_finished_diverged_and_unfinished_runs_are_all_found(runs):
    runs.finish("mnist_lenet", "pau", 0, 99.0)
    runs.finish("mnist_lenet", "slaf", 0, status="diverged", epochs=3)
    runs.progress("mnist_lenet", "relu", 0, epochs=4, changes={"trainer.max_epochs": 20}, of=20)
    runs.start("mnist_lenet", "relu", 1)
    found, problems = read(runs)
    assert problems == []
    assert found["mnist_lenet", "pau", 0].accuracy == 99.0
    diverged = found["mnist_lenet", "slaf", 0]
    assert (diverged.status, diverged.accuracy, diverged.epochs) == ("diverged", None, 3)
    unfinished = found["mnist_lenet", "relu", 0]
    assert (unfinished.status, unfinished.epochs, unfinished.max_epochs) == ("unfinished", 4, 20)
    assert found["mnist_lenet", "relu", 1].epochs == 0


def test_what_was_moved_aside_and_hidden_directories_are_passed_over(runs):
    home = runs.finish("mnist_lenet", "pau", 0, 99.0)
    old = runs.finish("mnist_lenet", "pau", 1, 50.0)
    old.rename(home.with_name("seed0.before-20260101-000000-0"))
    hidden = runs.finish("mnist_lenet", "pau", 2, 50.0)
    hidden.parent.parent.rename(runs.root / ".sweeps")
    (runs.root / "other").mkdir()
    assert read(runs) == ({}, [])
    runs.finish("mnist_lenet", "pau", 0, 99.0)
    assert list(read(runs)[0]) == [("mnist_lenet", "pau", 0)]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"test_accuracy": "99"}, "test_accuracy is '99', not a number"),
        ({"test_accuracy": 101.0}, "not from 0 to 100 percent"),
        ({"test_accuracy": None}, "test_accuracy is None"),
        ({"status": "done"}, "status 'done' is neither finished nor diverged"),
        ({"seed": True}, "seed is True, not a whole number"),
        ({"epochs": 7}, "has 10 values for 7 epochs"),
        ({"train_loss_per_epoch": [float("nan")] * 10}, "not a finite number"),
        ({"train_loss_per_epoch": ["1"] * 10}, "not a finite number"),
        ({"test_accuracy_per_epoch": 5}, "test_accuracy_per_epoch is no list"),
        ({"train_loss_per_epoch": [10**400] * 10}, "too large"),
    ],
)
def test_a_record_with_an_impossible_value_is_named_and_the_rest_is_read(runs, change, complaint):
    runs.finish("mnist_lenet", "relu", 0)
    home = runs.finish("mnist_lenet", "pau", 0)
    record = json.loads((home / "record.json").read_text())
    write_record(home, record | change)
    found, problems = read(runs)
    assert list(found) == [("mnist_lenet", "relu", 0)]
    (problem,) = problems
    assert str(home) in problem
    assert complaint in problem


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"experiment": "x"}', "\x00\xff", "[" * 100_000]
)
def test_a_broken_file_is_named(runs, content):
    home = runs.finish("mnist_lenet", "pau", 0)
    (home / "record.json").write_text(content, encoding="latin-1")
    found, (problem,) = read(runs)
    assert found == {}
    assert str(home) in problem


def test_many_runs_are_read_by_several_processes_to_the_same_end(runs, monkeypatch):
    runs.sweep("mnist_lenet", ["pau", "relu"], seeds=3)
    runs.progress("mnist_lenet", "pau", 3, epochs=2)
    (runs.finish("mnist_lenet", "pau", 4) / "record.json").write_text("{")
    expected = read_runs(runs.root)
    monkeypatch.setattr(records, "MANY", 2)
    assert read_runs(runs.root) == expected


def test_a_missing_key_is_named(runs):
    home = runs.finish("mnist_lenet", "pau", 0)
    record = json.loads((home / "record.json").read_text())
    del record["config_hash"]
    write_record(home, record)
    assert "has no 'config_hash'" in read(runs)[1][0]


def test_the_same_run_from_two_machines_counts_once_and_is_named(runs):
    home = runs.finish("mnist_lenet", "pau", 0, 99.0)
    copy = runs.root / "other_machine" / "mnist_lenet" / "pau" / "seed0"
    copy.mkdir(parents=True)
    (copy / "record.json").write_bytes((home / "record.json").read_bytes())
    found, (problem,) = read(runs)
    assert len(found) == 1
    assert "is the same run as" in problem


def test_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(RunError, match="nowhere is not a directory"):
        read_runs(tmp_path / "nowhere")
