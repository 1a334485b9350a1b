"""What a person sees of a training, on a terminal and without one."""

import io
import re
import shlex
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from pade_bench.runs.home import Run
from pade_bench.training import fit
from pade_bench.training.console import PrintEpochs, ShowProgress, next_command


def trainer(epoch=0, epochs=3, batches=10):
    return SimpleNamespace(current_epoch=epoch, max_epochs=epochs, num_training_batches=batches)


def module(seconds=(), top5=False, diverged=False):
    history = {name: [0.5 for _ in seconds] for name in ("train_loss", "test_accuracy")}
    history["test_accuracy"] = [98.125 for _ in seconds]
    if top5:
        history["test_top5_accuracy"] = [99.5 for _ in seconds]
    return SimpleNamespace(history={**history, "seconds": list(seconds)}, diverged=diverged)


def lines_of_a_run(progress, *, epochs=3, top5=False):
    """Go through the hooks as Lightning does, for three epochs of ten batches."""
    seconds = []
    for epoch in range(epochs):
        now = trainer(epoch, epochs)
        if epoch == 0:
            progress.on_train_start(now, module())
        progress.on_train_epoch_start(now, module(seconds, top5))
        for _ in range(10):
            progress.on_train_batch_end(now, module(seconds, top5))
        seconds.append(2.0)
        progress.on_train_epoch_end(now, module(seconds, top5))
    progress.teardown(now, module(seconds, top5), "fit")


def test_each_epoch_has_a_line_that_says_what_is_left(capsys):
    lines_of_a_run(PrintEpochs())
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/3  train loss 0.5000  test accuracy 98.12 %  2.0 s, 4 s left",
        "epoch 2/3  train loss 0.5000  test accuracy 98.12 %  2.0 s, 2 s left",
        "epoch 3/3  train loss 0.5000  test accuracy 98.12 %  2.0 s",
    ]


def test_a_long_epoch_gives_a_sign_of_life_with_the_time_left(capsys):
    progress = PrintEpochs(every=0.05)
    now = trainer(epoch=1)
    progress.on_train_start(now, module([10.0]))
    progress.on_train_epoch_start(now, module([10.0]))
    for _ in range(5):
        progress.on_train_batch_end(now, module([10.0]))
    deadline = time.monotonic() + 30
    said = ""
    while "batch 5" not in said and time.monotonic() < deadline:
        time.sleep(0.02)
        said += capsys.readouterr().out
    progress.on_exception(now, module([10.0]), KeyboardInterrupt())
    # Half of this epoch, and all of the next.
    assert "  epoch 2/3: batch 5 of 10, 15 s left\n" in said


def test_less_than_a_second_is_not_said_to_be_none(capsys):
    progress, now = PrintEpochs(), trainer(1, 3)
    progress.on_train_start(now, module([0.3]))
    progress.on_train_epoch_end(now, module([0.3, 0.3]))
    assert capsys.readouterr().out.splitlines()[-1].endswith("0.3 s, less than 1 s left")


@pytest.mark.parametrize("top5", [False, True])
def test_on_a_terminal_of_60_columns_each_epoch_leaves_one_line(top5):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60, color_system=None)
    lines_of_a_run(ShowProgress(console), epochs=100, top5=top5)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")
    lines = [line.rstrip() for line in shown.split("\n") if line.strip()]
    assert max(map(len, lines)) <= 60
    kept = [line for line in lines if "98.12" in line]
    assert [line.split()[1] for line in kept] == [f"{i}/100" for i in range(1, 101)]
    # The bar counts epochs from 1.
    bars = [line for line in lines if "98.12" not in line]
    assert bars[-1].startswith("epoch 100/100")
    assert not any(line.startswith("epoch 0/") or "None" in line for line in bars)


@pytest.mark.parametrize(
    ("activation", "command", "expected"),
    [
        ("pau", [], "activation=relu,swish,pau seed=0,1,2"),
        ("gelu", ["activation=gelu", "seed=7"], "activation=pau,gelu seed=0,1,2"),
        (
            "relu",
            ["--config-dir=/my files", "experiment=mnist_lenet", "data.root=/my data",
             "optim=sgd", "optim.weights.lr=0.1", "restart=true"],
            "activation=pau,relu seed=0,1,2 '--config-dir=/my files' 'data.root=/my data' "
            "optim=sgd optim.weights.lr=0.1",
        ),
        # The settings of an activation are no other's.
        (
            "pau",
            ["activation.degrees=[3,2]"],
            "activation=pau seed=0,1,2 'activation.degrees=[3,2]'",
        ),
    ],
)  # fmt: skip
def test_the_next_command_repeats_what_was_changed(activation, command, expected):
    names = {"experiment": "mnist_lenet", "activation": activation}
    found = next_command(names, command)
    assert found == f"python -m pade_bench -m experiment=mnist_lenet {expected}"


def test_the_command_that_is_suggested_can_be_run(tmp_path):
    root = tmp_path / "my data"
    command = [sys.executable, "-m", "pade_bench", f"data.root={root}", "data.batch_size=64",
               "trainer.max_epochs=1"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = done.stdout.splitlines()
    assert re.match(
        r"training lenet with pau \(61,.* parameters\) on digits, seed 0, for 1 epoch on ", found[0]
    )
    assert "after 1 epoch\n" in done.stdout
    (suggestion,) = [line for line in found if line.startswith("try next")]
    words = shlex.split(suggestion.removeprefix("try next"))
    assert words[:3] == ["python", "-m", "pade_bench"]
    again = [sys.executable, *words[1:], "dry_run=true"]
    plan = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "9 jobs: 1 finished, 8 missing" in plan.stdout
    assert "/1 " in plan.stdout  # of one epoch, as was asked for


def test_a_finished_run_says_what_to_try_next(make_runs, capsys):
    (run,) = make_runs("experiment=digits_lenet", "trainer.max_epochs=1", "activation=relu")
    fit(run)
    first = capsys.readouterr().out
    fit(run)
    again = capsys.readouterr().out
    for said in (first, again):
        assert "activation=pau,relu seed=0,1,2" in said
        assert "trainer.max_epochs=1" in said
    assert "training lenet" in first
    assert "training lenet" not in again


def test_what_was_typed_is_no_part_of_what_a_run_is(make_run):
    run = make_run("activation=relu")
    assert run.command[-1] == "activation=relu"
    assert run == Run(run.directory, run.names, run.config, run.changes)
