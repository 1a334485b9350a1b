"""Whole runs of the command line, each a process of its own, that need the framework and MNIST."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pade_bench.gpu_check.outcome import Outcome

EPOCHS = {"mnist_lenet": 100, "mnist_vgg8": 3}
TARGETS = {"mnist_lenet": 0.16, "mnist_vgg8": 0.75}  # seconds an epoch, with its test pass
COMMAND_TARGETS = {"mnist_lenet": 25.0}  # seconds from start to record
LEARNS = 50.0  # percent on the test set after two epochs: one that does not learn has some 11
AT_ONCE = 4  # processes that share the GPU where nothing is timed


def train(*overrides: str) -> tuple[dict[str, Any], float]:
    """Return the record of a run with these settings, and the seconds that its command took.

    Raises:
        RuntimeError: it failed; the message is its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pade_bench", f"runs_dir={folder}", *overrides]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "trainer.progress_bar=false"], capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - began
        records = list(Path(folder).rglob("record.json"))
        if done.returncode or len(records) != 1:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise RuntimeError(f"{' '.join(overrides)}: {said[-1] if said else 'no record'}")
        return json.loads(records[0].read_text(encoding="utf-8")), seconds


def epochs(
    out: Outcome, settings: Sequence[str], experiments: Sequence[str] = tuple(EPOCHS)
) -> None:
    """Time whole commands, and their epochs with the test pass; ReLU and PAU.

    An epoch is the median of those after the first, in which kernels are compiled and graphs
    captured.

    Args:
        out: where it is told.
        settings: such as ``data.root=DIR``.
        experiments: of those in ``EPOCHS``.
    """
    for experiment in experiments:
        relu = None
        for activation in ("relu", "pau"):
            n = EPOCHS.get(experiment, 2)
            record, seconds = train(
                f"experiment={experiment}", f"activation={activation}",
                f"trainer.max_epochs={n}", *settings,
            )  # fmt: skip
            epoch = statistics.median(record["wall_seconds_per_epoch"][1:])
            relu = relu or epoch
            limit, whole_limit = TARGETS.get(experiment), COMMAND_TARGETS.get(experiment)
            out.table.append(
                {
                    "experiment": experiment,
                    "activation": activation,
                    "device": record["provenance"]["device"],
                    "s an epoch": epoch,
                    "first epoch, s": record["wall_seconds_per_epoch"][0],
                    "× ReLU": epoch / relu,
                    "target": None if limit is None else f"≤ {limit} s",
                    "met": None if limit is None else epoch <= limit,
                    "epochs": n,
                    "command, s": seconds,
                    "command target": None if whole_limit is None else f"≤ {whole_limit} s",
                    "command met": None if whole_limit is None else seconds <= whole_limit,
                }
            )


def learning(
    out: Outcome,
    settings: Sequence[str],
    experiment: str = "mnist_vgg8",
    seeds: Sequence[int] = range(5),
) -> None:
    """Count the seeds that learn in two epochs, with ReLU and PAU, with TF32 and without."""
    for activation in ("relu", "pau"):
        for tf32 in ("convolutions", "none"):
            fixed = (
                f"experiment={experiment}", f"activation={activation}", f"trainer.tf32={tf32}",
                "trainer.max_epochs=2", *settings,
            )  # fmt: skip
            with ThreadPoolExecutor(AT_ONCE) as pool:
                trained = [pool.submit(train, *fixed, f"seed={seed}") for seed in seeds]
                found = [one.result()[0]["test_accuracy"] for one in trained]
            out.table.append(
                {
                    "activation": activation,
                    "TF32": tf32,
                    "seeds": len(found),
                    "learn": sum(a is not None and a > LEARNS for a in found),
                    "test accuracy after 2 epochs, %": ", ".join(
                        "diverged" if a is None else f"{a:.2f}" for a in found
                    ),
                }
            )
