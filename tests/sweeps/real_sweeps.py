"""Real sweeps in a folder of their own, with activations that fail and kill their process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pade_bench.runs.records import read_runs

ACTIVATIONS = """
import os, signal, torch
calls = 0
class Fails(torch.nn.ReLU):
    def forward(self, x):
        global calls
        calls += self.training
        if calls > 150 and not os.environ.get("MENDED"):  # in the second epoch of 23 steps
            self.fail()
        return super().forward(x)
    def fail(self):
        raise ArithmeticError("as it was told to")
class Dies(Fails):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)
"""


class Place:
    """A folder from which the command line is used as a user would."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "mine.py").write_text(ACTIVATIONS)
        (folder / "config" / "activation").mkdir(parents=True)
        for name in ("Fails", "Dies"):
            path = folder / "config" / "activation" / f"{name.lower()}.yaml"
            path.write_text(f"_target_: mine.{name}\n")
        # Two cores are what a small machine has: the tests must not ask for more.
        self.environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}

    def start(self, *arguments, **environment):
        """Start the command line and return its process."""
        command = [sys.executable, "-m", "pade_bench", "--config-dir", "config", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env={**self.environment, **environment}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *arguments, **environment):
        """Return the exit status and the output of a command line."""
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=500)
        return process.returncode, output

    def run_and_kill_a_worker(self, *sweep, epoch):
        """Kill the launcher's process of a run after an epoch; return the run, and the output."""
        process = self.start(*sweep)
        self.wait_for(f"epoch {epoch}/", process)
        run = next(r for r in self.results().values() if r.epochs >= epoch)
        kill_parent(process_of(run.directory))
        output, _ = process.communicate(timeout=500)
        assert process.returncode == 0, output
        return run, output

    def results(self, runs_dir="runs"):
        """Return the runs by (activation, seed)."""
        runs, problems = read_runs(self.folder / runs_dir)
        assert problems == []
        return {(run.activation, run.seed): run for run in runs}

    def logs(self):
        """Return what all processes of all sweeps have printed, by job."""
        return {
            f"{path.parent.name}/{path.stem}": path.read_text()
            for path in self.folder.glob("runs/.sweeps/*/*.log")
        }

    def wait_for(self, text, process, seconds=120):
        """Wait until a job has printed a text; return its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None:
            for log in self.logs().values():
                if text in log:
                    return log
            time.sleep(0.1)
        process.kill()
        pytest.fail(f"{text!r} did not appear:\n{process.communicate()[0]}\n{self.logs()}")


def weights(run):
    return torch.load(run.directory / "last.ckpt", weights_only=True)["state_dict"]


def assert_same_result(a, b):
    """Compare two runs to the bit."""
    assert a.config_hash == b.config_hash
    assert a.loss_per_epoch == b.loss_per_epoch
    assert a.accuracy_per_epoch == b.accuracy_per_epoch
    for name, value in weights(a).items():
        assert torch.equal(value, weights(b)[name]), name


def process_of(run_directory):
    """Return the process that trains a run."""
    return int((run_directory / "lock").read_text().split()[1])


def kill_parent(pid):
    """Kill the process that started another one, without a chance to tidy up."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)


def children(pid):
    """Return the processes that a process has started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]
