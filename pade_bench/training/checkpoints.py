"""Checkpoints that appear whole, with a digest, and are refused where they are damaged."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from pade_bench.errors import DamagedError, RunError
from pade_bench.runs.files import read_file, set_aside, writing_to
from pade_bench.runs.home import Run

# The digest is the comment at the end of the zip archive that torch.save writes: such a file is
# still one that torch.load reads.
_DIGEST = b"sha256:"
_DIGEST_LENGTH = len(_DIGEST) + 64
_END_OF_ZIP = 22  # bytes of the last structure of an archive, which end with the comment's length


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint with its digest aside, flush it to disk and rename it; verify it again.

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
        torch.save({**checkpoint, "run": self.run.identifier}, content)
        add_digest(content)
        with writing_to(self.run.directory):
            self.run.write(
                Path(path).name, content.getvalue(), keep_as=self.run.previous_checkpoint
            )

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        if Path(path) not in (self.run.checkpoint, self.run.previous_checkpoint):
            # Lightning looks for files of its own where SLURM has started the process.
            raise RunError(f"{path} is not a checkpoint that this run has made: move it away.")
        return read_checkpoint(Path(path))


class SaveLast(Checkpoint):
    """Save the state and the progress after every epoch, unless the run has just diverged.

    A :class:`Checkpoint` callback comes after the module's own hook, so what is saved includes
    the history of the epoch. ``began`` says whether a checkpoint to go on from was restored.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.began = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.began = True
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


def newest_checkpoint(
    run: Run, check: Callable[[dict[str, Any]], None], keep_damaged: bool = True
) -> tuple[Path, dict[str, Any]] | None:
    """Return where the newest good checkpoint is, and its content; ``None`` without any.

    Damaged ones are renamed, so that they are kept, and named; one process alone should do so.

    Args:
        run: whose checkpoint.
        check: raises :class:`ValueError` for one that cannot be gone on from.
        keep_damaged: whether this is that one process.
    """
    damaged = False
    for path in (run.checkpoint, run.previous_checkpoint):
        if not os.path.lexists(path):
            continue
        try:
            checkpoint = read_checkpoint(path)
            try:
                check(checkpoint)
            except ValueError as error:
                raise DamagedError(path, error) from error
            return path, checkpoint
        except DamagedError as error:
            damaged = True
            if keep_damaged:
                with writing_to(run.directory):
                    set_aside(error)
    if damaged and keep_damaged:
        print("No good checkpoint is left: the run starts over.", flush=True)
    return None


def read_checkpoint(path: Path, most_bytes: int | None = None) -> dict[str, Any]:
    """Return a checkpoint on the CPU, weights only, its digest verified where it has one.

    Args:
        path: of the checkpoint.
        most_bytes: longer ones are refused; by default half of the machine's memory.

    Raises:
        DamagedError: it is not what was written, or holds more than weights and numbers.
        RunError: it cannot be read at all.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        content = read_file(path, min(most_bytes or memory, memory // 2))
    except OSError as error:
        # A disk or a network that fails for a moment says nothing about the file.
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DamagedError(path, error) from error
    try:
        _verify_digest(content)
        found = torch.load(_repacked(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows in as many ways as a zip and a pickle have parts
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DamagedError(path, reason) from error
    if not isinstance(found, dict):
        raise DamagedError(path, f"it holds a {type(found).__name__}, not a checkpoint")
    return found


def add_digest(content: io.BytesIO) -> None:
    """Append the SHA-256 of all before it to an archive that torch.save wrote."""
    content.seek(-2, io.SEEK_END)
    content.write(struct.pack("<H", _DIGEST_LENGTH) + _DIGEST)
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    content.write(digest.encode())


def _verify_digest(content: bytes) -> None:
    """Raise :class:`ValueError` if a digest is wrong; 0.1 wrote none."""
    view = memoryview(content)
    if view[-_DIGEST_LENGTH:-64] == _DIGEST:
        if hashlib.sha256(view[:-64]).hexdigest().encode() != view[-64:]:
            raise ValueError("it does not have its digest")
    elif view[-_END_OF_ZIP : -_END_OF_ZIP + 4] != b"PK\5\6":
        raise ValueError("it does not end as a checkpoint does")


def _repacked(content: bytes) -> io.BytesIO:
    """Return the same archive written anew from what its checksums vouch for.

    torch.load looks at none of them, and believes a directory entry whose flipped bit says that
    a tensor is a folder: it then returns memory that nobody has written.
    """
    repacked = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(repacked, "w", zipfile.ZIP_STORED) as anew,
    ):
        members = archive.infolist()
        if any(m.compress_type != zipfile.ZIP_STORED for m in members):
            raise zipfile.BadZipFile("it is compressed, as no checkpoint is")
        if sum(m.file_size for m in members) > len(content):
            raise zipfile.BadZipFile("its parts overlap")
        if len({m.filename for m in members}) < len(members):
            raise zipfile.BadZipFile("two of its parts have the same name")
        for member in members:
            anew.writestr(zipfile.ZipInfo(member.filename), archive.read(member))
    repacked.seek(0)
    return repacked
