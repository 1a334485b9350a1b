"""The command line: ``python -m pade_bench.report [--runs DIR] [--out DIR] [filters]``."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from pade_bench.errors import PadeBenchError, exit_with
from pade_bench.report.build import build
from pade_bench.report.selection import add_arguments, read_groups
from pade_bench.runs.files import user_path


def main(arguments: list[str] | None = None) -> int:
    """Write the report; return 0, or 1 if runs had to be left out, or 2 if there is no report."""
    parser = argparse.ArgumentParser(
        prog="python -m pade_bench.report",
        description="Turn run records into a leaderboard and the paper's tables and figures.",
        epilog="Exit status: 0; 1 if a record could not be used and was left out, which is "
        "printed; 2 if there is no report.",
    )
    add_arguments(parser)
    parser.add_argument("--out", type=user_path, default=Path("report"), help="default: report")
    options = parser.parse_args(arguments)
    try:
        problems = build(*read_groups(options), options.out)
    except PadeBenchError as error:
        print(f"pade_bench.report: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    print(options.out / "index.html")
    return 1 if problems else 0


if __name__ == "__main__":
    # Ten thousand records are a million objects that all stay: looking for garbage among them,
    # here and in the processes that draw, costs more than the garbage.
    gc.disable()
    exit_with(main)
