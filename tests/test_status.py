"""The status of a sweep, from what its run directories hold."""

import fcntl
import json
import os
import time

import pytest

from pade_bench.report.grouping import group_runs
from pade_bench.runs.records import read_runs
from pade_bench.runs.state import duration
from pade_bench.status import cell_statuses, main, summary, table


def cells(runs, now=None):
    results, problems = read_runs(runs.root)
    assert problems == []
    return {c.group.label: c for c in cell_statuses(group_runs(results), now or time.time())}


def states(cell):
    return {state: n for state, n in cell.counts.items() if n}


@pytest.fixture
def hold():
    """Return a function that holds a run's lock, as its process would, to the test's end."""
    files = []

    def hold(home):
        files.append(open(home / "lock", "a+"))  # noqa: SIM115
        fcntl.flock(files[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)

    yield hold
    for file in files:
        file.close()


def test_every_state_is_told_apart(runs, hold):
    runs.finish("mnist_lenet", "relu", 0)
    runs.finish("mnist_lenet", "relu", 1, status="diverged")
    hold(runs.progress("mnist_lenet", "relu", 2, epochs=4))
    failed = runs.progress("mnist_lenet", "relu", 3, epochs=4)
    (failed / "traceback.txt").write_text("Traceback")
    runs.progress("mnist_lenet", "relu", 4, epochs=4)
    runs.finish("mnist_lenet", "pau", 5)
    cell = cells(runs)["ReLU"]
    assert states(cell) == {
        "finished": 1, "diverged": 1, "running": 1, "failed": 1, "interrupted": 1, "missing": 1,
    }  # fmt: skip
    assert any("epoch 4 of 10" in d for d in cell.details)
    assert any(str(failed / "traceback.txt") in d for d in cell.details)


def test_what_remains_is_counted_by_measured_epochs(runs):
    runs.finish("mnist_lenet", "relu", 0)  # ten epochs of two seconds
    runs.progress("mnist_lenet", "relu", 1, epochs=4)  # six to go
    runs.finish("mnist_lenet", "pau", 2)  # a seed that relu lacks: ten to go
    assert cells(runs)["ReLU"].remaining_seconds == 6 * 2.0 + 10 * 2.0
    assert cells(runs)["PAU"].remaining_seconds == 2 * 10 * 2.0
    assert summary(list(cells(runs).values())).startswith("4 runs to do: 1 min")


def test_a_running_run_says_when_it_will_be_done(runs, hold):
    home = runs.progress("mnist_lenet", "relu", 0, epochs=4)
    hold(home)
    now = time.time()
    os.utime(home / "progress.json", (now - 5, now - 5))
    cell = cells(runs, now)["ReLU"]
    assert cell.remaining_seconds == pytest.approx(6 * 2.0 - 5, abs=0.01)
    assert "done in 7 s at" in cell.details[0]


def test_without_a_measured_epoch_nothing_is_guessed(runs):
    runs.start("mnist_lenet", "relu", 0)
    cell = cells(runs)["ReLU"]
    assert (cell.remaining_seconds, cell.unknown) == (0.0, 1)
    assert "for 1 there is no measured epoch yet" in summary([cell])
    assert table([cell]).rows[0][-1].text == "?"


def test_asking_leaves_the_lock_free(runs):
    home = runs.progress("mnist_lenet", "relu", 0, epochs=4)
    cells(runs)
    with open(home / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_settings_and_shares_are_cells_of_their_own(runs):
    runs.finish("mnist_lenet", "relu", 0)
    runs.finish("mnist_lenet", "relu", 0, changes={"trainer.max_epochs": 5})
    runs.finish("prune_mnist_lenet", "relu", 0, changes={"prune.shares": [10]}, pruned_share=10)
    results, _ = read_runs(runs.root)
    found = cell_statuses(group_runs(results), 0.0)
    names = [tuple(cell.text for cell in row[:2]) for row in table(found).rows]
    assert ("mnist_lenet (trainer.max_epochs=5)", "ReLU") in names
    assert ("prune_mnist_lenet", "ReLU, 10 % pruned") in names
    assert summary(found) == "nothing left to do"


def test_exit_codes(runs, tmp_path, capsys):
    assert main(["--runs", str(tmp_path / "nowhere")]) == 2
    assert "is not a directory" in capsys.readouterr().err
    assert main(["--runs", str(runs.root)]) == 0
    assert "no runs in" in capsys.readouterr().out
    home = runs.finish("mnist_lenet", "relu", 0)
    assert main(["--runs", str(runs.root)]) == 0
    (home / "record.json").write_text(json.dumps({}))
    assert main(["--runs", str(runs.root)]) == 1
    assert str(home) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "less than 1 s"), (0.4, "less than 1 s"), (0.6, "1 s"), (3, "3 s"), (59.4, "59 s"),
     (59.6, "1 min"), (90, "2 min"), (3560, "59 min"), (3590, "1.0 h"), (5400, "1.5 h"),
     (360_000, "100.0 h")],
)  # fmt: skip
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text
