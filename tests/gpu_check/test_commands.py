"""Whole runs of the command line as the check makes them, on the CPU."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pade_bench.gpu_check import commands
from pade_bench.gpu_check.outcome import Outcome


@pytest.fixture
def command_line(monkeypatch):
    """Put a stand-in in the place of the command line; return the overrides that it was given."""
    given = []

    def run(command, **_):
        overrides = dict(part.split("=", 1) for part in command[3:])
        given.append(overrides)
        home = Path(overrides["runs_dir"]) / "mnist_vgg8" / overrides["activation"]
        home.mkdir(parents=True)
        learns = overrides["activation"] == "pau" or overrides.get("seed") == "1"
        record = {
            "wall_seconds_per_epoch": [9.0, 0.5, 0.7, 0.6],
            "test_accuracy": 90.0 if learns else 11.35,
            "provenance": {"device": "NVIDIA H200"},
        }
        (home / "record.json").write_text(json.dumps(record))
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(commands.subprocess, "run", run)
    return given


def test_an_epoch_is_the_median_of_those_after_the_first(command_line):
    found = Outcome()
    commands.epochs(found, ["data.root=somewhere"])
    assert [(row["experiment"], row["activation"]) for row in found.table] == [
        ("mnist_lenet", "relu"), ("mnist_lenet", "pau"),
        ("mnist_vgg8", "relu"), ("mnist_vgg8", "pau"),
    ]  # fmt: skip
    assert {row["s an epoch"] for row in found.table} == {0.6}
    assert [row["met"] for row in found.table] == [False, False, True, True]
    assert {overrides["data.root"] for overrides in command_line} == {"somewhere"}


def test_the_seeds_that_learn_are_counted_with_tf32_and_without(command_line):
    found = Outcome()
    commands.learning(found, ["data.root=somewhere"])
    assert [(r["activation"], r["TF32"], r["learn"], r["seeds"]) for r in found.table] == [
        ("relu", "convolutions", 1, 5), ("relu", "none", 1, 5),
        ("pau", "convolutions", 5, 5), ("pau", "none", 5, 5),
    ]  # fmt: skip
    assert len(command_line) == 20
    assert {overrides["seed"] for overrides in command_line} == set("01234")


def test_a_command_that_fails_is_an_error_with_its_last_line(tmp_path):
    with pytest.raises(RuntimeError, match=r"activation=pua .*Did you mean 'pau'"):
        commands.train("activation=pua", f"data.root={tmp_path}")


def test_a_run_of_the_command_line_gives_its_record():
    record, seconds = commands.train("trainer.max_epochs=1", "activation=relu")
    assert record["status"] == "finished"
    assert record["wall_seconds_per_epoch"][0] < seconds
