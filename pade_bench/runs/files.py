"""Files that appear whole, and what is done about those that did not."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pade_bench.errors import DamagedError, RunError


def read_json(path: Path) -> dict[str, Any]:
    """Return a record or a progress file, its checksum verified where it has one.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, no dictionary, or its checksum is wrong.
    """
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name} is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path.name} is no dictionary")
    content = {key: value for key, value in record.items() if key != "checksum"}
    if "checksum" in record and record["checksum"] != digest(content):
        raise ValueError(f"{path.name} does not have its checksum: it was changed after the run")
    return record


def set_aside(damaged: DamagedError) -> None:
    """Rename a damaged file so that it is kept, and say so."""
    aside = damaged.path.with_name(f"{damaged.path.name}.damaged-{time_stamp()}")
    damaged.path.rename(aside)
    print(f"{damaged.path} is damaged ({damaged.reason}); it is kept as {aside.name}.", flush=True)


def write_atomically(
    path: Path, content: bytes, durable: bool = True, keep_as: Path | None = None
) -> None:
    """Write a file that appears whole or not at all, if ``durable`` even on a power failure.

    What was there before stays under the name ``keep_as``, if that is given.
    """
    aside = path.with_name(f"{path.name}.partial")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if keep_as is not None and path.exists():
            os.replace(path, keep_as)
        os.replace(aside, path)
    except OSError:
        # On a full disk, half a file is in the way of what makes room.
        aside.unlink(missing_ok=True)
        raise
    if not durable:
        return
    # The rename itself lasts only once the directory is on disk.
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def writing_to(directory: Path) -> Iterator[None]:
    """Turn a failure to write into a :class:`RunError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"Cannot write to {directory}: {error.strerror or error}. Make room or make it "
            "writable and start the same command again, or choose another runs_dir; what the run "
            "had saved is kept."
        ) from error


def time_stamp() -> str:
    """Return the time now, to the microsecond, for the name of a file."""
    return f"{datetime.datetime.now():%Y%m%d-%H%M%S-%f}"


def digest(value: Any) -> str:
    """Return the SHA-256 of a value that JSON can hold, the same whatever the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
