"""What ``-m`` and ``sweep=NAME`` expand to, and what is said of it before anything is trained."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from command_line import pade_bench
from omegaconf import OmegaConf

from pade_bench.errors import ConfigurationError
from pade_bench.sweeps import launchers

CONFIGS = Path(__file__).parents[2] / "configs"
SWEEPS = sorted(path.stem for path in (CONFIGS / "sweep").glob("*.yaml"))


def names(output):
    """Return the runs that a listing names, in its order."""
    lines = output.split("\n\n")[0].splitlines()[1:]
    return [line.split()[1] for line in lines]


def settings(sweep):
    """Return the params of a sweep as lists of names, and the cells that it leaves out."""
    sweeper = yaml.safe_load((CONFIGS / "sweep" / f"{sweep}.yaml").read_text())["sweeper"]
    params = {key: str(value).split(",") for key, value in sweeper["params"].items()}
    return params, sweeper.get("exclude", [])


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_composes_and_lists_its_jobs(sweep, tmp_path):
    params, exclude = settings(sweep)
    # One seed, for time: the others differ in it alone.
    seed = f"seed={params['seed'][-1]}"
    result = pade_bench("-m", f"sweep={sweep}", seed, "dry_run=true", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    jobs = len(params["experiment"]) * len(params["activation"]) - len(exclude)
    assert len(set(names(result.stdout))) == jobs
    assert f"\n{jobs} jobs: {jobs} missing" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_part_of_a_sweep_can_be_narrowed(tmp_path):
    narrowed = ("seed=1,2", "activation=relu,pau", "experiment=mnist_lenet")
    result = pade_bench("-m", "sweep=table2", *narrowed, "dry_run=true", cwd=tmp_path)
    assert names(result.stdout) == [
        "mnist_lenet/relu/seed1",
        "mnist_lenet/pau/seed1",
        "mnist_lenet/relu/seed2",
        "mnist_lenet/pau/seed2",
    ]


def test_a_sweep_needs_no_flag_and_other_settings_reach_every_job(tmp_path):
    more = ("activation=relu", "optim.weights.lr=0.1,0.2", "seed=3", "runs_dir=elsewhere")
    result = pade_bench("sweep=smoke", *more, "dry_run=true", cwd=tmp_path)
    found = names(result.stdout)
    assert len(set(found)) == 2
    assert all(n.startswith("digits_lenet/relu-") and n.endswith("/seed3") for n in found)


def test_cells_that_are_left_out_are_not_among_the_jobs(tmp_path):
    (tmp_path / "mine" / "sweep").mkdir(parents=True)
    (tmp_path / "mine" / "sweep" / "my.yaml").write_text(
        "# @package hydra\nmode: MULTIRUN\nsweeper:\n  params:\n    activation: relu,pau\n"
        "    seed: 0,1\n  exclude:\n    - {experiment: digits_lenet, activation: pau, seed: 1}\n"
    )
    my_sweep = ("--config-dir", "mine", "sweep=my", "dry_run=true")
    result = pade_bench(*my_sweep, cwd=tmp_path)
    assert names(result.stdout) == [
        "digits_lenet/relu/seed0", "digits_lenet/relu/seed1", "digits_lenet/pau/seed0",
    ]  # fmt: skip
    result = pade_bench(*my_sweep, "activation=pau", "seed=1", cwd=tmp_path)
    assert result.returncode == 2
    assert "the sweep has 1 job, and hydra.sweeper.exclude leaves out every one" in result.stderr
    result = pade_bench(*my_sweep, "hydra.sweeper.exclude=[]", cwd=tmp_path)
    assert len(names(result.stdout)) == 4


def test_the_same_run_twice_is_one_job(tmp_path):
    result = pade_bench("-m", "seed=1,1,2", "dry_run=true", cwd=tmp_path)
    assert names(result.stdout) == ["digits_lenet/pau/seed1", "digits_lenet/pau/seed2"]


def test_dry_run_is_for_a_single_run_too(tmp_path):
    result = pade_bench("experiment=mnist_lenet", "dry_run=true", cwd=tmp_path)
    assert names(result.stdout) == ["mnist_lenet/pau/seed0"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_would_refuse_the_sweep_refuses_first_and_a_plan_too(tmp_path):
    for sweep in (["data.batch_size=8,0"], ["data.batch_size=8,0", "dry_run=true"]):
        result = pade_bench("-m", "activation=relu", *sweep, cwd=tmp_path)
        assert result.returncode == 2
        assert result.stderr == "pade_bench: data.batch_size=0: must be at least 1.\n"
    pruned = ("experiment=prune_digits_lenet", "prune.shares=[10,95]", "dry_run=true")
    result = pade_bench("-m", *pruned, cwd=tmp_path)
    assert "95 % of the 6 filters of layer 0 would be all of them" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_that_restarts_moves_what_is_there_aside(tmp_path):
    sweep = ("-m", "activation=relu", "seed=0,1", "trainer.max_epochs=1")
    assert pade_bench(*sweep, cwd=tmp_path).returncode == 0
    result = pade_bench(*sweep, "restart=true", "seed=1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1 job: 1 finished" in result.stdout
    records = {p.parent.name.partition("-")[0] for p in tmp_path.glob("runs/*/*/*/record.json")}
    assert records == {"seed0", "seed1", "seed1.before"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sweep=tabel2"], "Did you mean 'table2'?"),
        (["-m", "sweep=table2,smoke"], "sweep=table2,smoke: a sweep has one value of it"),
        (["-m", "sweep=smoke", "seed=0,-1"], "seed=-1: must be a whole number"),
        (["-m", "sweep=smoke", "seed=0,one"], "seed=one: must be a whole number"),
        (["-m", "sweep=smoke", "optim.weights.lr=interval(0,1)"], "a sweep needs single values"),
        (["-m", "sweep=smoke", "activation=relu,pua"], "Did you mean 'pau'?"),
        (["-m", "sweep=smoke", "hydra/launcher=jobli"], "Did you mean 'joblib'?"),
        (["-m", "sweep=smoke", "trainer=ddp"], "python -m pade_bench seed=0 experiment=digits"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_mistake_in_a_sweep_is_explained_before_anything_is_written(
    arguments, complaint, tmp_path
):
    result = pade_bench(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["joblib", "ray", "submitit_slurm"])
def test_a_launcher_that_is_not_installed_says_what_to_install(name):
    config = OmegaConf.load(CONFIGS / "hydra" / "launcher" / f"{name}.yaml")
    target = config.launcher._target_.replace("_launcher.", "_gone.", 1)
    choices = {"hydra/launcher": name}
    hydra = {"launcher": {"_target_": target}, "runtime": {"choices": choices}}
    with pytest.raises(ConfigurationError) as error:
        launchers.require(OmegaConf.create({"hydra": hydra}))
    package = f"hydra-{name.partition('_')[0]}-gone"
    assert str(error.value) == (
        f"hydra/launcher={name} needs the package {package}: pip install 'pade_bench[sweeps]'."
    )


def cluster(monkeypatch, **resources):
    """Put in Ray's place a cluster of one machine."""
    node = {"Alive": True, "Resources": resources}
    ray = SimpleNamespace(
        is_initialized=lambda: True, nodes=lambda: [node], cluster_resources=lambda: resources
    )
    monkeypatch.setitem(sys.modules, "ray", ray)


