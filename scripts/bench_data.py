"""Measure what the data costs, as Markdown tables of medians with the fastest and the slowest.

    python scripts/bench_data.py mnist --root DIR    an epoch of MNIST, with LeNet
    python scripts/bench_data.py cifar10             an epoch of CIFAR-10, against VGG-8's
    python scripts/bench_data.py imagenet            images a second by the number of workers

MNIST and CIFAR-10: batches in memory against torchvision's transforms image by image in a
DataLoader with two workers. An epoch of VGG-8 takes minutes, so it is its step that is timed, and
multiplied. The pictures of CIFAR-10 and ImageNet are made up: 32×32 bytes at random, and JPEGs of
500×375 pixels with soft shapes and noise, of about 100 kB.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from pade_bench.data import CIFAR10, MNIST, ImageNet
from pade_bench.data.folder import decode
from pade_bench.data.loader import Split
from pade_bench.models import build_model
from pade_bench.training.provenance import device_name

WORKERS = 2
Batches = Iterable[tuple[Tensor, Tensor]]


class UnresizedMNIST(MNIST):
    """MNIST as it is published."""

    image_size = 28


class RandomCIFAR10(CIFAR10):
    """As many images as CIFAR-10 has, made up."""

    def load(self) -> tuple[Split, Split]:
        """Return the two splits."""
        train, test = (
            Split(torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (n,)))
            for n in (50_000, 10_000)
        )
        return train, test


class SingleImages(Dataset[tuple[Tensor, int]]):
    """A split image by image, as torchvision's data sets give it."""

    def __init__(self, split: Split, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images = split.images.permute(0, 2, 3, 1).squeeze(3).numpy()
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor]) -> None:
    """Train on one batch."""
    images, labels = batch
    optimizer.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()


def epoch(batches: Batches, train: Callable[[tuple[Tensor, Tensor]], None] | None = None) -> float:
    """Return the seconds that an epoch takes."""
    start = time.perf_counter()
    for batch in batches:
        if train:
            train(batch)
    return time.perf_counter() - start


def training(name: str, in_channels: int) -> Callable[[tuple[Tensor, Tensor]], None]:
    """Return what trains a network with ReLU on a batch."""
    model = build_model(name, "relu", in_channels=in_channels)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return lambda batch: step(model, optimizer, batch)


def bench_mnist(root: str, repeats: int) -> None:
    """Print an epoch's time, data alone and with LeNet, for both pipelines."""
    data = MNIST(root)
    data.setup()
    usual = transforms.Compose(
        [
            transforms.Resize((MNIST.image_size, MNIST.image_size)),
            transforms.RandomRotation(30.0),
            transforms.ToTensor(),
            transforms.Normalize(*MNIST.normalization),
        ]
    )
    single = SingleImages(UnresizedMNIST(root).load()[0], usual)
    lenet = training("lenet", in_channels=1)
    pipelines = both(data.train_dataloader(), single, data.batch_size)
    times = take_turns(
        {
            (name, trains): lambda b=batches, t=lenet if trains else None: epoch(b, t)
            for name, batches in pipelines.items()
            for trains in (False, True)
        },
        repeats,
    )
    print("| pipeline, seconds an epoch | data alone | with LeNet | data, share of the epoch |")
    print("|---|---|---|---|")
    for name in pipelines:
        alone, trained = times[name, False], times[name, True]
        share = statistics.median(alone) / statistics.median(trained)
        print(f"| {name} | {summary(alone)} | {summary(trained)} | {share:.0%} |")
    ratios = (ratio([times[name, trains] for name in pipelines]) for trains in (False, True))
    print(f"| ratio | {' | '.join(ratios)} | |")


def bench_cifar10(repeats: int) -> None:
    """Print an epoch's data time for both pipelines and the time that VGG-8 trains."""
    data = RandomCIFAR10()
    data.prepare_data()
    data.setup()
    usual = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(*CIFAR10.normalization),
        ]
    )
    loader = data.train_dataloader()
    pipelines = both(loader, SingleImages(data.load()[0], usual), data.batch_size)
    vgg8, batch = training("vgg8", in_channels=3), next(iter(loader))
    steps = 20

    def train() -> float:
        return epoch([batch] * steps, vgg8) * len(loader) / steps

    measured: dict[str, Callable[[], float]] = {
        name: lambda b=batches: epoch(b)  # type: ignore[misc]
        for name, batches in pipelines.items()
    }
    times = take_turns(measured | {"VGG-8": train}, repeats)
    trained = statistics.median(times["VGG-8"])
    print(
        f"An epoch of VGG-8 with ReLU, {len(loader)} steps of {data.batch_size} images: "
        f"{summary(times['VGG-8'])} s, from {steps} steps each time.\n"
    )
    print("| pipeline | data alone, seconds an epoch | share of VGG-8's epoch |\n|---|---|---|")
    for name in pipelines:
        share = statistics.median(times[name]) / trained
        print(f"| {name} | {summary(times[name])} | {share:.1%} |")
    print(f"| ratio | {ratio([times[name] for name in pipelines])} | |")


