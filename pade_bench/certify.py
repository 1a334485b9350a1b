"""How robust a trained network provably is: ``python -m pade_bench.certify RUN --epsilon 0.01``."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from pade_bench.bounds.attack import RESTARTS, STEPS
from pade_bench.bounds.robustness import Robustness, measure
from pade_bench.data import ImageDataModule
from pade_bench.errors import (
    ConfigurationError,
    DataError,
    PadeBenchError,
    RunError,
    exit_with,
    one_of,
)
from pade_bench.report.names import count
from pade_bench.runs import certificate as certificates
from pade_bench.runs.files import time_stamp, write_atomically, writing_to
from pade_bench.runs.home import Run
from pade_bench.runs.record import FINISHED, Record
from pade_bench.training.provenance import provenance
from pade_bench.training.reload import add_run_arguments, prepare_test_data, read_run, rebuild

EPSILONS = "0.001,0.002,0.005,0.01,0.02,0.05,0.1"
IMAGES = 1000
_NAMES = ("experiment", "data", "model", "activation", "seed", "config_hash")


def certify(
    path: Path,
    epsilons: Sequence[float],
    images: int = IMAGES,
    method: str = "crown",
    data_root: str | None = None,
    trust: Sequence[str] = (),
) -> dict[str, Any]:
    """Certify a finished run on the first of its test images, on the CPU, and keep the certificate.

    A certificate of the same checkpoint with the same settings is returned as it is; another is
    kept under another name.

    Args:
        path: the run's directory, into which ``certificate.json`` is written.
        epsilons: by how much each pixel may change, of a scale from 0 to 1.
        images: how many.
        method: ``"crown"`` or ``"ibp"``.
        data_root: where the data lies, if not where it lay in training.
        trust: further packages whose code the run's configuration may run.

    Returns:
        what ``certificate.json`` holds.

    Raises:
        ConfigurationError: an argument is none of the above, or the network has an operation
            without bounds.
        RunError: the run is not finished, has diverged or cannot be loaded.
        DataError: the data set is missing or damaged, or has fewer images.
    """
    if method not in certificates.METHODS:
        raise ConfigurationError(one_of("method", method, certificates.METHODS))
    run = read_run(path, trust)
    record = _finished(run)
    epsilons = sorted(set(epsilons))
    settings: dict[str, Any] = {
        **{name: getattr(record, name) for name in _NAMES},
        "checkpoint": _hash(run.checkpoint),
        "method": method,
        "images": images,
        "epsilons": epsilons,
        "attack": {"name": "PGD", "steps": STEPS, "starts": RESTARTS},
    }
    if (known := _known(run.directory / certificates.FILE, settings)) is not None:
        print(f"{run.directory / certificates.FILE} holds this already.")
        return known
    classifier = rebuild(run)
    data = prepare_test_data(run, data_root)
    pixels, labels = first_images(data, images)
    results = []
    console = Console(stderr=True)

    def show(batches: Sequence[Tensor], what: str) -> Iterable[Tensor]:
        hidden = not console.is_terminal
        return track(batches, what, console=console, transient=True, disable=hidden)

    print(_HEAD, flush=True)
    for found in measure(
        classifier.network, pixels, labels, data.normalization, epsilons, method, show
    ):
        results.append(_percentages(found, images))
        print(_line(results[-1]), flush=True)
    certificate = {
        **settings,
        "results": results,
        "provenance": dataclasses.asdict(provenance(torch.device("cpu"), pade_units=False)),
    }
    text = certificates.to_json(certificate)
    with writing_to(run.directory):
        aside = run.directory / f"certificate.before-{time_stamp()}.json"
        write_atomically(run.directory / certificates.FILE, text.encode(), keep_as=aside)
    return certificate


def first_images(data: ImageDataModule, n: int) -> tuple[Tensor, Tensor]:
    """Return the first test images and their labels, as the network meets them.

    Returns:
        (n, C, H, W) float32 pixels from 0 to 1, multiples of 1/255, and (n,) labels.

    Raises:
        ConfigurationError: ``n`` is not a positive whole number.
        DataError: there are fewer, or these are not images of that kind.
    """
    if n < 1:
        raise ConfigurationError(f"images={n} is not a positive whole number.")
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in data.normalization)
    images, labels, seen = [], [], 0
    for batch, batch_labels in data.val_dataloader():
        # Loaders give normalized images; what they were made of are whole numbers.
        levels = ((batch * std + mean) * 255).round()
        again = (levels / 255 - mean) / std
        if not bool((again - batch).abs().max() <= 1e-3):
            raise DataError("the test images are not pixels of 256 levels, normalized.")
        images.append(levels / 255)
        labels.append(batch_labels)
        seen += len(batch)
        if seen >= n:
            return torch.cat(images)[:n], torch.cat(labels)[:n]
    raise DataError(f"images={n}: the data set has {count(seen, 'test image')} only.")


def _finished(run: Run) -> Record:
    record = run.record()
    if record is None:
        raise RunError(f"{run.directory} has no record: the run is not finished.")
    if record.status != FINISHED:
        raise RunError(f"{run.directory} has {record.status}: there is nothing to certify.")
    return record


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error


def _known(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the certificate that is there, if it is sound and has these settings."""
    try:
        found = certificates.read_values(path)
    except (OSError, ValueError):
        return None
    return found if all(found.get(key) == settings[key] for key in settings) else None


