"""Lightning's loggers: where ``logger=`` sends what each epoch measured, beside TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import uuid
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import Logger

from pade_bench.config.components import arguments_of, make
from pade_bench.config.fields import Component, flatten, from_plain, to_plain
from pade_bench.errors import ConfigurationError, DamagedError, PadeBenchError
from pade_bench.runs.files import read_file, set_aside, write_atomically, writing_to
from pade_bench.runs.home import Run

ID_FILE = "logger_id.txt"
_LONGEST_ID = 100  # bytes that are read of it
_MOST_BYTES_OF_ROWS = 64 << 20  # some 300,000 epochs


class CSVLogger(Logger):
    """``metrics.csv`` in a run's home: a row for each epoch, written whole or not at all.

    Lightning's own begins anew, and deletes what is there, when a run resumes. A file that is
    damaged is set aside.

    Args:
        save_dir: the run's home.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: ``config.yaml`` has them."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write the metrics of an epoch, in place of any rows from this epoch on."""
        try:
            rows = self._rows_before(step or 0)
        except (OSError, ValueError, csv.Error) as error:
            set_aside(DamagedError(self.path, error))
            rows = []
        rows.append({"epoch": step, **metrics})
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[-1]), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path, text.getvalue().encode(), durable=False)

    def _rows_before(self, epoch: int) -> list[dict[str, Any]]:
        try:
            text = read_file(self.path, _MOST_BYTES_OF_ROWS).decode()
        except FileNotFoundError:
            return []
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        if any(None in row or None in row.values() or "epoch" not in row for row in rows):
            raise ValueError(f"{self.path.name} has rows of other lengths, or no epochs")
        return [row for row in rows if int(row["epoch"]) < epoch]


class LogEpochs(Checkpoint):
    """Hand the settings, and what every epoch measured, to the loggers of a run.

    Steps are epochs, counted from 1. It is a :class:`Checkpoint` for the reason that
    :class:`pade_bench.training.tensorboard.TensorBoard` gives.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.loggers: list[Logger] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.run.require_lock()
        with writing_to(self.run.directory):
            settings = {**self.run.names, **flatten(to_plain(self.run.config))}
            try:
                self.loggers = make_loggers(self.run)
                for logger in self.loggers:
                    logger.log_hyperparams(settings)
            except (PadeBenchError, OSError):
                raise
            except Exception as error:  # of a service that knows nobody of this name, or is away
                names = ", ".join(self.run.config.logger)
                raise ConfigurationError(f"logger={names} cannot begin: {error}") from error

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if pl_module.diverged:
            return
        metrics = {name: values[-1] for name, values in pl_module.history.items()}
        metrics |= pl_module.learning_rates
        self.run.require_lock()
        with writing_to(self.run.directory):
            for logger in self.loggers:
                logger.log_metrics(metrics, trainer.current_epoch + 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._finish("failed" if pl_module.diverged else "success")

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._finish("failed")

    def _finish(self, status: str) -> None:
        for logger in self.loggers:
            logger.finalize(status)
            # One of Weights & Biases would go on in the next run of this process.
            finish = getattr(getattr(logger, "experiment", None), "finish", None)
            if callable(finish):
                finish()
        self.loggers = []


def make_loggers(run: Run, dry: bool = False) -> list[Logger]:
    """Return the loggers that a run's settings name.

    Those that keep their files in a folder get the run's home, those whose runs have an
    identifier one that is kept there, so that a resumed run goes on with the same.

    Args:
        run: what is trained.
        dry: leave no file behind.

    Raises:
        ConfigurationError: there is no such logger, its package is missing, or it does not take
            an argument.
    """
    loggers = []
    for name, settings in run.config.logger.items():
        where = f"logger.{name}"
        component = from_plain(Component, settings, where)
        takes, _ = arguments_of(where, component, Logger)
        given: dict[str, Any] = {}
        if "save_dir" in takes:
            given["save_dir"] = str(run.directory)
        if "id" in takes:
            given["id"] = "" if dry else _identifier(run)
            given["name"] = str(run.directory.relative_to(run.config.runs_dir))
        try:
            loggers.append(make(where, component, Logger, **given))
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"logger={name}: {component.target} needs a package that is not installed "
                f"({' '.join(str(error).split())}): pip install 'pade_bench[{name}]'."
            ) from error
    return loggers


def _identifier(run: Run) -> str:
    """Return what a service calls the run: drawn once, as others may train the same elsewhere."""
    path = run.directory / ID_FILE
    found = ""
    with contextlib.suppress(OSError, ValueError):
        found = read_file(path, _LONGEST_ID).decode()
    if not re.fullmatch("[0-9a-f]{12}", found):
        found = uuid.uuid4().hex[:12]
        run.write(ID_FILE, found.encode())
    return found
