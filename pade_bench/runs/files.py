"""Files that appear whole, and what is done about those that did not.

A run folder may be somebody else's, or damaged: what is read there is a regular file and not too
long, never a link, a pipe or a device, and nothing is written through a link.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pade_bench.errors import DamagedError, RunError

# Of record.json and progress.json: some 200,000 epochs.
MOST_BYTES_OF_JSON = 16 << 20
_PARTIAL = re.compile(r".+\.[0-9a-f]{16}\.partial")


def open_regular(path: Path, flags: int) -> int:
    """Open a regular file, creating it if ``flags`` say so; return its descriptor.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is something else than a regular file.
    """
    try:
        # Never through a link, and without waiting for who would write into a pipe.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError:
        if os.path.lexists(path):
            _require_regular(path, path.lstat())
        raise
    try:
        _require_regular(path, os.fstat(descriptor))
    except ValueError:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory",
                 stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}  # fmt: skip
        kind = kinds.get(stat.S_IFMT(found.st_mode), "a device")
        raise ValueError(f"{path.name} is {kind}, not a regular file")


def read_file(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is something else than a regular file, or longer than ``most_bytes``.
    """
    with open(open_regular(path, os.O_RDONLY), "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if length > most_bytes:
            raise ValueError(f"{path.name} has {length:,} bytes, more than {most_bytes:,}")
        return file.read(most_bytes)


def parse_json(content: bytes | str, name: str) -> dict[str, Any]:
    """Return the dictionary that a JSON file holds.

    Raises:
        ValueError: it holds something else; ``name`` is that of the file.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no dictionary")
    return found


def user_path(text: str) -> Path:
    """Return a path that a user has written, which may begin with ``~``."""
    return Path(os.path.expanduser(text))


def set_aside(damaged: DamagedError) -> None:
    """Rename a damaged file so that it is kept, and say so."""
    aside = unused(damaged.path.with_name(f"{damaged.path.name}.damaged-{time_stamp()}"))
    damaged.path.rename(aside)
    print(f"{damaged.path} is damaged ({damaged.reason}); it is kept as {aside.name}.", flush=True)


def unused(path: Path) -> Path:
    """Return a path where nothing is: this one, or with -2, -3 … at its end."""
    names = itertools.chain([path.name], (f"{path.name}-{n}" for n in itertools.count(2)))
    return next(p for p in map(path.with_name, names) if not os.path.lexists(p))


def write_atomically(
    path: Path, content: bytes, durable: bool = True, keep_as: Path | None = None
) -> None:
    """Write a file that appears whole or not at all, if ``durable`` even on a power failure.

    What was there before stays under the name ``keep_as``, if that is given.
    """
    # A name that nobody could know before: no link waits there to be followed.
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(aside, flags, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if keep_as is not None and os.path.lexists(path):
            os.replace(path, keep_as)
        os.replace(aside, path)
    except BaseException:
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


def remove_partial(directory: Path) -> None:
    """Remove what a process left that was killed while it wrote: see :func:`write_atomically`."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if _PARTIAL.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                os.unlink(entry)


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
