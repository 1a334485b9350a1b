"""A job's process, however it ends, is written down and takes nothing else with it.

The process is a stand-in for ``python -m pade_bench`` that does what its overrides say; real
training under every launcher is in test_engines.py.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from synthetic_runs import make_record

from pade_bench.runs import locks
from pade_bench.sweeps import isolated
from pade_bench.sweeps.isolated import Isolated, ending, log_path
from pade_bench.sweeps.jobs import Job, survey
from pade_bench.sweeps.outcome import outcome

PROCESS = """
import ctypes, json, os, pathlib, signal, sys, time
home = pathlib.Path(sys.argv[1])
attempts = home.parent / f"{home.name}.attempts"
attempts.write_text(attempts.read_text() + "x" if attempts.exists() else "x")
def finish():
    home.mkdir(parents=True, exist_ok=True)
    (home / "record.json").write_text(os.environ["RECORD"])
print("epoch 1/2  train loss 0.5", flush=True)
exec(sys.argv[2])
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Return a function that runs jobs one after another, each described by Python code."""
    (tmp_path / "pade_bench").mkdir()
    (tmp_path / "pade_bench" / "__main__.py").write_text(PROCESS)
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / "logs"
    logs.mkdir()
    monkeypatch.setattr(isolated, "_PATIENCE", 0.1)
    monkeypatch.setenv("RECORD", make_record("digits_lenet", "pau", 0, 98.765).to_json())

    def sweep(*codes, fail_fast=False):
        jobs = []
        for i, code in enumerate(codes):
            home = Path("runs") / "digits_lenet" / "pau" / f"seed{i}"
            home.parent.mkdir(parents=True, exist_ok=True)
            job = Job((str(home), code), Path("runs"), (home,), "digits_lenet", "pau", ("",), 2)
            jobs.append(job)
        task = Isolated(jobs, [], Path("logs"), fail_fast)
        for i in range(len(jobs)):
            job_number = SimpleNamespace(job=SimpleNamespace(num=i))
            monkeypatch.setattr(HydraConfig, "get", lambda value=job_number: value)
            task(None)
        return jobs, logs

    return sweep


def attempts(job):
    path = job.homes[0].parent / f"{job.homes[0].name}.attempts"
    return len(path.read_text()) if path.exists() else 0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("finish()", ("finished", "98.77 %")),
        ("raise ValueError('wrong')", ("failed", "ValueError: wrong")),
        ("print('pade_bench: no data\\nCopy it.'); sys.exit(2)", ("failed", "no data")),
        ("print('pade_bench: is being trained'); sys.exit(3)", ("running", "is being trained")),
        ("sys.exit(0)", ("failed", "it ended without a record")),
        ("sys.exit(130)", ("interrupted", "by SIGINT or SIGTERM")),
        ("os.kill(os.getpid(), signal.SIGTERM)", ("interrupted", "by SIGINT or SIGTERM")),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            ("failed", "killed by SIGKILL, as the kernel does when memory is short"),
        ),
        ("ctypes.string_at(0)", ("failed", "killed by SIGSEGV")),
    ],
    ids=["ends", "raises", "refuses", "held", "exits", "ctrl-c", "sigterm", "sigkill", "sigsegv"],
)
def test_how_a_process_ended_is_in_its_log_and_the_next_job_goes_on(code, expected, sweep):
    (job, after), logs = sweep(code, "finish()")
    assert ending(logs, job) == expected
    assert ending(logs, after) == ("finished", "98.77 %")
    assert "epoch 1/2" in log_path(logs, job).read_text()


def test_a_killed_process_leaves_what_is_known_of_it_in_its_home(sweep):
    (killed, crashed), _ = sweep(
        "home.mkdir(); os.kill(os.getpid(), signal.SIGKILL)", "home.mkdir(); ctypes.string_at(0)"
    )
    text = (killed.homes[0] / "traceback.txt").read_text()
    assert "was killed by SIGKILL" in text
    assert "epoch 1/2  train loss 0.5" in text
    text = (crashed.homes[0] / "traceback.txt").read_text()
    assert "Fatal Python error: Segmentation fault" in text
    assert 'File "<string>", line 1' in text


def test_the_traceback_that_a_process_wrote_itself_stays(sweep):
    (job,), _ = sweep("home.mkdir(); (home / 'traceback.txt').write_text('its own'); sys.exit(1)")
    assert (job.homes[0] / "traceback.txt").read_text() == "its own"


def test_the_table_shows_a_job_that_failed_before_it_had_a_home(sweep):
    (job,), logs = sweep("print('pade_bench: no data'); sys.exit(2)")
    (state,) = survey([job])
    assert state.state == "missing"
    state = outcome(state, logs)
    assert (state.state, state.note) == ("failed", f"no data ({log_path(logs, job)})")


def test_a_run_that_another_process_holds_is_not_trained_twice(sweep):
    home = Path("runs/digits_lenet/pau/seed0")
    home.mkdir(parents=True)
    with locks.hold(home / "lock"):
        (job,), logs = sweep("print('pade_bench: is being trained'); sys.exit(3)")
        assert outcome(survey([job])[0], logs).state == "running"


def test_fail_fast_starts_nothing_more(sweep):
    jobs, logs = sweep("finish()", "sys.exit(1)", "finish()", fail_fast=True)
    assert [attempts(job) for job in jobs] == [1, 1, 0]
    assert outcome(survey(jobs)[2], logs).note == "not started"


def test_without_it_a_failure_stops_nothing(sweep):
    jobs, _ = sweep("sys.exit(1)", "finish()")
    assert [attempts(job) for job in jobs] == [1, 1]


def test_fail_fast_interrupts_what_runs(sweep):
    stop = "(pathlib.Path('logs') / 'stopped').touch()"
    (job,), logs = sweep(f"{stop}; time.sleep(60)", fail_fast=True)
    assert ending(logs, job) == ("interrupted", "by SIGINT or SIGTERM")


@pytest.mark.parametrize(
    ("variable", "expected"), [("SLURM_JOB_ID", (2, "finished")), ("OTHER", (1, "interrupted"))]
)
def test_a_process_that_slurm_warned_is_started_again(variable, expected, sweep, monkeypatch):
    monkeypatch.setenv(variable, "1")
    (job,), logs = sweep("attempts.read_text() == 'x' and sys.exit(143); finish()")
    assert (attempts(job), ending(logs, job)[0]) == expected


def test_the_process_ends_with_the_one_that_watches_it(tmp_path):
    """As when a worker of Ray's is killed: its job must not go on unseen, and hold the run."""
    watched = (
        "import os, time, pathlib\nfrom pade_bench.sweeps.isolated import end_with_parent\n"
        "end_with_parent()\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)"
    )
    watching = (
        "import os, subprocess, sys, time\nfrom pade_bench.sweeps.isolated import LIFELINE\n"
        "read, write = os.pipe()\n"
        "subprocess.Popen([sys.executable, '-c', sys.argv[1]], pass_fds=[read],\n"
        "    env={**os.environ, LIFELINE: str(read)})\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", watching, watched], cwd=tmp_path)
    pid = tmp_path / "pid"
    wait_until(lambda: pid.exists() and pid.read_text())
    os.kill(int(pid.read_text()), 0)  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not alive(int(pid.read_text())))


def alive(pid):
    """Tell whether a process is neither gone nor waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
