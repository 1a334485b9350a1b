"""Time the report on ten thousand runs.

    python scripts/bench_report.py [--repeats N]

Writes run directories as training leaves them into a temporary folder: the paper's eight
experiments on MNIST, Fashion-MNIST and CIFAR-10 with 14 activations, 100 epochs each, once with
90 seeds, once with 5 seeds and 18 learning rates, 10,080 runs either way. Then it times
``python -m pade_bench.report`` on them from start to exit, the files being in the disk cache, and
prints a line for each.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from synthetic_runs import Runs

from pade_bench.report import names, paper

CASES = ((90, 1), (5, 18))  # seeds, learning rates
EXPERIMENTS = [e for e in paper.experiments() if not e.startswith("imagenet")]
ACTIVATIONS = (*paper.TABLE5, *names.PADE)


def write_runs(folder: Path, seeds: int, rates: int) -> int:
    """Write the runs; return their number."""
    runs = Runs(folder)
    for i in range(rates):
        changes = {"optim.weights.lr": 0.0101 * i} if i else None
        for experiment in EXPERIMENTS:
            for activation in ACTIVATIONS:
                for seed in range(seeds):
                    learned = activation in names.PADE and seed == 0
                    runs.finish(
                        experiment, activation, seed, changes=changes, epochs=100, learned=learned
                    )
    return rates * len(EXPERIMENTS) * len(ACTIVATIONS) * seeds


def main() -> None:
    """Write the runs of each case, time the report on them and print what it took."""
    parser = argparse.ArgumentParser(description="Time the report on ten thousand runs.")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
    for seeds, rates in CASES:
        with tempfile.TemporaryDirectory() as folder:
            n = write_runs(Path(folder) / "runs", seeds, rates)
            command = [sys.executable, "-m", "pade_bench.report"]
            seconds = []
            for _ in range(options.repeats):
                start = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
                seconds.append(time.perf_counter() - start)
            figures = len(list(Path(folder).glob("report/figures/*.png")))
        print(
            f"{n:,} runs in {n // seeds:,} groups, {figures} figures: median "
            f"{statistics.median(seconds):.1f} s of {sorted(round(s, 1) for s in seconds)}"
        )


if __name__ == "__main__":
    main()
