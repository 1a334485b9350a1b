"""The ranking of activations: ``python -m pade_bench.compare [--runs DIR] [filters]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pade_bench.errors import PadeBenchError, exit_with
from pade_bench.report.selection import add_arguments, read_groups
from pade_bench.report.tables.terminal import print_leaderboard
from pade_bench.runs.records import unverified


def main(arguments: list[str] | None = None) -> int:
    """Print the ranking; return 0, 1 if a record cannot be used, 2 if there is nothing to read."""
    parser = argparse.ArgumentParser(
        prog="python -m pade_bench.compare",
        description="Rank activations by test accuracy, and say in a sentence what that shows.",
        epilog="Exit status: 0; 1 if a record cannot be used, which is printed; 2 without a "
        "directory or where a filter matches nothing.",
    )
    add_arguments(parser, published())
    options = parser.parse_args(arguments)
    try:
        groups, problems = read_groups(options)
    except PadeBenchError as error:
        print(f"pade_bench.compare: {error}", file=sys.stderr)
        return 2
    if not any(group.finished for group in groups):
        print(f"no finished runs in {options.runs}")
    print_leaderboard(groups)
    for sentence in unverified(run for group in groups for run in group.runs):
        print(sentence, file=sys.stderr)
    for problem in problems:
        print(f"cannot be used: {problem}", file=sys.stderr)
    return 1 if problems else 0


def published() -> Path:
    """Return the directory of the published runs: in the package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "results" / "runs"
    return installed if installed.is_dir() else package.parent / "results" / "runs"


if __name__ == "__main__":
    exit_with(main)
