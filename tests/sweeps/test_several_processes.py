"""One run in several processes that torchrun starts, on one machine and as if on two."""

import os
import signal
import subprocess
import sys

import pytest
from one_node_slurm import free_ports
from real_sweeps import Place, assert_same_result, children, process_of, weights

from pade_bench.errors import ConfigurationError
from pade_bench.training.trainer import check_devices

RUN = (
    "trainer=ddp", "trainer.accelerator=cpu", "activation=pau", "trainer.max_epochs=4",
    "data.batch_size=32",
)  # fmt: skip
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def start(place: Place, *command):
    environment = {**place.environment, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=place.folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_torchrun_trains_one_run_that_resumes_to_the_same_bits(place):
    code, output = place.run(*RUN, "trainer.devices=2", "runs_dir=own", OMP_NUM_THREADS="1")
    assert code == 0, output
    torchrun = (*TORCHRUN, "--standalone", "--nproc_per_node=2", "-m", "pade_bench", *RUN)
    process = start(place, *torchrun, "trainer.devices=2")
    for line in process.stdout:
        if line.startswith("epoch 2/4"):
            break
    (run,) = place.results().values()
    trains = [process_of(run.directory), *children(process.pid), process.pid]
    for pid in dict.fromkeys(reversed(trains)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    output = finish(start(place, *torchrun, "trainer.devices=2"))
    assert "resuming after epoch" in output
    assert "epoch 1/4" not in output
    assert output.count("epoch 4/4") == 1
    (run,), (own,) = place.results().values(), place.results("own").values()
    assert_same_result(run, own)
    assert finish(start(place, *torchrun, "trainer.devices=2")).count("is finished:") == 1


@pytest.mark.slow
def test_two_machines_train_as_one_with_as_many_processes(place):
    code, output = place.run(*RUN, "trainer.devices=2", "runs_dir=one", OMP_NUM_THREADS="1")
    assert code == 0, output
    (port,) = free_ports(1)
    machines = [
        start(
            place, *TORCHRUN, "--nnodes=2", f"--node_rank={rank}", "--nproc_per_node=1",
            "--master_addr=127.0.0.1", f"--master_port={port}",
            "-m", "pade_bench", *RUN, "trainer.devices=1", "trainer.num_nodes=2", "runs_dir=two",
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [finish(machine) for machine in machines]
    assert [output.count("epoch 4/4") for output in outputs] == [1, 0]
    (one,), (two,) = place.results("one").values(), place.results("two").values()
    assert one.loss_per_epoch == two.loss_per_epoch
    for name, value in weights(one).items():
        assert value.equal(weights(two)[name]), name


@pytest.mark.parametrize(
    ("variables", "overrides", "complaint"),
    [
        ({}, ["trainer=ddp", "trainer.num_nodes=2"], "start the processes with torchrun or srun"),
        (
            {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4"},
            ["trainer=ddp", "trainer.devices=2"],
            r"torchrun has started 4 process.*trainer\.devices=2 .*num_nodes=1 are 2",
        ),
        (
            {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"},
            [],
            r"torchrun has started 2 process.* are 1 \(trainer\.strategy=single\)",
        ),
        (
            {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "mine"},
            ["trainer=ddp", "trainer.devices=4"],
            "srun has started 2 process.* are 4",
        ),
    ],
    ids=["nodes", "torchrun", "single", "srun"],
)
def test_another_number_of_processes_than_configured_is_refused(
    variables, overrides, complaint, make_run, monkeypatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = make_run(*overrides).config
    with pytest.raises(ConfigurationError, match=complaint):
        check_devices(config)
