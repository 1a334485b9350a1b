"""A sweep on a real SLURM of one node: a job is preempted, queued again, and resumes."""

import importlib.util
import os
import subprocess
import sys
import time

import pytest
from one_node_slurm import missing, one_node_slurm, run
from real_sweeps import assert_same_result

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
    pytest.mark.skipif(
        importlib.util.find_spec("submitit") is None, reason="submitit is not installed"
    ),
]

SLURM = (
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.partition=main",
    "hydra.launcher.cpus_per_task=1",
)
LONG = ("activation=pau", "trainer.max_epochs=8", "trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def slurm():
    with one_node_slurm() as environment:
        yield environment


@pytest.mark.parametrize("how", ["requeue", "signal"])
def test_a_preempted_job_is_queued_again_and_resumes(how, place, slurm):
    process = place.start("-m", "seed=1,2", *LONG, *SLURM, **slurm)
    place.wait_for("epoch 2/8", process)
    job = f"{next(place.folder.glob('runs/.sweeps/*/.submitit/*_0')).name}"
    if how == "requeue":
        # What SLURM does when a job of higher priority needs the node: SIGTERM, SIGKILL, queue.
        run(slurm, "scontrol", "requeue", job)
    else:
        # What it sends before the time of a job is over: submitit has the job queued again.
        run(slurm, "scancel", "--signal=USR2", job)
    start_again_soon(job, slurm)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    assert "2 jobs: 2 finished" in output
    assert "Restarts=1" in run(slurm, "scontrol", "show", "job", job)
    log = place.logs()[next(name for name in place.logs() if name.endswith("seed1"))]
    assert "resuming after epoch" in log
    assert log.count("epoch 1/8") == 1
    results = place.results()
    assert results["pau", 1].provenance.threads == 1

    code, output = place.run("seed=1", *LONG, "runs_dir=alone", OMP_NUM_THREADS="1")
    assert code == 0, output
    assert_same_result(place.results("alone")["pau", 1], results["pau", 1])


def start_again_soon(job, slurm):
    """SLURM lets a job that it queued again wait for two minutes, which a test need not.

    A second it must: a job that starts within the one in which it was killed counts as killed.
    """
    end = time.monotonic() + 60
    while "PENDING" not in run(slurm, "squeue", "-h", "-j", job, "-o", "%T"):
        assert time.monotonic() < end, run(slurm, "squeue")
        time.sleep(0.2)
    run(slurm, "scontrol", "update", f"JobId={job}", "StartTime=now+3")


def test_a_job_that_is_canceled_is_reported_and_the_others_go_on(place, slurm):
    process = place.start("-m", "seed=1,2", *LONG, *SLURM, **slurm)
    place.wait_for("epoch 1/8", process)
    job = f"{next(place.folder.glob('runs/.sweeps/*/.submitit/*_0')).name}"
    run(slurm, "scancel", job)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 1, output
    assert "the launcher lost a job" in output
    assert "2 jobs: 1 finished, 1 interrupted" in output
    assert place.results()["pau", 2].status == "finished"


def test_without_slurm_the_launcher_says_so(place):
    process = place.start("-m", "seed=1", *LONG, *SLURM, PATH="/nowhere")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "the launcher could not start a job" in output
    assert "slurm" in output


def test_srun_starts_the_processes_of_one_run(place, slurm):
    run = (
        "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "activation=relu",
        "trainer.max_epochs=2",
    )  # fmt: skip
    code, output = place.run(*run, "runs_dir=own", OMP_NUM_THREADS="1")
    assert code == 0, output
    environment = {**os.environ, **slurm, "OMP_NUM_THREADS": "1"}
    srun = ["srun", "--ntasks-per-node=2", "--job-name=ours", "--kill-on-bad-exit=1"]
    result = subprocess.run(
        [*srun, sys.executable, "-m", "pade_bench", *run], cwd=place.folder, env=environment,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("epoch 2/2") == 1
    (ours,), (own,) = place.results().values(), place.results("own").values()
    assert_same_result(ours, own)
