"""Lock files that say who holds them and end with their process, on this machine or another.

The kernel's lock (``flock``) is what counts: it ends with the process, however that ended. Not
every network file system passes it from machine to machine, though. So the holder also renews
the file's time of change, and before a lock that names another machine is taken over, its file is
watched: nobody may renew it meanwhile. Times are compared with times of the same file only, so
clocks that differ do no harm. docs/sweeps.md says what is safe on which file system.

What is locked is a file, not a path: once the file was removed, or its folder moved away, another
process can lock a new file of that name. So before it writes, the holder asks whether the path
still leads to the file that it has locked (:func:`require`).
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pade_bench.errors import RunError, RunHeldError
from pade_bench.runs.files import open_regular

RENEWED_EVERY = 10.0  # seconds
WATCHED_FOR = 3 * RENEWED_EVERY
_LONGEST = 1000  # bytes of a lock that are read

# What this process holds. A file's lock is held by every process that has inherited it; those that
# a training forks, to decode images, must not hold its run: they may live a little longer.
_held: dict[str, IO[bytes]] = {}


def _forked() -> None:
    for file in _held.values():
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_forked)


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold a lock file until the block ends, or the process.

    Raises:
        RunHeldError: another process holds it.
        RunError: it is no regular file, or the file system has no locks.
        OSError: the file cannot be written.
    """
    with _open(path, os.O_RDWR | os.O_CREAT) as file:
        if os.fstat(file.fileno()).st_nlink > 1:
            raise RunError(f"{path} has another name elsewhere (a hard link): remove it.")
        _flock(file, path)
        _watch_another_machine(path, _content(file))
        _held[os.path.abspath(path)] = file
        ended = threading.Event()
        renewing = threading.Thread(target=_renew, args=(file.fileno(), ended), daemon=True)
        try:
            require(path)  # it may have gone between being opened and being locked
            file.truncate(0)
            file.seek(0)
            file.write(
                f"process {os.getpid()} on {socket.gethostname()}, "
                f"since {datetime.datetime.now():%Y-%m-%d %H:%M:%S}\n{_machine()}\n".encode()
            )
            renewing.start()
            yield
        finally:
            ended.set()
            # Where the process ends with the lock, Python 3.13 has stopped the thread for good.
            if renewing.is_alive() and not sys.is_finalizing():
                renewing.join()
            _held.pop(os.path.abspath(path), None)
            # An empty lock was given back: nobody needs to watch it.
            with contextlib.suppress(OSError, ValueError):
                file.truncate(0)


def require(path: Path) -> None:
    """Raise :class:`RunError` if another process could hold what this one has locked.

    A path that this process has not locked is passed over.
    """
    if (file := _held.get(os.path.abspath(path))) is None:
        return
    here = os.fstat(file.fileno())
    try:
        there = os.stat(path, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        there = None
    if there is None or (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
        raise RunError(
            f"{path} is not the file any more that this process has locked: it was removed, or its "
            "folder was moved or replaced, and another process may train the run. Nothing more is "
            "written there. The same command resumes."
        )


def is_held(path: Path) -> bool:
    """Tell whether a process holds the lock, on this machine or another.

    Asking takes a shared lock for a moment, which :func:`hold` waits for. A lock of another machine
    that was renewed in the future says nothing, and :func:`hold` will watch it.
    """
    try:
        with _open(path, os.O_RDONLY) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            age = time.time() - os.fstat(file.fileno()).st_mtime
            return abs(age) < WATCHED_FOR and _names_another_machine(_content(file))
    except BlockingIOError:
        return True
    except (OSError, RunError):
        return False


def holder(path: Path) -> str:
    """Return the process that a lock names, in words."""
    with contextlib.suppress(OSError, RunError), _open(path, os.O_RDONLY) as file:
        return _content(file).partition("\n")[0] or "a process"
    return "a process"


def _open(path: Path, flags: int) -> IO[bytes]:
    try:
        descriptor = open_regular(path, flags)
    except ValueError as error:
        raise RunError(f"{path.parent}: {error}, so it is not the lock of a run.") from error
    return open(descriptor, "r+b" if flags & os.O_RDWR else "rb", buffering=0)


def _flock(file: IO[bytes], path: Path) -> None:
    for patience in (0.02, 0.05, 0.1, 0.0):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(patience)  # it may be somebody who only asks
        except OSError as error:
            raise RunError(
                f"{path}: this file system has no locks ({error.strerror}), so two processes "
                "could train the same run. Choose another runs_dir."
            ) from error
    raise _refusal(path)


def _refusal(path: Path) -> RunHeldError:
    return RunHeldError(f"{path.parent} is being trained by {holder(path)}.")


def _watch_another_machine(path: Path, content: str) -> None:
    """Raise :class:`RunHeldError` if a process of another machine renews the lock."""
    if not _names_another_machine(content):
        return
    print(f"{path.parent}: waiting {WATCHED_FOR:.0f} s, as {holder(path)} may still train it")
    before = _renewed(path)
    end = time.monotonic() + WATCHED_FOR
    while time.monotonic() < end:
        time.sleep(min(1.0, WATCHED_FOR / 10))
        if _renewed(path) != before:
            raise _refusal(path)


def _renewed(path: Path) -> int:
    # Opened anew: that makes a network file system ask its server.
    with _open(path, os.O_RDONLY) as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _renew(descriptor: int, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_EVERY):
        with contextlib.suppress(OSError):
            os.utime(descriptor)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    text = file.read(_LONGEST).decode(errors="replace")
    # Whoever wrote it: this goes to the terminal.
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def _names_another_machine(content: str) -> bool:
    machine = content.partition("\n")[2].strip()
    return bool(machine) and machine != _machine()


def _machine() -> str:
    """Return what tells this machine from all others, since it was started."""
    try:
        # Host names repeat: containers and rented machines share theirs.
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()
