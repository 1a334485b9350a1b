"""What is said on the console: a line per epoch, and the summary at the end."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from pade_bench.runs.home import Run
from pade_bench.runs.record import FINISHED, Record


class PrintEpochs(Checkpoint):
    """Print a line per epoch where the output is no terminal and a progress bar would litter it.

    It is a :class:`Checkpoint` because these are called after the module's own hook, which
    completes the history of the epoch.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if done := len(pl_module.history["train_loss"]):
            print(f"resuming after epoch {done} of {trainer.max_epochs}", flush=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        if pl_module.diverged:
            print(f"{epoch}  diverged: the loss is not finite", flush=True)
            return
        last = {name: values[-1] for name, values in pl_module.history.items()}
        top5 = f", top-5 {last['test_top5_accuracy']:.2f} %" if "test_top5_accuracy" in last else ""
        print(
            f"{epoch}  train loss {last['train_loss']:.4f}  "
            f"test accuracy {last['test_accuracy']:.2f} %{top5}  {last['seconds']:.1f} s",
            flush=True,
        )


def print_summary(run: Run, record: Record) -> None:
    """Say what came of a run, where everything lies, and what to try next."""
    names = run.names
    if record.status == FINISHED:
        top5 = record.test_top5_accuracy
        result = (
            f"{record.test_accuracy:.2f} % test accuracy"
            f"{'' if top5 is None else f', {top5:.2f} % top-5'} after {record.epochs} epochs"
        )
    else:
        result = f"diverged in epoch {record.epochs + 1}: the loss was not finite"
    device = record.provenance.device if record.provenance else None
    unverified = "" if record.verified else " (unverified: it has no checksum)"
    lines: dict[str, object] = {
        "result": result,
        "network": f"{names['model']} with {names['activation']} on {names['data']}, "
        f"{record.parameters:,} parameters, {record.activation_parameters:,} of them "
        f"in {record.activation_layers} activations",
        "training": f"{sum(record.wall_seconds_per_epoch):.1f} s on {device}",
        "record": f"{run.directory / 'record.json'}{unverified}",
    }
    if (picture := run.directory / "activations.png").exists():
        lines["activations"] = picture
    others = "relu,swish,pau" if names["activation"] == "pau" else f"pau,{names['activation']}"
    lines["TensorBoard"] = f"tensorboard --logdir {run.config.runs_dir}"
    lines["try next"] = (
        f"python -m pade_bench -m experiment={names['experiment']} activation={others} seed=0,1,2"
    )
    for name, value in lines.items():
        print(f"{name:<12} {value}")