def both(batches: Batches, single: SingleImages, batch_size: int) -> dict[str, Batches]:
    """Return our pipeline and torchvision's by name."""
    return {
        "in memory, batch by batch": batches,
        f"torchvision, image by image, {WORKERS} workers": DataLoader(
            single, batch_size, shuffle=True, num_workers=WORKERS
        ),
    }


def bench_imagenet(repeats: int) -> None:
    """Print images a second for numbers of workers, and what decoding takes in other ways."""
    classes, per_class = 8, 64
    with tempfile.TemporaryDirectory() as root:
        size = write_jpegs(Path(root), classes, per_class)
        n = classes * per_class
        counts = sorted({0, 1, 2, os.cpu_count() or 1})
        loaders = {}
        for workers in counts:
            data = ImageNet(root, batch_size=64, classes=classes, workers=workers)
            data.prepare_data()
            for split, loader in (
                ("train", data.train_dataloader()),
                ("test", data.val_dataloader()),
            ):
                loaders[workers, split] = lambda b=loader: epoch(b)
        times = take_turns(loaders, repeats)
        print(f"{n} JPEGs of 500×375 pixels and {size / n / 1000:.0f} kB, batches of 64.\n")
        print("| workers | train, images a second | test, images a second |\n|---|---|---|")
        for workers in counts:
            rates = (summary([n / t for t in times[workers, s]], 0) for s in ("train", "test"))
            print(f"| {workers} | {' | '.join(rates)} |")
        content = next(Path(root).glob("train/*/*")).read_bytes()
    print("\n| one training image in one thread, milliseconds | |\n|---|---|")
    for name, taken in take_turns(ways_to_decode(content), repeats).items():
        print(f"| {name} | {summary([1000 * t for t in taken])} |")


def ways_to_decode(content: bytes) -> dict[str, Callable[[], float]]:
    """Return what times the pipeline of this package and two others on one image."""
    augment = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()])
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    ways: dict[str, Callable[[], object]] = {
        "Pillow, then v2 transforms of a tensor (ours)": lambda: augment(decode(content)),
        "Pillow, then v2 transforms of a Pillow image": lambda: v2.functional.pil_to_tensor(
            augment(Image.open(io.BytesIO(content)).convert("RGB"))
        ),
        "torchvision.io, then v2 transforms of a tensor": lambda: augment(
            decode_image(data, ImageReadMode.RGB)
        ),
    }

    def mean(run: Callable[[], object], times: int = 100) -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a worker
        start = time.perf_counter()
        for _ in range(times):
            run()
        taken = (time.perf_counter() - start) / times
        torch.set_num_threads(before)
        return taken

    return {name: lambda r=run: mean(r) for name, run in ways.items()}  # type: ignore[misc]


def write_jpegs(root: Path, classes: int, per_class: int) -> int:
    """Write both splits, the same images in each, and return the bytes in one of them."""
    rng = np.random.default_rng(0)
    size = 0
    for k in range(classes):
        folders = [root / split / f"class_{k}" for split in ("train", "val")]
        for folder in folders:
            folder.mkdir(parents=True)
        for i in range(per_class):
            shapes = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
            soft = np.asarray(shapes.resize((500, 375), Image.Resampling.BICUBIC))
            noisy = (soft + rng.normal(0, 16, soft.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folders[0] / f"{i}.JPEG", quality=90)
            os.link(folders[0] / f"{i}.JPEG", folders[1] / f"{i}.JPEG")
            size += (folders[0] / f"{i}.JPEG").stat().st_size
    return size


def take_turns(measured: dict, repeats: int) -> dict:
    """Return ``repeats`` values of each measurement, made in turns, after one to warm up."""
    rounds = [{key: measure() for key, measure in measured.items()} for _ in range(repeats + 1)]
    return {key: [values[key] for values in rounds[1:]] for key in measured}


def ratio(pipelines: list[list[float]]) -> str:
    """Return how much longer the second of two takes than the first."""
    ours, theirs = map(statistics.median, pipelines)
    return f"{theirs / ours:.1f} ×"


def summary(values: list[float], digits: int = 2) -> str:
    """Return the median and the range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data", nargs="?", default="mnist", choices=("mnist", "cifar10", "imagenet")
    )
    parser.add_argument("--root", default="data", help="folder of MNIST, as data.root")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (default: 3)")
    arguments = parser.parse_args()
    print(
        f"{device_name(torch.device('cpu'))}, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}, torchvision "
        f"{torchvision.__version__}; median of {arguments.repeats} (fastest to slowest)\n"
    )
    if arguments.data == "mnist":
        bench_mnist(arguments.root, arguments.repeats)
    elif arguments.data == "cifar10":
        bench_cifar10(arguments.repeats)
    else:
        bench_imagenet(arguments.repeats)


if __name__ == "__main__":
    main()
