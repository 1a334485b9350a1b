"""Time a few small runs one after another and several at a time, on this machine's cores.

    python scripts/bench_packing.py [--experiment NAME] [--seeds 4] [--epochs 40] [--rounds 3]

Everything that a user waits for is in the times: starting the processes, training, testing,
checkpoints. The ways take turns, and the median of the rounds counts. Results of one round are
compared: a run that shares the machine has the bits of one that has it alone, with as many threads.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pade_bench.runs.records import read_runs
from pade_bench.training.provenance import device_name

CORES = len(os.sched_getaffinity(0))
PACKED = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}")
# joblib gives each job its share of the cores by all of these.
CROWDED = (
    *PACKED,
    *(f"+hydra.job.env_set.{library}_NUM_THREADS={CORES}" for library in ("OMP", "MKL")),
)


@dataclass
class Way:
    """A way to run the jobs, and what it took."""

    name: str
    arguments: tuple[str, ...]
    threads: int
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    losses: dict[int, Sequence[float]] = field(default_factory=dict)


WAYS = (
    Way(f"one after another, {CORES} threads", (), CORES),
    Way("one after another, 1 thread", (), 1),
    Way(f"{CORES} at a time, 1 thread each", PACKED, 1),
    Way(f"{CORES} at a time, {CORES} threads each", CROWDED, CORES),
    Way(
        f"{CORES} at a time, {CORES} threads each that spin while they wait",
        (*CROWDED, "hydra.job.env_set.OMP_WAIT_POLICY=ACTIVE"),
        CORES,
    ),
)


def run(way: Way, experiment: str, seeds: int, epochs: int, activation: str) -> None:
    """Run the jobs once and add what it took."""
    with tempfile.TemporaryDirectory(prefix="packing-") as folder:
        command = [
            sys.executable, "-m", "pade_bench", "-m", f"experiment={experiment}",
            f"activation={activation}", f"seed={','.join(map(str, range(seeds)))}",
            f"trainer.max_epochs={epochs}", "trainer.accelerator=cpu", f"runs_dir={folder}",
            *way.arguments,
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": str(way.threads)}
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if result.returncode != 0:
            raise SystemExit(result.stdout + result.stderr)
        way.seconds.append(seconds)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        way.busy.append(cpu / seconds / CORES)
        for found in read_runs(Path(folder))[0]:
            way.epoch_seconds += found.seconds_per_epoch
            way.losses[found.seed] = found.loss_per_epoch
            if found.provenance.threads != way.threads:
                raise SystemExit(f"{way.name}: {found.provenance.threads} threads")


def main() -> None:
    """Measure and print a table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--experiment", default="digits_lenet")
    parser.add_argument("--activation", default="pau")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for _ in range(options.rounds):
        for way in WAYS:
            run(way, options.experiment, options.seeds, options.epochs, options.activation)
            print(f"{way.name}: {way.seconds[-1]:.1f} s", file=sys.stderr)
    baseline = statistics.median(WAYS[0].seconds)
    print("| | seconds | speed | cores busy | seconds of an epoch |\n|---|---|---|---|---|")
    for way in WAYS:
        seconds = statistics.median(way.seconds)
        print(
            f"| {way.name} | {seconds:.1f} ({min(way.seconds):.1f} – {max(way.seconds):.1f}) "
            f"| {baseline / seconds:.2f} × | {statistics.median(way.busy):.0%} "
            f"| {statistics.median(way.epoch_seconds):.2f} |"
        )
    same = WAYS[1].losses == WAYS[2].losses
    print(
        f"\n{options.seeds} runs of {options.experiment} with {options.activation}, "
        f"{options.epochs} epochs, median of {options.rounds} rounds (smallest – largest), on "
        f"{CORES} × {device_name(torch.device('cpu'))}, torch {torch.__version__}. With one "
        f"thread, alone and beside others: {'the same bits' if same else 'OTHER BITS'}."
    )
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
