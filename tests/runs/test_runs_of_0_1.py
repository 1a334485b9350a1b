"""Runs made by version 0.1 are skipped, resumed, loaded and reported by this one."""

import json
import tarfile
from pathlib import Path

import pytest
from command_line import pade_bench

from pade_bench import load_run
from pade_bench.evaluate import evaluate
from pade_bench.report.__main__ import main as report
from pade_bench.runs.records import read_runs

DATA = Path(__file__).parents[1] / "runs_of_0_1"
PLACES = json.loads((DATA / "homes.json").read_text())
ON = "trainer.accelerator=cpu"
FINISHED = ("activation=pau", "trainer.max_epochs=1", ON)
INTERRUPTED = (
    "activation=pau", "activation.form=sum_of_abs", "optim=sgd", "data.batch_size=16",
    "trainer.max_epochs=3", ON,
)  # fmt: skip
HOMES = {FINISHED: "pau-989e4b7a", INTERRUPTED: "pau-93c04ab4"}
# Of the second run, made by 0.1 without an interruption.
LOSSES = [2.2964390228420144, 2.0183977480140425, 0.7004986465516485]


@pytest.mark.parametrize("command", PLACES)
def test_a_run_has_the_home_and_the_hash_that_0_1_gave_it(command, make_run, tmp_path):
    today = command.replace("activation.denominator=", "activation.form=")
    run = make_run(*today.split())
    assert str(run.directory.relative_to(tmp_path)) == PLACES[command]["home"]
    assert run.config_hash == PLACES[command]["config_hash"]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the runs below ``runs``."""
    with tarfile.open(DATA / "runs.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def home(folder, command):
    return folder / "runs" / "digits_lenet" / HOMES[command] / "seed0"


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_finished_run_is_skipped_and_not_touched(folder):
    before = content(home(folder, FINISHED))
    result = pade_bench(*FINISHED, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert f"{home(Path(), FINISHED)} is finished:" in result.stdout
    assert "epoch 1/1" not in result.stdout
    assert content(home(folder, FINISHED)) == before


def test_an_interrupted_run_is_resumed_to_what_it_would_have_been(folder):
    result = pade_bench(*INTERRUPTED, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "resuming after epoch 1 of 3" in result.stdout
    record = json.loads((home(folder, INTERRUPTED) / "record.json").read_text())
    assert record["train_loss_per_epoch"][0] == LOSSES[0]
    # Other processors sum in another order.
    assert record["train_loss_per_epoch"] == pytest.approx(LOSSES, rel=1e-3)


def test_a_sweep_finds_both_in_their_homes(folder):
    for command, state in ((FINISHED, "finished"), (INTERRUPTED, "interrupted")):
        result = pade_bench("-m", *command, "dry_run=true", cwd=folder)
        assert result.returncode == 0, result.stderr
        (line,) = [line for line in result.stdout.splitlines() if "digits_lenet/" in line]
        assert line.split()[:2] == [state, f"digits_lenet/{HOMES[command]}/seed0"]


def test_both_are_loaded_and_the_finished_one_scored(folder):
    for command in HOMES:
        classifier = load_run(home(folder, command))
        assert len(classifier.history["test_accuracy"]) == 1
    now, recorded, images = evaluate(home(folder, FINISHED))
    assert now == pytest.approx(recorded, abs=100 / images)


def test_both_are_in_the_report(folder, tmp_path):
    results, problems = read_runs(folder / "runs")
    assert problems == []
    changes = {r.status: r.changes for r in results}
    assert changes["finished"] == {"trainer.max_epochs": 1}
    assert changes["unfinished"]["activation.form"] == "sum_of_abs"
    assert "activation.denominator" not in changes["unfinished"]
    out = tmp_path / "report"
    assert report(["--runs", str(folder / "runs"), "--out", str(out)]) == 0
    assert "74.72" in (out / "index.html").read_text()
