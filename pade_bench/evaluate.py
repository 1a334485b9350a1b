"""Scoring a trained network again: ``python -m pade_bench.evaluate RUN [--data DIR]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from pade_bench.errors import DataError, PadeBenchError, RunError, exit_with
from pade_bench.report.names import count
from pade_bench.training.module import count_correct
from pade_bench.training.reload import add_run_arguments, prepare_test_data, read_run, rebuild
from pade_bench.training.trainer import autocast, set_numerics

Scores = dict[str, float]
# What a record may hold, in the order in which they are counted, and what is said before them.
ACCURACIES = {"test_accuracy": "", "test_top5_accuracy": "top-5 "}


@torch.no_grad()
def evaluate(
    path: Path, data_root: str | None = None, trust: Sequence[str] = ()
) -> tuple[Scores, Scores, int]:
    """Score a run's network on its test set, in the precision in which it was trained.

    It is scored on a GPU if it was trained on one and there is one here, else on the CPU.

    Args:
        path: the run's directory.
        data_root: where the data lies, if not where it lay in training.
        trust: further packages whose code the run's configuration may run.

    Returns:
        the accuracies now and the recorded ones, in percent by their names in the record, and
        the number of test images.

    Raises:
        RunError: the run is not finished or cannot be loaded.
        DataError: the data set is missing, damaged or another.
    """
    run = read_run(path, trust)
    record = run.record()
    if record is None or record.test_accuracy is None:
        raise RunError(f"{path} has no recorded accuracy: the run is not finished.")
    if not record.verified:
        print(f"{path}: unverified, as its record has no checksum", file=sys.stderr)
    classifier = rebuild(run)
    data = prepare_test_data(run, data_root)
    if record.images is not None and not record.images.are(data.record_entries()):
        raise DataError(f"{path} was trained and scored on other images than these.")
    # Records of version 0.1 do not say where the network was trained.
    on_cpu = record.provenance is not None and record.provenance.gpu is None
    device = "cuda" if torch.cuda.is_available() and not on_cpu else "cpu"
    set_numerics(run.config.trainer)
    classifier.to(device)
    correct, seen = torch.zeros(2, dtype=torch.int64), 0
    for images, labels in data.test_dataloader():
        with autocast(run.config.trainer, device):
            logits = classifier(images.to(device))
        correct += count_correct(logits, labels.to(device)).cpu()
        seen += len(labels)
    recorded = {name: value for name in ACCURACIES if (value := getattr(record, name)) is not None}
    counted = dict(zip(ACCURACIES, correct.tolist(), strict=True))
    return {name: 100 * counted[name] / seen for name in recorded}, recorded, seen


def main(arguments: list[str] | None = None) -> int:
    """Score a run; return 0 if it gets the recorded accuracy, 1 if not, 2 if it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m pade_bench.evaluate",
        description="Score a trained network again and compare with what its run recorded.",
        epilog="Exit status: 0 if the accuracies agree to half a test image; 1 if not; 2 if the "
        "run cannot be scored.",
    )
    add_run_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        now, recorded, images = evaluate(options.run, options.data, options.trust)
    except PadeBenchError as error:
        print(f"pade_bench.evaluate: {error}", file=sys.stderr)
        return 2
    differs = False
    for name, accuracy in now.items():
        difference = round((accuracy - recorded[name]) * images / 100)
        differs |= difference != 0
        print(f"{ACCURACIES[name]}now      {accuracy:.4f} % of {count(images, 'test image')}")
        print(f"{ACCURACIES[name]}recorded {recorded[name]:.4f} %")
        changed = f"{difference:+d} image{'s' * (abs(difference) != 1)}: not the same"
        print(changed if difference else "the same")
    return 1 if differs else 0


if __name__ == "__main__":
    exit_with(main)
