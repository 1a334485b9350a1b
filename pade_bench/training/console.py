"""What is said on the console: what is trained, how far it is, and what came of it."""

from __future__ import annotations

import shlex
import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from pade_bench.report.names import count
from pade_bench.runs.home import Run
from pade_bench.runs.progress_lines import epoch_line, resuming_line
from pade_bench.runs.record import FINISHED, Record
from pade_bench.runs.state import duration

SIGN_OF_LIFE = 25.0  # seconds without one after which there is one
# Settings of a command that another one, with other activations and seeds, does not repeat.
_NOT_AGAIN = ("experiment", "activation", "seed", "restart", "dry_run", "fail_fast", "sweep")


class PrintEpochs(Checkpoint):
    """Print a line per epoch, and a sign of life with the time left where epochs are long.

    For output that is no terminal, which a progress bar would litter. It is a :class:`Checkpoint`
    because these are called after the module's own hook, which completes the history of the epoch.
    """

    def __init__(self, every: float = SIGN_OF_LIFE) -> None:
        self.every = every
        self.batches = 0  # of this epoch, that are done
        self.began = self.said = time.monotonic()  # the epoch, and the last line
        self._ended = threading.Event()

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if done := len(pl_module.history["train_loss"]):
            print(resuming_line(done, trainer.max_epochs or done), flush=True)
        self.said = time.monotonic()
        self._start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.batches, self.began = 0, time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.batches += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.batches = int(trainer.num_training_batches)
        left = "" if pl_module.diverged else self._left(trainer, pl_module)
        self._say(self._line(trainer, pl_module, left))

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        self._ended.set()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._ended.set()

    def _start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        # A thread, as a batch of photographs may take longer, and so may a test.
        arguments = (trainer, pl_module)
        threading.Thread(target=self._live, args=arguments, daemon=True).start()

    def _live(self, trainer: pl.Trainer, pl_module: Any) -> None:
        while not self._ended.wait(self.every / 10):
            if time.monotonic() - self.said >= self.every:
                epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
                batch = f"batch {self.batches} of {int(trainer.num_training_batches)}"
                self._say(f"  {epoch}: {batch}{self._left(trainer, pl_module)}")

    def _say(self, line: str) -> None:
        self.said = time.monotonic()
        print(line, flush=True)

    def _line(self, trainer: pl.Trainer, pl_module: Any, left: str) -> str:
        """Return the line of an epoch that has ended, with the time that is left."""
        measured = "diverged: the loss is not finite"
        if not pl_module.diverged:
            last = {name: values[-1] for name, values in pl_module.history.items()}
            measured = f"train loss {last['train_loss']:.4f}  test accuracy "
            measured += f"{last['test_accuracy']:.2f} %"
            if "test_top5_accuracy" in last:
                measured += f", top-5 {last['test_top5_accuracy']:.2f} %"
            if "validation_accuracy" in last:
                measured += f"  validation {last['validation_accuracy']:.2f} %"
            measured += f"  {last['seconds']:.1f} s{left}"
        epoch = trainer.current_epoch + 1
        return epoch_line(epoch, trainer.max_epochs or epoch, measured)

    def _left(self, trainer: pl.Trainer, pl_module: Any) -> str:
        """Return ``", 12 min left"``, and nothing where it is not known, or at the end."""
        done = self.batches / max(1.0, float(trainer.num_training_batches))
        if recent := pl_module.history["seconds"][-5:]:
            one = statistics.median(recent)
        elif done:
            one = (time.monotonic() - self.began) / done
        else:
            return ""
        epochs = (trainer.max_epochs or 0) - trainer.current_epoch - done
        return f", {duration(one * epochs)} left" if epochs > 0 else ""


class ShowProgress(PrintEpochs):
    """A bar for the epoch that is trained, and above it the line of each that is done."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total}{task.fields[left]}"),
            console=console,
            transient=True,
            expand=True,
        )
        self.task = self.bar.add_task("", visible=False, left="")  # until there is an epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        total = int(trainer.num_training_batches)
        self.bar.reset(self.task, description=epoch, total=total, visible=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        super().on_train_batch_end(trainer, pl_module)
        left = self._left(trainer, pl_module)
        self.bar.update(self.task, completed=self.batches, left=left)

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        self.bar.stop()

    def _start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.bar.start()

    def _say(self, line: str) -> None:
        self.bar.console.print(line, highlight=False, markup=False)

    def _line(self, trainer: pl.Trainer, pl_module: Any, left: str) -> str:
        line = super()._line(trainer, pl_module, left="")  # the bar says it
        if len(line) > self.bar.console.width:
            line = line.replace("train loss", "loss").replace("test accuracy ", "")
        return line


def _data_name(run: Run) -> str:
    """Return what the data set is called in tables, where ``data`` does not say it."""
    arguments = run.config.data.arguments
    return str(arguments.get("name") or arguments.get("dataset") or run.names["data"])


def print_start(run: Run, parameters: int, device: str) -> None:
    """Say what is trained, on what, and for how long."""
    names = run.names
    print(
        f"training {names['model']} with {names['activation']} ({parameters:,} parameters) on "
        f"{_data_name(run)}, seed {run.config.seed}, for "
        f"{count(run.config.trainer.max_epochs, 'epoch')} on {device}",
        flush=True,
    )


def print_summary(run: Run, record: Record) -> None:
    """Say what came of a run, where everything lies, and what to try next."""
    names = run.names
    if record.status == FINISHED:
        top5 = record.test_top5_accuracy
        result = (
            f"{record.test_accuracy:.2f} % test accuracy"
            f"{'' if top5 is None else f', {top5:.2f} % top-5'} after "
            f"{count(record.epochs, 'epoch')}"
        )
    else:
        result = f"diverged in epoch {record.epochs + 1}: the loss was not finite"
    device = record.provenance.device if record.provenance else None
    unverified = "" if record.verified else " (unverified: it has no checksum)"
    lines: dict[str, object] = {
        "result": result,
        "network": f"{names['model']} with {names['activation']} on {_data_name(run)}, "
        f"{record.parameters:,} parameters, {record.activation_parameters:,} of them "
        f"in {count(record.activation_layers or 0, 'activation')}",
        "training": f"{sum(record.wall_seconds_per_epoch):.1f} s on {device}",
        "record": f"{run.directory / 'record.json'}{unverified}",
    }
    if (picture := run.directory / "activations.png").exists():
        lines["activations"] = picture
    lines["TensorBoard"] = f"tensorboard --logdir {shlex.quote(run.config.runs_dir)}"
    for name, value in lines.items():
        print(f"{name:<12} {value}")
    if run.pruned_share is None:
        print_next(run)


def print_next(run: Run) -> None:
    """Say what to try next; once for the runs of a pruning experiment."""
    print(f"{'try next':<12} {next_command(run.names, run.command)}")


def next_command(names: dict[str, str], command: Sequence[str]) -> str:
    """Return a command that compares activations over seeds with the settings of this one.

    Args:
        names: of the run.
        command: its options and overrides, as they were typed.
    """
    again = [part for part in command if part.lstrip("+~").partition("=")[0] not in _NOT_AGAIN]
    mine = names["activation"]
    others = "relu,swish,pau" if mine == "pau" else f"pau,{mine}"
    if any(part.lstrip("+~").startswith("activation.") for part in again):
        others = mine  # another activation has other settings
    sweep = [f"experiment={names['experiment']}", f"activation={others}", "seed=0,1,2"]
    return shlex.join(["python", "-m", "pade_bench", "-m", *sweep, *again])