def _percentages(found: Robustness, images: int) -> dict[str, Any]:
    def width(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "epsilon": found.epsilon,
        "clean_accuracy": 100 * found.correct / images,
        "attacked_accuracy": 100 * found.unbroken / images,
        "certified_accuracy": 100 * found.certified / images,
        "bounded_images": found.bounded,
        "mean_width": width(found.mean_width),
        "median_width": width(found.median_width),
        "bound_seconds": found.bound_seconds,
        "attack_seconds": found.attack_seconds,
    }


_HEAD = "ε        clean %  attacked %  certified %  mean width  seconds"


def _line(result: dict[str, Any]) -> str:
    width = result["mean_width"]
    seconds = result["bound_seconds"] + result["attack_seconds"]
    return (
        f"{result['epsilon']:<8g} {result['clean_accuracy']:7.2f}  "
        f"{result['attacked_accuracy']:10.2f}  {result['certified_accuracy']:11.2f}  "
        f"{'–' if width is None else f'{width:.4g}':>10}  {seconds:7.1f}"
    )


def _epsilons(text: str) -> list[float]:
    found = []
    for part in text.split(","):
        if re.fullmatch(r"0\d+", part.strip()):
            raise ConfigurationError(
                f"--epsilon {text}: {part!r} is not a number from 0 to 1. A comma separates two of "
                "them: write 0.01."
            )
        try:
            epsilon = float(part)
        except ValueError:
            epsilon = math.nan
        if not 0 <= epsilon <= 1:
            raise ConfigurationError(
                f"--epsilon {text}: {part!r} is not a number from 0 to 1. It says by how much each "
                "pixel may change, of a scale from 0 to 1."
            )
        found.append(epsilon)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Certify a run; return 0, or 2 if it cannot be certified."""
    parser = argparse.ArgumentParser(
        prog="python -m pade_bench.certify",
        description="Prove how many test images a trained network classifies right whatever "
        "happens to their pixels, up to some amount; and attack it, which shows how many it does "
        "not. The certificate is kept in the run's directory.",
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--epsilon", metavar="E,E,…", default=EPSILONS,
        help=f"by how much each pixel may change, of a scale from 0 to 1; default {EPSILONS}",
    )  # fmt: skip
    parser.add_argument(
        "--images", metavar="N", type=int, default=IMAGES,
        help=f"how many, the first of the test set; default {IMAGES}",
    )  # fmt: skip
    parser.add_argument(
        "--method", choices=certificates.METHODS, default="crown",
        help="crown: linear bounds; ibp: intervals, fast and much wider; default crown",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        certify(
            options.run, _epsilons(options.epsilon), options.images, options.method,
            options.data, options.trust,
        )  # fmt: skip
    except PadeBenchError as error:
        print(f"pade_bench.certify: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    exit_with(main)
