"""The command line as a user types it."""

import contextlib
import io
import logging
import os
import subprocess
import sys

from hydra.core.global_hydra import GlobalHydra

from pade_bench.__main__ import main


def pade_bench(*arguments, cwd, module="pade_bench", **environment):
    """Return how ``python -m pade_bench`` ended in a folder, and what it said."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(*arguments, cwd):
    """Return the exit status and the errors of a command that must end before anything is trained.

    It runs in this process, which has imported everything that a new one would take seconds for.
    """
    errors, root = io.StringIO(), logging.getLogger()
    before = sys.argv, os.getcwd(), sys.path, root.handlers[:], root.level
    code = 0
    try:
        os.chdir(cwd)
        sys.argv, sys.path = ["pade_bench", *arguments], [str(cwd), *sys.path]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        GlobalHydra.instance().clear()
        sys.argv, folder, sys.path, root.handlers, root.level = before
        os.chdir(folder)
    return code, errors.getvalue()
