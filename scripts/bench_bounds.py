"""Time the ranges and lines of a Padé unit on a million intervals against its forward pass.

    python scripts/bench_bounds.py [--init swish]

All in float64 on the CPU, the median of some calls. Results are written to new memory, as by a
call alone, or to memory that earlier results left, as in a loop: for a forward pass of a fraction
of a millisecond that is most of the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from pade_bench import PAU, bounds

INTERVALS = 1_000_000
CALLS = 25


def milliseconds(function: Callable[[], Any], calls: int, keep: bool) -> float:
    """Return the median time of a call, whose results are kept, or freed before the next one."""
    function()
    times, kept = [], []
    for _ in range(calls):
        began = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - began)
        if keep:
            kept.append(result)
    return 1e3 * statistics.median(times)


def main() -> None:
    """Print a line for each kind of memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--init", default="swish", help="the function that the unit is like")
    options = parser.parse_args()
    torch.manual_seed(0)
    unit = PAU(init=options.init, dtype=torch.float64).requires_grad_(False)
    lower = 2 * torch.randn(INTERVALS, dtype=torch.float64)
    upper = lower + torch.rand_like(lower)
    print(f"PAU like {options.init}, {INTERVALS:,} intervals, {torch.get_num_threads()} threads")
    for memory, keep in (("new", True), ("used", False)):
        forward = milliseconds(lambda: unit(lower), CALLS, keep)
        ranges = milliseconds(lambda: bounds.interval(unit, lower, upper), CALLS, keep)
        lines = milliseconds(lambda: bounds.lines(unit, lower, upper), 3, keep)
        print(
            f"{memory:4} memory: forward {forward:.2f} ms  ranges {ranges:.1f} ms "
            f"({ranges / forward:.1f} x)  lines {lines:.0f} ms"
        )


if __name__ == "__main__":
    main()
