"""What the sweeper has to know of Hydra's launchers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from pade_bench.errors import ConfigurationError


def register() -> None:
    """Make this package's configurations of launchers and sweepers the ones that Hydra knows."""
    Plugins.instance()  # imports their packages, which store configurations of their own
    # Those of the same name would be merged with ours.
    theirs = ConfigStore.instance().repo["hydra"]
    for name in ("joblib", "ray", "submitit_slurm"):
        theirs["launcher"].pop(f"{name}.yaml", None)
    theirs["sweeper"].pop("optuna.yaml", None)


def require(config: DictConfig) -> None:
    """Raise :class:`ConfigurationError` if the launcher's package is not installed."""
    target = config.hydra.launcher._target_
    if target not in Plugins.instance().class_name_to_class:
        name = config.hydra.runtime.choices["hydra/launcher"]
        package = target.split(".")[1].replace("_", "-")
        raise ConfigurationError(
            f"hydra/launcher={name} needs the package {package}: pip install 'pade_bench[sweeps]'."
        )


def prepare(config: DictConfig) -> None:
    """Start what the launcher needs, if anything.

    Raises:
        ConfigurationError: no machine has what a job asks of Ray, which would wait for ever; or
            Ray would hide the GPUs that there are.
    """
    if "ray_launcher" not in config.hydra.launcher._target_:
        return
    # Ray would report to its makers, and let whoever reaches this machine run code on it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    accelerator = config.trainer.accelerator
    settings: Any = OmegaConf.to_container(config.hydra.launcher.ray, resolve=True)
    if not ray.is_initialized():
        if settings["init"]["address"] is None:
            # Jobs exchange nothing, and Ray would take a third of the memory for it.
            settings["init"].setdefault("object_store_memory", 75 * 2**20)
        ray.init(**settings["init"])
    wanted = {"CPU": settings["remote"]["num_cpus"], "GPU": settings["remote"]["num_gpus"]}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(m.get(name, 0) >= n for name, n in wanted.items()) for m in machines):
        has = "; ".join(f"{m.get('CPU', 0):g} cores, {m.get('GPU', 0):g} GPUs" for m in machines)
        raise ConfigurationError(
            f"hydra.launcher.ray.remote: num_cpus={wanted['CPU']}, num_gpus={wanted['GPU']} is "
            f"more than any machine of this Ray cluster has: {has}."
        )
    if not wanted["GPU"] and ray.cluster_resources().get("GPU") and accelerator != "cpu":
        raise ConfigurationError(
            "hydra.launcher.ray.remote.num_gpus=0: Ray would hide the GPU from every job. 0.25 "
            "lets four jobs share one; trainer.accelerator=cpu leaves it idle."
        )


def may_launch_again(config: DictConfig, logs: Path) -> bool:
    """Clean up after a launcher that gave up; tell whether what is left may be launched anew."""
    if "submitit" in config.hydra.launcher._target_:
        # The other jobs are in SLURM's queue. What left it was canceled by somebody, or ran out
        # of time as often as max_num_timeout allows.
        _wait_for_slurm(logs)
        return False
    if ray := sys.modules.get("ray"):
        ray.shutdown()  # ends the jobs that still run; they resume
    return True


def _wait_for_slurm(logs: Path) -> None:
    folders = (logs / ".submitit").iterdir()
    jobs = {name.partition("_")[0] for name in (f.name for f in folders) if name[0].isdigit()}
    command = ["squeue", "--noheader", f"--jobs={','.join(jobs)}"]
    while subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip():
        time.sleep(5)
