"""The command line as a user types it."""

import subprocess
import sys


def pade_bench(*arguments, cwd):
    """Return how ``python -m pade_bench`` ended in a folder, and what it said."""
    return subprocess.run(
        [sys.executable, "-m", "pade_bench", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
