"""Checkpoints that appear whole, and are refused where they are damaged."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from pade_bench.errors import RunError
from pade_bench.runs import Run, write_atomically, writing_to


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint aside, flush it to disk and rename it.

    Lightning's own writer copies from the temporary folder, which may lie on another disk, so an
    interruption could leave half a file under the final name.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        path = Path(path)
        with writing_to(path.parent):
            write_atomically(path, content.getvalue())


class SaveLast(Checkpoint):
    """Save the state and the progress after every epoch, unless the run has just diverged.

    A :class:`Checkpoint` callback comes after the module's own hook, so what is saved includes
    the history of the epoch.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._write_progress(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not pl_module.diverged:
            trainer.save_checkpoint(self.run.checkpoint, weights_only=False)
            self._write_progress(trainer, pl_module)

    def _write_progress(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return  # one of several processes speaks for all; two would take each other's file
        with writing_to(self.run.directory):
            self.run.write_progress(pl_module.history["seconds"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint on the CPU, weights only; raise :class:`RunError` if it is damaged."""
    try:
        # torch.load does not look at the checksums that torch.save writes.
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(
            f"{path} is damaged ({error or type(error).__name__}). It is left as it is; "
            "restart=true moves it aside and starts the run anew."
        ) from error
