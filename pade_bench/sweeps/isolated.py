"""A job in a process of its own: started, watched, and its end written down.

Hydra's launchers isolate jobs differently: the basic one not at all, joblib's worker processes
are used again, a worker that dies takes joblib's or Ray's bookkeeping with it. So whatever process
a launcher provides only starts ``python -m pade_bench`` with the job's overrides and waits.
What a job printed and how it ended lies in its log, which also the next process can read.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pade_bench.errors import RunHeldError
from pade_bench.runs import locks
from pade_bench.runs.files import write_atomically
from pade_bench.runs.record import Record
from pade_bench.sweeps.jobs import Job

LIFELINE = "PADE_BENCH_LIFELINE"
ENDED = "# ended: "
_MESSAGE = "pade_bench: "
_BY_SIGNAL = "by SIGINT or SIGTERM"
_STOP = "stopped"
# A job that is started again while its process before is still being killed waits so long for it.
_PATIENCE = 10.0  # seconds
_STARTS = 3
_INTERRUPTED = (
    -signal.SIGINT, 128 + signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM,
)  # fmt: skip


class Isolated:
    """The task that a launcher calls for each job.

    Args:
        jobs: the jobs, in the order in which the launcher numbers them.
        options: what the command line needs besides the job's overrides.
        logs: the sweep's directory; each job's log goes there.
        fail_fast: when a job has failed, interrupt those that run and start no other.
    """

    def __init__(
        self, jobs: Sequence[Job], options: Sequence[str], logs: Path, fail_fast: bool
    ) -> None:
        self.jobs = list(jobs)
        self.options = list(options)
        self.cwd = Path.cwd()
        self.logs = self.cwd / logs
        self.fail_fast = fail_fast

    def __call__(self, _: DictConfig) -> None:
        job = self.jobs[HydraConfig.get().job.num]
        if stopped(self.logs):
            return
        end = time.monotonic() + _PATIENCE
        while locks.is_held(job.home(self.cwd) / "lock") and time.monotonic() < end:
            time.sleep(0.5)
        with open(log_path(self.logs, job), "a+", encoding="utf-8", errors="replace") as log:
            try:
                for _start in range(_STARTS):
                    code = self._train(job, log)
                    # SLURM warns the whole job before it takes its node away, and kills it later.
                    # A task that returned meanwhile would count as done, and not run elsewhere.
                    slurm = "SLURM_JOB_ID" in os.environ and not stopped(self.logs)
                    if not (slurm and code in _INTERRUPTED):
                        break
            except KeyboardInterrupt:
                log.write(f"{ENDED}interrupted: {_BY_SIGNAL}\n")
                raise
            log.seek(0)
            state, reason = self._explain(job, code, log.read().splitlines())
            log.write(f"{ENDED}{state}: {reason}\n")
        if state == "failed" and self.fail_fast:
            (self.logs / _STOP).touch()

    def _train(self, job: Job, log: IO[str]) -> int:
        """Run the job's process to its end, its output in ``log``; return its exit status."""
        # faulthandler: a crash of native code is not without a traceback.
        command = [sys.executable, "-X", "faulthandler", "-m", "pade_bench"]
        command += [*self.options, *job.overrides]
        lifeline, held = os.pipe()
        environment = {**os.environ, LIFELINE: str(lifeline)}
        # Lightning would take the tasks of a SLURM job for the processes of one training.
        environment.pop("SLURM_NTASKS", None)
        log.write(f"# {_now()} on {socket.gethostname()}: {shlex.join(command)}\n")
        log.flush()
        try:
            process = subprocess.Popen(
                command, cwd=self.cwd, env=environment, pass_fds=[lifeline],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            os.close(lifeline)
            while True:
                try:
                    return process.wait(1.0)
                except subprocess.TimeoutExpired:
                    if stopped(self.logs):
                        process.send_signal(signal.SIGINT)
                except KeyboardInterrupt:
                    process.send_signal(signal.SIGINT)
                    process.wait()
                    raise
        finally:
            os.close(held)

    def _explain(self, job: Job, code: int, output: list[str]) -> tuple[str, str]:
        """Return the state in which a job's process left it, and what is known of the reason."""
        last = next((line for line in reversed(output) if line.strip()), "")
        last = next((line for line in reversed(output) if line.startswith(_MESSAGE)), last)
        last = textwrap.shorten(last.removeprefix(_MESSAGE), 120, placeholder=" …")
        if code == 0:
            records = [self.cwd / home / "record.json" for home in job.homes]
            try:
                # A pruning experiment ends with the first run that diverges.
                record = Record.read([path for path in records if path.exists()][-1])
            except (IndexError, OSError, ValueError):
                return "failed", "it ended without a record"
            accuracy = record.test_accuracy
            if accuracy is None:
                return record.status, ""
            pruned = record.pruning.pruned_share if record.pruning else 0
            of = f" with {pruned:g} % of the filters pruned" if pruned else ""
            return record.status, f"{accuracy:.2f} %{of}"
        if code == RunHeldError.exit_code:
            return "running", last
        if code in _INTERRUPTED:
            return "interrupted", _BY_SIGNAL
        if code > 0:
            return "failed", last
        reason = f"killed by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            reason += ", as the kernel does when memory is short"
        self._leave_traceback(job, reason, output[-30:])
        return "failed", reason

    def _leave_traceback(self, job: Job, reason: str, output: list[str]) -> None:
        """Write what is known of a process that could not write it itself."""
        home = job.home(self.cwd)
        if not home.exists() or locks.is_held(home / "lock"):
            return
        what = f"{_now()}: the process that trained this run on {socket.gethostname()}"
        text = "\n".join([f"{what} was {reason}. The last lines that it wrote:", "", *output, ""])
        with contextlib.suppress(OSError):
            write_atomically(home / "traceback.txt", text.encode())


def stopped(logs: Path) -> bool:
    """Tell whether a failed job has stopped the sweep."""
    return (logs / _STOP).exists()


def log_path(logs: Path, job: Job) -> Path:
    """Return where a job's output goes."""
    return logs / job.log_name


def ending(logs: Path, job: Job) -> tuple[str, str]:
    """Return the state in which a job's last process left it, and the reason."""
    try:
        log = log_path(logs, job).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "missing", "not started"
    last = log.rstrip().rpartition("\n")[2]
    if not last.startswith(ENDED):
        return "interrupted", "its launcher's process ended"
    state, _, reason = last.removeprefix(ENDED).partition(": ")
    return state, reason


def end_with_parent() -> None:
    """End this process when the one that started it for a job ends, however that ends.

    Otherwise a run would go on unseen, and hold its lock, after a worker of Ray's was killed.
    """
    if lifeline := os.environ.pop(LIFELINE, None):
        threading.Thread(target=_wait_for_end, args=(int(lifeline),), daemon=True).start()


def _wait_for_end(lifeline: int) -> None:
    os.read(lifeline, 1)  # nothing is ever written: it returns when the other end is closed
    os.kill(os.getpid(), signal.SIGKILL)


def _now() -> str:
    return f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
