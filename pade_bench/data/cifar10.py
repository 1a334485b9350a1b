"""CIFAR-10 (Krizhevsky, 2009)."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar

import numpy as np
import torch
import torchvision

from pade_bench.data.augmentation import RandomCropAndFlip
from pade_bench.data.files import (
    PublishedFiles,
    read_bytes,
    truncated_or_corrupted,
    unpacked,
    verify,
)
from pade_bench.data.loader import Normalization, Split
from pade_bench.data.module import InMemoryImages
from pade_bench.errors import DataError

TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = "test_batch"
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_BYTES = 170_498_071
# Of a batch: 10,000 images, each with a label and a name.
MOST_BYTES = 10_000 * (3 * 32 * 32 + 50)


class CIFAR10(InMemoryImages):
    """Small color pictures of ten kinds of things: 50,000 to train, 10,000 to test, 32×32.

    The six batches of the Python version are looked for where torchvision keeps them
    (``root/cifar-10-batches-py``) and directly in ``root``, then in the published archive
    ``root/cifar-10-python.tar.gz``, which is read without being unpacked, and downloaded by
    torchvision if they are in none of these. They must be the official files, byte for byte.
    Files that are there are never changed.

    The batches are pickles, which can run code when they are read: a batch is unpickled only once
    its checksum is right, and then only into arrays, lists and texts.

    Args:
        root: folder of the data.
        batch_size: images in a batch of each process.
        padding: training images are shifted by up to this many pixels either way, and mirrored.
        seed: of the order and the augmentation.

    Raises:
        ConfigurationError: an impossible ``batch_size``, ``padding`` or ``seed``.
    """

    in_channels = 3
    num_classes = 10
    normalization = Normalization(  # [authors' code]
        mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)
    )
    downloader: ClassVar[type[torchvision.datasets.CIFAR10]] = torchvision.datasets.CIFAR10

    def __init__(
        self, root: str | Path = "data", batch_size: int = 64, padding: int = 4, seed: int = 0
    ) -> None:
        super().__init__(root, batch_size, seed, RandomCropAndFlip(padding))

    def load(self) -> tuple[Split, Split]:
        """Find or download the batches, verify and read them.

        Raises:
            DataError: they are missing and cannot be downloaded, some of them are missing, or
                one is damaged or another file.
        """
        checksums = {"CIFAR10": dict(self.downloader.train_list + self.downloader.test_list)}
        batches = {}
        for name, source, content in self._contents():
            verify(content, source, name, "CIFAR10", checksums)
            batches[name] = read_batch(content)
        parts = [batches[name] for name in TRAIN]
        train = Split(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        return train, batches[TEST]

    def _contents(self) -> Iterator[tuple[str, Path, bytes]]:
        """Yield the name of each batch, where it comes from, and what it holds."""
        files = PublishedFiles(
            "CIFAR10", self.root, self.downloader.base_folder, (*TRAIN, TEST), ARCHIVE_BYTES,
            archive=ARCHIVE,
        )  # fmt: skip
        if files.complete() is None and (archive := files.path(self.root, ARCHIVE)):
            yield from _read_archive(archive, files.names)
            return
        folder = files.obtain(
            lambda to: self.downloader(str(to), download=True),
            what_to_copy=f"{', '.join(files.names)} into one of these folders, or {ARCHIVE} into "
            "the latter",
        )
        for name in files.names:
            path = files.path(folder, name) or folder / name
            yield name, path, read_bytes(path, MOST_BYTES)


def read_batch(content: bytes) -> Split:
    """Return the images and labels of a batch in the published format.

    A pickled dictionary, written by Python 2: ``data`` holds a row of 3 × 32 × 32 bytes for each
    image, ``labels`` a number from 0 to 9 (https://www.cs.toronto.edu/~kriz/cifar.html).
    """
    batch = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    images = torch.from_numpy(batch["data"]).view(-1, 3, 32, 32)
    return Split(images, torch.tensor(batch["labels"], dtype=torch.int64))


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles that hold arrays and plain Python values, and refuses all others unrun."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        # Where NumPy kept it when the files were written.
        ("numpy.core.multiarray", "_reconstruct"): np.ndarray(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"a batch of CIFAR-10 holds no {module}.{name}")
        return self.ALLOWED[module, name]


class _Bounded:
    """A file of which no more can be read than an archive may hold."""

    def __init__(self, file: IO[bytes], most_bytes: int) -> None:
        self.file = file
        self.left = most_bytes

    def read(self, size: int) -> bytes:
        content = self.file.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise OSError("it unpacks to more than the published one")
        return content


def _read_archive(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, Path, bytes]]:
    """Yield the batches in a ``.tar``, compressed or not, whatever it is called."""
    missing = set(names)
    try:
        with path.open("rb") as file, unpacked(file) as content:
            bounded: Any = _Bounded(content, (len(names) + 1) * MOST_BYTES)
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                for member in archive:
                    name = PurePosixPath(member.name).name
                    if name not in missing or not member.isreg() or member.size > MOST_BYTES:
                        continue
                    if (found := archive.extractfile(member)) is not None:
                        missing.remove(name)
                        yield name, path / name, found.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise truncated_or_corrupted(path, error) from error
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}. Replace it by a fresh copy.")
