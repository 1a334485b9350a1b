"""Real sweeps under every launcher: failures, kills, two at once, and the same bits as alone."""

import importlib.util
import os
import signal

import pytest
from real_sweeps import assert_same_result, process_of

pytestmark = pytest.mark.slow

CORES = len(os.sched_getaffinity(0))
SHORT = ("trainer.max_epochs=2", "trainer.accelerator=cpu")


def needs(*modules):
    """Skip a test where what it needs is not installed, and say so."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


ENGINES = [
    pytest.param("basic", None),
    pytest.param("joblib", "hydra.launcher.n_jobs=2", marks=needs("joblib", "hydra_plugins")),
    pytest.param("ray", "hydra.launcher.ray.init.num_cpus=2", marks=needs("ray")),
]


@pytest.mark.parametrize(("launcher", "setting"), ENGINES)
def test_one_failed_and_one_killed_job_take_nothing_with_them(launcher, setting, place):
    sweep = ["-m", "activation=fails,relu,dies,pau", f"hydra/launcher={launcher}", *SHORT]
    code, output = place.run(*sweep, *([setting] if setting else []))
    assert code == 1, output
    results = place.results()
    assert results["relu", 0].status == results["pau", 0].status == "finished"
    failed = results["fails", 0].directory / "traceback.txt"
    assert "ArithmeticError: as it was told to" in failed.read_text()
    killed = results["dies", 0].directory / "traceback.txt"
    assert "was killed by SIGKILL" in killed.read_text()
    assert "epoch 1/2" in killed.read_text()
    table = output[output.rindex("\nstate") :].splitlines()
    assert [line.split()[:2] for line in table[2:4]] == [
        ["failed", str(failed.parent.relative_to(place.folder / "runs"))],
        ["failed", str(killed.parent.relative_to(place.folder / "runs"))],
    ]
    assert "ArithmeticError" in table[2]
    assert "killed by SIGKILL" in table[3]
    assert "4 jobs: 2 finished, 2 failed" in output
    assert "2 of 4 runs have no result; the same command starts them again." in output
    at_once = 1 if launcher == "basic" else 2
    threads = results["relu", 0].provenance.threads
    assert threads * at_once <= max(CORES, at_once)

    # Mended, the same command runs these two alone, from the epoch that was complete.
    before = {key: (r.directory / "record.json").stat().st_mtime_ns
              for key, r in results.items() if r.status == "finished"}  # fmt: skip
    code, output = place.run(*sweep, *([setting] if setting else []), MENDED="1")
    assert code == 0, output
    assert "4 jobs: 4 finished" in output
    assert "95 % interval" in output[output.index("4 jobs: 4 finished") :]
    assert output.count("resuming after epoch 1 of 2") == 2
    results = place.results()
    for key, written in before.items():
        assert (results[key].directory / "record.json").stat().st_mtime_ns == written

    alone = ("runs_dir=alone", "activation=relu", *SHORT)
    code, output = place.run(*alone, OMP_NUM_THREADS=str(threads))
    assert code == 0, output
    assert_same_result(place.results("alone")["relu", 0], results["relu", 0])


def test_the_same_sweep_twice_at_once_does_each_run_once(place):
    sweep = ("-m", "activation=relu", "seed=1,2,3", *SHORT)
    both = [place.start(*sweep, OMP_NUM_THREADS="1") for _ in range(2)]
    outputs = [process.communicate(timeout=500)[0] for process in both]
    # 3: what the other one still trains when the first has nothing left to do.
    assert sorted(process.returncode for process in both) in ([0, 0], [0, 3]), outputs
    results = place.results()
    assert {seed: run.status for (_, seed), run in results.items()} == dict.fromkeys(
        (1, 2, 3), "finished"
    )
    trained = "\n".join(place.logs().values())
    assert trained.count("epoch 1/2") == 3
    assert trained.count("epoch 2/2") == 3


@needs("ray")
def test_a_job_of_ray_whose_worker_is_killed_resumes_on_another(place):
    sweep = ("-m", "activation=pau", "seed=1,2", "trainer.max_epochs=6", "trainer.accelerator=cpu")
    ray = ("hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2")
    run, output = place.run_and_kill_a_worker(*sweep, *ray, epoch=2)
    assert "2 jobs: 2 finished" in output
    assert "resuming after epoch" in output
    (log,) = [log for name, log in place.logs().items() if name.endswith(f"seed{run.seed}")]
    assert log.count("epoch 1/6") == 1
    code, output = place.run(
        "activation=pau", f"seed={run.seed}", *sweep[3:], "runs_dir=alone", OMP_NUM_THREADS="1"
    )
    assert code == 0, output
    alone = place.results("alone")["pau", run.seed]
    assert_same_result(alone, place.results()["pau", run.seed])


@needs("joblib", "hydra_plugins")
def test_jobs_go_on_when_a_worker_of_joblib_is_killed(place):
    sweep = ("-m", "activation=relu", "seed=1,2,3", "trainer.accelerator=cpu")
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    _, output = place.run_and_kill_a_worker(*sweep, "trainer.max_epochs=4", *joblib, epoch=1)
    assert "the launcher lost a job" in output
    assert "3 jobs: 3 finished" in output


def test_ctrl_c_ends_a_sweep_and_all_its_processes_and_the_rest_is_run_again(place):
    sweep = ("-m", "activation=relu", "seed=1,2", "trainer.max_epochs=6", "trainer.accelerator=cpu")
    process = place.start(*sweep)
    place.wait_for("epoch 1/6", process)
    trains = process_of(place.results()["relu", 1].directory)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command resumes" in output
    with pytest.raises(ProcessLookupError):
        os.kill(trains, 0)
    code, output = place.run(*sweep)
    assert code == 0, output
    assert "resuming after epoch" in output
