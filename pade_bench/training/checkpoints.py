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

from pade_bench.errors import DamagedError, RunError
from pade_bench.runs.files import set_aside, write_atomically, writing_to
from pade_bench.runs.home import Run


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint aside, flush it to disk and rename it.

    Lightning's own writer copies from the temporary folder, which may lie on another disk, so an
    interruption could leave half a file under the final name. The checkpoint before stays beside
    it, should the last one be damaged.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with writing_to(self.run.directory):
            write_atomically(Path(path), content.getvalue(), keep_as=self.run.previous_checkpoint)


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


def newest_checkpoint(run: Run, keep_damaged: bool = True) -> tuple[Path, dict[str, Any]] | None:
    """Return where the newest good checkpoint is, and its content; ``None`` without any.

    Damaged ones are renamed, so that they are kept, and named; one process alone should do so.
    """
    damaged = False
    for path in (run.checkpoint, run.previous_checkpoint):
        if not path.exists():
            continue
        try:
            return path, read_checkpoint(path)
        except DamagedError as error:
            damaged = True
            if keep_damaged:
                with writing_to(run.directory):
                    set_aside(error)
    if damaged and keep_damaged:
        print("No good checkpoint is left: the run starts over.", flush=True)
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint on the CPU, weights only.

    Raises:
        DamagedError: it is not what was written, or holds more than weights and numbers.
        RunError: it cannot be read at all.
    """
    try:
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        # A disk or a network that fails for a moment says nothing about the file.
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        # torch.load does not look at the checksums that torch.save writes.
        with zipfile.ZipFile(content) as archive:
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        content.seek(0)
        return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedError(path, error or type(error).__name__) from error
