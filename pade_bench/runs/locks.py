"""Lock files that say who holds them and end with their process, on this machine or another.

The kernel's lock (``flock``) is what counts: it ends with the process, however that ended. Not
every network file system passes it from machine to machine, though. So the holder also renews
the file's time of change, and before a lock that names another machine is taken over, its file is
watched: nobody may renew it meanwhile. Times are compared with times of the same file only, so
clocks that differ do no harm. docs/sweeps.md says what is safe on which file system.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pade_bench.errors import RunError, RunHeldError

RENEWED_EVERY = 10.0  # seconds
WATCHED_FOR = 3 * RENEWED_EVERY

# A file's lock is held by every process that has inherited it. Those that a training forks, to
# decode images, must not hold its run: they may live a little longer.
_held: weakref.WeakSet[IO[str]] = weakref.WeakSet()
os.register_at_fork(after_in_child=lambda: [file.close() for file in _held])


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold a lock file until the block ends, or the process.

    Raises:
        RunHeldError: another process holds it.
        RunError: the file system has no locks.
        OSError: the file cannot be written.
    """
    with open(path, "a+") as file:
        _held.add(file)
        _flock(file)
        _watch_another_machine(path, _content(file))
        file.truncate(0)
        file.write(
            f"process {os.getpid()} on {socket.gethostname()}, "
            f"since {datetime.datetime.now():%Y-%m-%d %H:%M:%S}\n{_machine()}\n"
        )
        file.flush()
        ended = threading.Event()
        threading.Thread(target=_renew, args=(file.fileno(), ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            # An empty lock was given back: nobody needs to watch it.
            with contextlib.suppress(OSError):
                file.truncate(0)


def is_held(path: Path) -> bool:
    """Tell whether a process holds the lock, on this machine or another.

    Asking takes a shared lock for a moment, which :func:`hold` waits for.
    """
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            renewed = time.time() - os.fstat(file.fileno()).st_mtime < WATCHED_FOR
            return renewed and _names_another_machine(_content(file))
    except BlockingIOError:
        return True
    except OSError:
        return False


def holder(path: Path) -> str:
    """Return the process that a lock names, in words."""
    with contextlib.suppress(OSError):
        return path.read_text().partition("\n")[0] or "a process"
    return "a process"


def _flock(file: IO[str]) -> None:
    for patience in (0.02, 0.05, 0.1, 0.0):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(patience)  # it may be somebody who only asks
        except OSError as error:
            raise RunError(
                f"{file.name}: this file system has no locks ({error.strerror}), so two processes "
                "could train the same run. Choose another runs_dir."
            ) from error
    raise _refusal(Path(file.name))


def _refusal(path: Path) -> RunHeldError:
    return RunHeldError(f"{path.parent} is being trained by {holder(path)}.")


def _watch_another_machine(path: Path, content: str) -> None:
    """Raise :class:`RunHeldError` if a process of another machine renews the lock."""
    if not _names_another_machine(content):
        return
    print(f"{path.parent}: waiting {WATCHED_FOR:.0f} s, lest {holder(path)} still trains it")
    before = _renewed(path)
    end = time.monotonic() + WATCHED_FOR
    while time.monotonic() < end:
        time.sleep(min(1.0, WATCHED_FOR / 10))
        if _renewed(path) != before:
            raise _refusal(path)


def _renewed(path: Path) -> int:
    # Opened anew: that makes a network file system ask its server.
    with open(path, "rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _renew(descriptor: int, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_EVERY):
        with contextlib.suppress(OSError):
            os.utime(descriptor)


def _content(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _names_another_machine(content: str) -> bool:
    machine = content.partition("\n")[2].strip()
    return bool(machine) and machine != _machine()


def _machine() -> str:
    """Return what tells this machine from all others, since it was started."""
    try:
        # Host names repeat: containers and rented machines share theirs.
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
