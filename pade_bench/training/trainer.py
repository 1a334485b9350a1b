"""Lightning's trainer as a run's settings ask for it."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import nn

from pade_bench.config.schema import Config, TrainerConfig
from pade_bench.errors import ConfigurationError
from pade_bench.models.numerics import repeat_to_the_bit
from pade_bench.report.names import count
from pade_bench.runs.home import Run
from pade_bench.training.checkpoints import AtomicCheckpointIO, SaveLast
from pade_bench.training.console import PrintEpochs, ShowProgress
from pade_bench.training.loggers import LogEpochs
from pade_bench.training.optimizers import can_be_captured
from pade_bench.training.provenance import device_name
from pade_bench.training.tensorboard import TensorBoard

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)[af]?")  # sm_90, compute_120
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def make_trainer(run: Run, initial: nn.Module, graphed: bool = False) -> pl.Trainer:
    """Return the trainer of a run.

    The first of several processes alone writes events, prints and saves.

    Args:
        run: what is trained.
        initial: a copy of the network before training.
        graphed: whether it trains a
            :class:`~pade_bench.training.graphed.GraphedClassifier`, which accumulates, clips and
            computes in the configured precision by itself.
    """
    config = run.config.trainer
    on_terminal = config.progress_bar and sys.stdout.isatty()
    callbacks: list[Callback] = [SaveLast(run)]
    if rank(run) == 0:
        callbacks = [
            TensorBoard(run, initial),
            LogEpochs(run),
            *callbacks,
            ShowProgress() if on_terminal else PrintEpochs(),
        ]
    plugins: list[Any] = [AtomicCheckpointIO(run)]
    if SLURMEnvironment.detect():
        # Lightning would save a job that ends in the middle of an epoch, and go on from there: to
        # other bits. What a run has saved at the end of an epoch is enough.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return pl.Trainer(
        max_epochs=config.max_epochs,
        accelerator=accelerator(config),
        strategy="auto" if config.strategy == "single" else config.strategy,
        devices=config.devices,
        num_nodes=config.num_nodes,
        precision=PRECISIONS["fp32" if graphed else config.precision],  # type: ignore[arg-type]
        accumulate_grad_batches=1 if graphed else config.accumulate_batches,
        gradient_clip_val=None if graphed else run.config.optim.gradient_clip_norm,
        default_root_dir=run.directory,
        logger=False,
        callbacks=callbacks,
        plugins=plugins,
        enable_progress_bar=False,
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
    repeat_to_the_bit()
    torch.backends.cudnn.allow_tf32 = config.tf32 != "none"
    torch.backends.cuda.matmul.allow_tf32 = config.tf32 == "all"


def autocast(config: TrainerConfig, device_type: str) -> torch.autocast:
    """Return the context in which a run's network computes."""
    dtype = _AUTOCAST.get(config.precision)
    # As Lightning does, without a cache: it would keep what weights were before a step.
    return torch.autocast(device_type, dtype, enabled=dtype is not None, cache_enabled=False)


def uses_graphs(config: Config) -> bool:
    """Return whether the run's steps are replayed as CUDA graphs."""
    return config.trainer.cuda_graph is not False and graph_obstacle(config) is None


def graph_obstacle(config: Config) -> str | None:
    """Return why steps cannot be CUDA graphs, ``None`` if they can as far as is known so far."""
    trainer = config.trainer
    if accelerator(trainer) == "cpu":
        return "this run is on the CPU"
    if trainer.strategy != "single":
        return "several processes train it together (trainer=ddp)"
    if trainer.precision == "fp16":
        return "the scaler of trainer.precision=fp16 waits for the GPU in every step"
    if not can_be_captured(config.optim):
        return f"{config.optim.target} may compute on the CPU what differs between steps"
    return None


def describe_device(settings: Config) -> str:
    """Return the name of what the run trains on, and whether its steps are CUDA graphs."""
    config = settings.trainer
    on_gpu = accelerator(config) == "cuda"
    name = device_name(torch.device("cuda" if on_gpu else "cpu"))
    name = f"{config.devices * config.num_nodes} × {name}" if config.strategy == "ddp" else name
    if uses_graphs(settings):
        return f"{name}, each step as one CUDA graph"
    if on_gpu and config.cuda_graph is not False:
        return f"{name}, without CUDA graphs: {graph_obstacle(settings)}"
    return name


def check_devices(settings: Config) -> None:
    """Raise :class:`ConfigurationError` for what this machine cannot do, or was not started for."""
    config = settings.trainer
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
    if accelerator(config) == "cuda" and config.devices > gpus:
        raise ConfigurationError(
            f"trainer.devices={config.devices}: torch finds {count(gpus, 'CUDA device')} on this "
            "machine."
        )
    if accelerator(config) == "cuda":
        _check_gpu()
    if accelerator(config) == "cpu" and config.precision == "fp16":
        raise ConfigurationError(
            "trainer.precision=fp16: float16 is for CUDA devices, and this run is on the CPU. "
            "Use bf16 or fp32."
        )
    if config.cuda_graph is True and (obstacle := graph_obstacle(settings)):
        raise ConfigurationError(
            f"trainer.cuda_graph=true: {obstacle}, so that its steps cannot be CUDA graphs. Use "
            "auto or false."
        )


def _check_gpu() -> None:
    """Raise :class:`ConfigurationError` if the installed torch has no code for the GPU."""
    codes = [_ARCHITECTURE.fullmatch(code) for code in torch.cuda.get_arch_list()]
    if not codes or not all(codes):
        return  # not NVIDIA's: torch itself knows
    capability = torch.cuda.get_device_capability()
    for kind, major, minor in (code.groups() for code in codes if code):
        made_for = int(major), int(minor)
        # Machine code runs on GPUs of its generation, PTX on all that came later.
        same = made_for[0] == capability[0] or kind == "compute"
        if same and made_for <= capability:
            return
    raise ConfigurationError(
        f"{torch.cuda.get_device_name()} has compute capability {capability[0]}.{capability[1]}, "
        f"and torch {torch.__version__} is built for {', '.join(torch.cuda.get_arch_list())}. "
        "Install a torch that is built for it, or use trainer.accelerator=cpu."
    )


def _started_processes() -> tuple[int | None, str]:
    """Return how many processes a launcher has started for this run, and its name."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment().world_size(), "torchrun"
    if SLURMEnvironment.detect():
        return int(os.environ["SLURM_NTASKS"]), "srun"
    return None, ""


def accelerator(config: TrainerConfig) -> str:
    """Return what a run is trained on: ``"cpu"`` or ``"cuda"``."""
    if config.accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.accelerator
