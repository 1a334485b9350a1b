"""The errors a user can cause, worded so that the message alone says what to do."""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

NOBODY_READS = 128 + 13  # the status of a command that SIGPIPE has ended, as shells give it


class PadeBenchError(Exception):
    """Base of the errors whose message is all that the command line prints."""

    exit_code = 2


class ConfigurationError(PadeBenchError, ValueError):
    """A setting is unknown, has the wrong type or an impossible value."""


class DataError(PadeBenchError, RuntimeError):
    """A data set is missing, incomplete or not what it should be."""


class RunError(PadeBenchError, RuntimeError):
    """A run directory cannot be used: held, damaged, unwritable, or made with other settings."""


class DamagedError(RunError):
    """A file of a run is not what was once written: half of it is missing, or bits have changed."""

    def __init__(self, path: Path, reason: object) -> None:
        self.path = path
        self.reason = printable(str(reason))
        super().__init__(
            f"{path} is damaged ({self.reason}). It is left as it is; restart=true moves it aside "
            "and starts the run anew."
        )


class RunHeldError(RunError):
    """Another process is training the run."""

    exit_code = 3


class SweepError(PadeBenchError, RuntimeError):
    """Jobs of a sweep have no result."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        super().__init__(message)


def exit_with(command: Callable[[], int | None]) -> NoReturn:
    """End the process with the status that a command returns.

    Where nobody reads on (``| head``), it ends without a traceback, with a shell's status for that;
    what the terminal cannot show (``LC_ALL=C``) is printed as a question mark.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        try:
            status = command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = NOBODY_READS
    sys.exit(status or 0)


def printable(text: str) -> str:
    """Return a text of somebody else's that cannot steer a terminal or forge further lines."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'pau'?"`` for the allowed name nearest to ``name``, or ``""``."""
    nearest = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.5)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def one_of(what: str, value: object, allowed: Iterable[str]) -> str:
    """Word the refusal of ``value`` where ``what`` must be one of ``allowed``."""
    allowed = list(allowed)
    return (
        f"{what}={value!r} is not one of {', '.join(allowed)}.{did_you_mean(str(value), allowed)}"
    )
