"""Whatever lies below the runs directory is read or named."""

import json
import os
from pathlib import Path

import pytest
from synthetic_runs import write_record

from pade_bench.errors import RunError
from pade_bench.runs import records
from pade_bench.runs.records import read_runs


@pytest.fixture(autouse=True)
def nothing_is_known_yet(monkeypatch):
    monkeypatch.setattr(records, "_known_settings", {})


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
        ({"epochs": 7}, "is of length 10, epochs 7"),
        ({"train_loss_per_epoch": [float("nan")] * 10}, "not a finite number"),
        ({"train_loss_per_epoch": ["1"] * 10}, "not a finite number"),
        ({"test_accuracy_per_epoch": 5}, "test_accuracy_per_epoch is no list"),
        ({"train_loss_per_epoch": [10**400] * 10}, "too large"),
        ({"train_loss_per_epoch": []}, "is of length 0, epochs 10"),
        ({"train_loss_per_epoch": [[1.0]] * 10}, "not a finite number"),
        ({"test_accuracy_per_epoch": [-1.0] * 10}, "not from 0 to 100 percent"),
        ({"test_accuracy": 1.0}, "is not that of the last epoch"),
        ({"wall_seconds_per_epoch": [1.0]}, "is of length 1, epochs 10"),
        ({"epochs": 300_000}, "epochs is 300000, not from 0 to 100,000"),
        ({"epochs": -1}, "epochs is -1, not from 0"),
        ({"parameters": 10**400}, "parameters is a huge number"),
        ({"parameters": float("inf")}, "parameters is inf, not a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"activation": ""}, "activation has 0 characters"),
        ({"activation": "x" * 5000}, "activation has 5,000 characters"),
        ({"activation": "\ud800"}, "which cannot be printed"),
        ({"activation": "a\0b"}, "which cannot be printed"),
        ({"experiment": "\x1b[2J"}, "which cannot be printed"),
        ({"model": "\u202eevil"}, "which cannot be printed"),
        ({"changes": {"a\n": 1}}, "which cannot be printed"),
        ({"changes": {"a": ["\ud800"]}}, "which cannot be printed"),
        ({"changes": {"a": float("nan")}}, "not a finite number"),
        ({"changes": [1]}, "changes is [1], not a dictionary"),
        ({"settings": {"a": "x" * 5000}}, "has 5,000 characters"),
        ({"provenance": {"device": 5}}, "provenance: device is 5, not text"),
        ({"provenance": "here"}, "provenance is 'here', not a dictionary"),
        ({"pruned_share": 10}, "has no 'unpruned'"),
        ({"corrupt_images": 3}, "corrupt_images is no dictionary"),
    ],
    ids=ascii,
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
    assert problem.isprintable()
    assert len(problem) < 500


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"experiment": "x"}',
        "\x00\xff",
        "[" * 100_000,
        '{"a":' * 900 + "1" + "}" * 900,
        '{"seed": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: ascii(text)[:20],
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


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("name", ["record.json", "progress.json", "config.yaml"])
def test_what_is_no_regular_file_is_named_and_not_waited_for(runs, make, name):
    runs.finish("mnist_lenet", "relu", 0)
    home = runs.progress("mnist_lenet", "pau", 0, epochs=2)
    if name == "config.yaml":
        (home / "progress.json").unlink()
    (home / name).unlink(missing_ok=True)
    make(home / name)
    found, (problem,) = read(runs)
    assert ("mnist_lenet", "relu", 0) in found
    assert f"{name} is a" in problem


def test_a_file_of_impossible_length_is_named_and_not_read(runs):
    home = runs.finish("mnist_lenet", "pau", 0)
    with open(home / "record.json", "r+b") as file:
        file.truncate(10**12)
    assert "record.json has 1,000,000,000,000 bytes, more than" in read(runs)[1][0]


def test_a_path_that_cannot_be_printed_is_named(runs):
    home = runs.finish("mnist_lenet", "pau", 0)
    os.rename(home.parent, os.fsencode(home.parent.parent) + b"/\xff\x1b[2J")
    found, (problem,) = read(runs)
    assert found == {}
    assert problem.isprintable()
    assert "its path cannot be printed" in problem


def test_a_folder_that_cannot_be_entered_is_named(runs, monkeypatch):
    runs.finish("mnist_lenet", "relu", 0)
    closed = runs.finish("digits_lenet", "pau", 0).parent
    scandir = os.scandir

    def refuse(path):
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, (problem,) = read(runs)
    assert list(found) == [("mnist_lenet", "relu", 0)]
    assert problem == f"{closed}: cannot be read: Permission denied"


def test_what_nobody_thought_of_is_named_too(runs, monkeypatch):
    runs.finish("mnist_lenet", "relu", 0)
    monkeypatch.setattr(records, "_read", lambda *_: {}[[]])
    assert "TypeError" in read(runs)[1][0]


def test_a_record_without_a_checksum_is_read_and_called_unverified(runs):
    runs.finish("mnist_lenet", "relu", 0)
    home = runs.finish("mnist_lenet", "pau", 0)
    record = json.loads((home / "record.json").read_text())
    del record["checksum"]
    (home / "record.json").write_text(json.dumps(record))
    found, problems = read(runs)
    assert problems == []
    assert {key[1]: result.is_unverified for key, result in found.items()} == {
        "relu": False, "pau": True,
    }  # fmt: skip


def without_settings(home):
    """Rewrite a record as 0.1 wrote it."""
    record = json.loads((home / "record.json").read_text())
    del record["settings"]
    write_record(home, record)


def test_the_settings_of_old_records_come_from_their_configurations(runs):
    for seed in range(2):
        home = runs.finish("mnist_lenet", "pau", seed, changes={"optim.weights.lr": 0.1})
        without_settings(home)
    (home / "config.yaml").unlink()  # of one seed the other knows
    found, problems = read(runs)
    assert problems == []
    assert {result.settings["optim.weights.lr"] for result in found.values()} == {0.1}


@pytest.mark.parametrize("damage", ["a: [", "a: ${b}", "optim: {weights: {lr: 0.5}}"])
def test_a_configuration_that_is_not_that_of_the_record_is_named_and_the_result_stays(runs, damage):
    home = runs.finish("mnist_lenet", "pau", 0, 99.0)
    without_settings(home)
    (home / "config.yaml").write_text(damage)
    found, (problem,) = read(runs)
    assert found["mnist_lenet", "pau", 0].settings is None
    assert found["mnist_lenet", "pau", 0].accuracy == 99.0
    assert f"{home}: its settings are not compared: " in problem


def test_forged_settings_are_not_those_of_other_seeds(runs):
    runs.finish("mnist_lenet", "pau", 0)
    home = runs.finish("mnist_lenet", "pau", 1)
    record = json.loads((home / "record.json").read_text())
    write_record(home, record | {"settings": {"optim.weights.lr": 0.5}})
    found, (problem,) = read(runs)
    assert found["mnist_lenet", "pau", 0].settings["optim.weights.lr"] == 0.002
    assert found["mnist_lenet", "pau", 1].settings is None
    assert "their hash is another" in problem