def ray_config(**remote):
    launcher = OmegaConf.load(CONFIGS / "hydra" / "launcher" / "ray.yaml").launcher
    launcher.ray.remote.update(remote)
    return OmegaConf.create({"hydra": {"launcher": launcher}, "trainer": {"accelerator": "auto"}})


def test_what_ray_would_wait_for_for_ever_is_refused(monkeypatch):
    cluster(monkeypatch, CPU=2.0)
    launchers.prepare(ray_config(num_cpus=2))
    with pytest.raises(ConfigurationError, match="num_cpus=3, num_gpus=0 is more than any machine"):
        launchers.prepare(ray_config(num_cpus=3))
    with pytest.raises(ConfigurationError, match=r"num_gpus=0\.25 .*has: 2 cores, 0 GPUs"):
        launchers.prepare(ray_config(num_gpus=0.25))


def test_a_gpu_that_ray_would_hide_is_pointed_out(monkeypatch):
    cluster(monkeypatch, CPU=2.0, GPU=1.0)
    with pytest.raises(ConfigurationError, match=r"num_gpus=0: Ray would hide the GPU"):
        launchers.prepare(ray_config())
    launchers.prepare(ray_config(num_gpus=0.25))
    on_the_cpu = ray_config()
    on_the_cpu.trainer.accelerator = "cpu"
    launchers.prepare(on_the_cpu)
