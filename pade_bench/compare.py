"""The ranking of activations: ``python -m pade_bench.compare [--runs DIR] [filters]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pade_bench.errors import PadeBenchError, RunError
from pade_bench.report.selection import add_arguments, read_groups
from pade_bench.report.tables.terminal import print_leaderboard


def main(arguments: list[str] | None = None) -> int:
    """Print the ranking; return 0, 1 if a record cannot be used, 2 if there is nothing to read."""
    parser = argparse.ArgumentParser(
        prog="python -m pade_bench.compare",
        description="Rank activations by test accuracy, and say in a sentence what that shows.",
        epilog="Exit status: 0; 1 if a record cannot be used, which is printed; 2 without a "
        "directory or where a filter matches nothing.",
    )
    add_arguments(parser)
    parser.add_argument(
        "--published", action="store_true",
        help="of the runs behind docs/results.md, which come with the package",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        if options.published:
            options.runs = published()
        groups, problems = read_groups(options)
    except PadeBenchError as error:
        print(f"pade_bench.compare: {error}", file=sys.stderr)
        return 2
    if not any(group.finished for group in groups):
        print(f"no finished runs in {options.runs}")
    print_leaderboard(groups)
    for problem in problems:
        print(f"cannot be used: {problem}", file=sys.stderr)
    return 1 if problems else 0


def published() -> Path:
    """Return the directory of the published runs: in the package, or beside it in a checkout.

    Raises:
        RunError: there is neither.
    """
    package = Path(__file__).parent
    places = [package / "results" / "runs", package.parent / "results" / "runs"]
    for place in places:
        if place.is_dir():
            return place
    raise RunError(f"the published runs are missing: neither {places[0]} nor {places[1]} is there.")


if __name__ == "__main__":
    sys.exit(main())
