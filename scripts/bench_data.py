"""Measure what the data costs in an epoch of MNIST: batches in memory against single images.

    python scripts/bench_data.py --root DIR [--repeats N]

Both pipelines shuffle, resize to 32×32, rotate by up to 30 degrees and normalise 60,000 images in
batches of 256; torchvision's works image by image in a DataLoader with two workers. An epoch is
taken of the data alone, and with a training step of LeNet with ReLU. Prints a Markdown table of
medians in seconds, with the fastest and the slowest.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Iterable

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pade_bench.data import MNIST
from pade_bench.models import build_model
from pade_bench.provenance import device_name

BATCH_SIZE, MAX_ROTATION, WORKERS = 256, 30.0, 2
Batches = Iterable[tuple[Tensor, Tensor]]


class Unresized(MNIST):
    """MNIST as it is published."""

    image_size = 28


class SingleImages(Dataset[tuple[Tensor, int]]):
    """MNIST image by image, as ``torchvision.datasets.MNIST`` gives it."""

    def __init__(self, root: str) -> None:
        train, _ = Unresized(root).load()
        self.images, self.labels = train.images.squeeze(1), train.labels
        self.transform = transforms.Compose(
            [
                transforms.Resize((MNIST.image_size, MNIST.image_size)),
                transforms.RandomRotation(MAX_ROTATION),
                transforms.ToTensor(),
                transforms.Normalize(*MNIST.normalization),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        return self.transform(image), int(self.labels[index])


def seconds(batches: Batches, model: nn.Module | None) -> float:
    """Return the time of one epoch, with a training step on each batch if there is a model."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002) if model else None
    start = time.perf_counter()
    for images, labels in batches:
        if model and optimizer:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", default="data", help="folder of MNIST, as data.root")
    parser.add_argument("--repeats", type=int, default=3, help="epochs of each kind (default: 3)")
    arguments = parser.parse_args()

    data = MNIST(arguments.root, BATCH_SIZE, MAX_ROTATION)
    data.setup()
    pipelines: dict[str, Batches] = {
        "in memory, batch by batch": data.train_dataloader(),
        f"torchvision, image by image, {WORKERS} workers": DataLoader(
            SingleImages(arguments.root), BATCH_SIZE, shuffle=True, num_workers=WORKERS
        ),
    }
    lenet = build_model("lenet", "relu").to(memory_format=torch.channels_last)
    times: dict[tuple[str, bool], list[float]] = {}
    for repeat in range(arguments.repeats + 1):
        for name, batches in pipelines.items():
            for trains in (False, True):
                taken = seconds(batches, lenet if trains else None)
                if repeat:  # the first round warms up
                    times.setdefault((name, trains), []).append(taken)

    print(
        f"{device_name(torch.device('cpu'))}, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}, torchvision "
        f"{torchvision.__version__}; median of {arguments.repeats} (fastest to slowest), seconds\n"
    )
    print("| pipeline | data alone | with LeNet | data, share of the epoch |")
    print("|---|---|---|---|")
    for name in pipelines:
        alone, trained = times[name, False], times[name, True]
        share = statistics.median(alone) / statistics.median(trained)
        print(f"| {name} | {summary(alone)} | {summary(trained)} | {share:.0%} |")
    ours, theirs = (
        [statistics.median(times[name, trains]) for trains in (False, True)] for name in pipelines
    )
    print(f"| ratio | {theirs[0] / ours[0]:.1f} × | {theirs[1] / ours[1]:.1f} × | |")


def summary(times: list[float]) -> str:
    """Return the median and the range."""
    return f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"


if __name__ == "__main__":
    main()
