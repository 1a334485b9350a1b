"""Lightning's trainer as a run's settings ask for it."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.callbacks import Callback, RichProgressBar
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import nn

from pade_bench.config.schema import TrainerConfig
from pade_bench.errors import ConfigurationError
from pade_bench.runs.home import Run
from pade_bench.training.checkpoints import AtomicCheckpointIO, SaveLast
from pade_bench.training.console import PrintEpochs
from pade_bench.training.tensorboard import TensorBoard

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def make_trainer(run: Run, initial: nn.Module) -> pl.Trainer:
    """Return the trainer of a run; ``initial`` is a copy of the network before training.

    The first of several processes alone writes events, prints and saves.
    """
    config = run.config.trainer
    on_terminal = config.progress_bar and sys.stdout.isatty()
    callbacks: list[Callback] = [SaveLast(run)]
    if rank(run) == 0:
        callbacks = [
            TensorBoard(run, initial),
            *callbacks,
            RichProgressBar() if on_terminal else PrintEpochs(),
        ]
    plugins: list[Any] = [AtomicCheckpointIO(run)]
    if SLURMEnvironment.detect():
        # Lightning would save a job that ends in the middle of an epoch, and go on from there: to
        # other bits. What a run has saved at the end of an epoch is enough.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return pl.Trainer(
        max_epochs=config.max_epochs,
        accelerator=_accelerator(config),
        strategy="auto" if config.strategy == "single" else config.strategy,
        devices=config.devices,
        num_nodes=config.num_nodes,
        precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
        accumulate_grad_batches=config.accumulate_batches,
        gradient_clip_val=run.config.optim.gradient_clip_norm,
        deterministic="warn",
        default_root_dir=run.directory,
        logger=False,
        callbacks=callbacks,
        plugins=plugins,
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        enable_checkpointing=True,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def rank(run: Run) -> int:
    """Return the number of this process among those that train the run together."""
    # Asked only where several do: a job of a cluster may have a rank for reasons of its own.
    return rank_zero_only.rank if run.config.trainer.strategy == "ddp" else 0  # type: ignore[attr-defined]


def set_numerics(config: TrainerConfig) -> None:
    """Let torch compute in this process as the run is told to."""
    torch.backends.cudnn.allow_tf32 = config.tf32 != "none"
    torch.backends.cuda.matmul.allow_tf32 = config.tf32 == "all"
    # Lightning makes torch deterministic, which would also fill every new tensor with NaN before a
    # kernel writes into it: one more launch for each on a GPU, and the same bits without.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def autocast(config: TrainerConfig, device_type: str) -> torch.autocast:
    """Return the context in which a run's network computes, for what is measured afterwards."""
    dtype = _AUTOCAST.get(config.precision)
    return torch.autocast(device_type, dtype, enabled=dtype is not None)


def check_devices(config: TrainerConfig) -> None:
    """Raise :class:`ConfigurationError` for what this machine cannot do, or was not started for."""
    processes = config.devices * config.num_nodes
    started, command = _started_processes()
    if started is None and config.num_nodes > 1:
        raise ConfigurationError(
            f"trainer.num_nodes={config.num_nodes}: start the processes with torchrun or srun, see "
            "docs/sweeps.md."
        )
    if started not in (None, processes):
        raise ConfigurationError(
            f"{command} has started {started} process(es), and trainer.devices={config.devices} on "
            f"trainer.num_nodes={config.num_nodes} are {processes} (trainer.strategy="
            f"{config.strategy})."
        )
    gpus = torch.cuda.device_count()
    if config.accelerator == "cuda" and not gpus:
        raise ConfigurationError(
            "trainer.accelerator=cuda: torch finds no CUDA device on this machine. Use cpu or auto."
        )
    if _accelerator(config) == "cuda" and config.devices > gpus:
        raise ConfigurationError(
            f"trainer.devices={config.devices}: torch finds {gpus} CUDA device(s) on this machine."
        )
    if _accelerator(config) == "cpu" and config.precision == "fp16":
        raise ConfigurationError(
            "trainer.precision=fp16: float16 is for CUDA devices, and this run is on the CPU. "
            "Use bf16 or fp32."
        )


def _started_processes() -> tuple[int | None, str]:
    """Return how many processes a launcher has started for this run, and its name."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment().world_size(), "torchrun"
    if SLURMEnvironment.detect():
        return int(os.environ["SLURM_NTASKS"]), "srun"
    return None, ""


def _accelerator(config: TrainerConfig) -> str:
    if config.accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.accelerator
