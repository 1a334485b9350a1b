"""A lock ends with its process, and says who holds it, on this machine and on others."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest

from pade_bench.errors import RunError, RunHeldError
from pade_bench.runs import locks

HOLD_AND_DIE = """
import os, pathlib, sys
from pade_bench.runs import locks
with locks.hold(pathlib.Path(sys.argv[1])):
    os.kill(os.getpid(), 9)
"""

HOLD_TO_THE_END = """
import pathlib, sys
from pade_bench.runs import locks
held = locks.hold(pathlib.Path(sys.argv[1]))
held.__enter__()
"""


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def quick(monkeypatch):
    """Renew and watch locks in fractions of a second."""
    monkeypatch.setattr(locks, "RENEWED_EVERY", 0.02)
    monkeypatch.setattr(locks, "WATCHED_FOR", 0.5)


def elsewhere(monkeypatch, lock):
    """Leave a lock as a process of another machine leaves it that was killed."""
    with monkeypatch.context() as patch:
        patch.setattr(locks, "_machine", lambda: "another machine")
        with locks.hold(lock):
            content = lock.read_text()
    lock.write_text(content)


def test_a_held_lock_names_its_process_and_is_refused(lock):
    assert not locks.is_held(lock)
    with locks.hold(lock):
        assert locks.is_held(lock)
        assert f"process {os.getpid()} on " in locks.holder(lock)
        with pytest.raises(RunHeldError, match=f"is being trained by process {os.getpid()} on"):
            locks.hold(lock).__enter__()
    assert not locks.is_held(lock)


def test_the_lock_of_a_killed_process_is_free_at_once(lock, monkeypatch):
    killed = subprocess.run([sys.executable, "-c", HOLD_AND_DIE, str(lock)], check=False)
    assert killed.returncode == -9
    assert lock.read_text()
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waits"))
    assert not locks.is_held(lock)
    with locks.hold(lock):
        pass


def test_a_process_that_only_asks_does_not_get_in_the_way(lock):
    lock.touch()
    with open(lock) as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (asking, fcntl.LOCK_UN)).start()
        with locks.hold(lock):
            assert locks.is_held(lock)


def test_a_lock_that_another_machine_renews_is_refused_without_its_flock(lock, quick, monkeypatch):
    elsewhere(monkeypatch, lock)
    ended = threading.Event()
    with open(lock) as file:
        renewing = threading.Thread(target=locks._renew, args=(file.fileno(), ended))
        renewing.start()
        with pytest.raises(RunHeldError, match="is being trained by process"):
            locks.hold(lock).__enter__()
        assert locks.is_held(lock)
        ended.set()
        renewing.join()


def test_a_lock_that_a_dead_process_of_another_machine_left_is_taken_over(
    lock, quick, monkeypatch, capsys
):
    elsewhere(monkeypatch, lock)
    os.utime(lock, (1, 1))
    assert not locks.is_held(lock)
    with locks.hold(lock):
        assert f"process {os.getpid()}" in lock.read_text()
    assert "may still train it" in capsys.readouterr().out


def test_a_lock_that_was_given_back_elsewhere_is_free_at_once(lock, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(locks, "_machine", lambda: "another machine")
        with locks.hold(lock):
            pass
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waits"))
    with locks.hold(lock):
        pass


def test_a_held_lock_is_renewed(lock, quick):
    with locks.hold(lock):
        before = lock.stat().st_mtime_ns
        end = time.monotonic() + 10
        while lock.stat().st_mtime_ns == before and time.monotonic() < end:
            time.sleep(0.01)
        assert lock.stat().st_mtime_ns > before


def test_a_file_system_without_locks_is_refused(lock, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(RunError, match=r"has no locks .* Choose another runs_dir"):
        locks.hold(lock).__enter__()


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "hard link"])
def test_a_lock_that_is_no_regular_file_is_refused_and_nothing_behind_it_touched(lock, kind):
    victim = lock.with_name("victim")
    victim.write_text("kept")
    if kind == "link":
        lock.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(lock)
    elif kind == "directory":
        lock.mkdir()
    else:
        lock.hardlink_to(victim)
    with pytest.raises(RunError, match="lock"):
        locks.hold(lock).__enter__()
    assert not locks.is_held(lock)
    assert locks.holder(lock)
    assert victim.read_text() == "kept"


def test_a_lock_that_was_removed_or_replaced_is_noticed(lock):
    with locks.hold(lock):
        locks.require(lock)
        lock.unlink()
        with pytest.raises(RunError, match="is not the file any more that this process has locked"):
            locks.require(lock)
        lock.write_text("somebody else's")
        with pytest.raises(RunError, match="Nothing more is written there"):
            locks.require(lock)
    assert lock.read_text() == "somebody else's"
    locks.require(lock)  # which is not held any more


def test_a_lock_that_is_replaced_while_it_is_taken_is_not_held(lock, monkeypatch):
    flock = locks._flock

    def replaced(file, path):
        flock(file, path)
        path.unlink()
        path.touch()

    monkeypatch.setattr(locks, "_flock", replaced)
    with pytest.raises(RunError, match="another process may train"):
        locks.hold(lock).__enter__()


def test_a_lock_of_another_machine_that_is_dated_in_the_future_is_watched_and_not_believed(
    lock, quick, monkeypatch
):
    elsewhere(monkeypatch, lock)
    os.utime(lock, (2e9, 2e9 + 10 * 365 * 86400))
    assert not locks.is_held(lock)
    with locks.hold(lock):
        assert f"process {os.getpid()}" in lock.read_text()


def test_what_a_lock_says_cannot_steer_the_terminal(lock):
    lock.write_bytes(b"\x1b[2Jprocess 1\x07 on \xff\nmachine\n")
    assert locks.holder(lock).isprintable()


def test_a_process_that_ends_with_the_lock_does_not_wait_for_its_threads(lock):
    # Python 3.13 has stopped them for good when the lock is given back.
    subprocess.run([sys.executable, "-c", HOLD_TO_THE_END, str(lock)], check=True, timeout=60)
    with locks.hold(lock):
        pass
