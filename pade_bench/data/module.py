"""What every data set is, and the data sets that live in memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from pade_bench.data.augmentation import Augmentation, RandomRotation
from pade_bench.data.loader import (
    ALONE,
    BatchLoader,
    Chunks,
    EpochSampler,
    Normalization,
    Shard,
    ShuffledLoader,
    Split,
)
from pade_bench.data.seeding import epoch_seed
from pade_bench.errors import ConfigurationError

BYTES_AT_ONCE = 1 << 25  # of float32 images that are augmented together, 8,192 of MNIST
Batches = Iterable[tuple[Tensor, Tensor]]  # (B, C, H, W) float32 images, (B,) int64 labels


class ImageDataModule(pl.LightningDataModule, ABC):
    """A data set of images with a train and a test split.

    The test split serves for validation too: the paper reports the test accuracy after every
    epoch, and no choice is made by it.

    Where several processes train together, each gets its share of every batch, see
    :func:`pade_bench.data.loader.shares`.

    Args:
        root: folder of the data.
        batch_size: images in a batch of each process; the last of an epoch may hold fewer.
        seed: the order and the augmentation of epoch k depend on (seed, k) alone.

    Raises:
        ConfigurationError: an impossible ``batch_size`` or ``seed``.
    """

    in_channels: int
    num_classes: int
    image_size: int
    normalization: Normalization

    def __init__(self, root: str | Path, batch_size: int, seed: int) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size}: must be at least 1.")
        if seed < 0:
            raise ConfigurationError(f"seed={seed}: must be at least 0.")
        self.root = Path(os.path.expanduser(root))
        self.batch_size = batch_size
        self.seed = seed

    @abstractmethod
    def prepare_data(self) -> None:
        """Find and verify the data, before anything else is started.

        Raises:
            DataError: it is missing and cannot be downloaded, or it is damaged.
        """

    @abstractmethod
    def train_dataloader(self) -> Batches:
        """Return the augmented train split, in a new order each epoch."""

    @abstractmethod
    def val_dataloader(self) -> Batches:
        """Return the test split as it is, in its own order."""

    def test_dataloader(self) -> Batches:
        """Return the test split as it is, in its own order."""
        return self.val_dataloader()

    def sample_images(self) -> Tensor:
        """Return test images on the device, on which to look at what a network does."""
        return next(iter(self.val_dataloader()))[0]

    def set_apart(self, count: int) -> None:
        """Leave ``count`` images out of the train split, drawn by the seed, for validation.

        To be called before the data is loaded. :meth:`val_dataloader` then returns a list: the
        loader of the test split, and that of these images as they are.

        Raises:
            ConfigurationError: this data set cannot.
        """
        if count:
            raise ConfigurationError(
                f"data.validation={count}: {type(self).__name__} cannot set images apart."
            )

    def hand_over_chunks(self) -> None:
        """Let loaders hand over :class:`pade_bench.data.loader.Chunk` instead of single batches.

        To be called before there is a loader; without an effect where a batch takes long anyway.
        """

    def record_entries(self) -> dict[str, Any]:
        """Return what the record of a run says of its data."""
        return {}

    @property
    def device(self) -> torch.device:
        """The device of the trainer, the CPU without one."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def shard(self) -> Shard:
        """This process among those of the trainer."""
        return Shard(self.trainer.global_rank, self.trainer.world_size) if self.trainer else ALONE


class InMemoryImages(ImageDataModule):
    """A data set held in memory as uint8, on the training device, and augmented there.

    Args:
        root: folder of the data.
        batch_size: images in a batch of each process.
        seed: of the order and the augmentation.
        augment: what is done to training images.
    """

    image_size = 32

    def __init__(self, root: str | Path, batch_size: int, seed: int, augment: Augmentation) -> None:
        super().__init__(root, batch_size, seed)
        self.augment = augment
        self.chunk = 1  # batches that are augmented and handed over at a time
        self._splits: tuple[Split, Split] | None = None
        self._set_apart = 0
        self._validation: Split | None = None

    @abstractmethod
    def load(self) -> tuple[Split, Split]:
        """Return the train and the test split, verified, on the CPU."""

    def prepare_data(self) -> None:
        """Download the data if need be and verify it, before anything else is started.

        Raises:
            DataError: it is missing and cannot be downloaded, or it is damaged.
            ConfigurationError: there are not as many images as are to be set apart.
        """
        if self._splits is None:
            train, test = self.load()
            if self._set_apart:
                train, self._validation = divide(train, self._set_apart, self.seed)
            self._splits = train, test

    def setup(self, stage: str | None = None) -> None:
        """Put the data on the device of the trainer, or leave it on the CPU without one.

        Raises:
            DataError: as :meth:`prepare_data`, which runs in one process per machine only.
        """
        InMemoryImages.prepare_data(self)
        train, test = self._loaded()
        self._splits = train.to(self.device), test.to(self.device)
        if self._validation is not None:
            self._validation = self._validation.to(self.device)

    def set_apart(self, count: int) -> None:
        self._set_apart = count

    def hand_over_chunks(self) -> None:
        batch = 4 * self.batch_size * self.in_channels * self.image_size**2
        self.chunk = max(1, BYTES_AT_ONCE // batch)

    def train_dataloader(self) -> ShuffledLoader:
        """Return the augmented train split, in a new order each epoch."""
        train, _ = self._loaded()
        loader = ShuffledLoader(
            train,
            self.batch_size,
            self.normalization,
            self.augment,
            EpochSampler(self.seed),
            self.shard,
            self.chunk,
        )
        return self._grouped(loader)

    def val_dataloader(self) -> Any:
        """Return the test split as it is, in its own order; and the images set apart, if any."""
        if self._validation is None:
            return self.test_dataloader()
        held = BatchLoader(self._validation, self.batch_size, self.normalization, self.shard)
        return [self.test_dataloader(), self._grouped(held)]

    def test_dataloader(self) -> Any:
        """Return the test split as it is, in its own order."""
        return self._grouped(self._test_loader())

    def sample_images(self) -> Tensor:
        """Return test images on the device, on which to look at what a network does."""
        images, _ = next(iter(self._test_loader()))
        return images

    def _grouped(self, loader: Any) -> Any:
        return loader if self.chunk == 1 else Chunks(loader, self.chunk)

    def _test_loader(self) -> BatchLoader:
        _, test = self._loaded()
        return BatchLoader(test, self.batch_size, self.normalization, self.shard)

    def _loaded(self) -> tuple[Split, Split]:
        if self._splits is None:
            raise RuntimeError(f"Call setup() of {type(self).__name__} before asking for a loader.")
        return self._splits


class RotatedImages(InMemoryImages):
    """A data set in memory whose training images are turned: digits, MNIST and its relatives.

    Args:
        root: folder of the data.
        batch_size: images in a batch of each process.
        max_rotation: training images are turned by up to this angle, in degrees.
        seed: of the order and the augmentation.

    Raises:
        ConfigurationError: an impossible ``batch_size``, ``max_rotation`` or ``seed``.
    """

    def __init__(
        self,
        root: str | Path = "data",
        batch_size: int = 256,
        max_rotation: float = 30.0,
        seed: int = 0,
    ) -> None:
        super().__init__(root, batch_size, seed, RandomRotation(max_rotation))


def divide(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """Return a split without ``count`` of its images, which the seed draws, and these.

    Raises:
        ConfigurationError: nothing would be left.
    """
    n = len(split.labels)
    if count >= n:
        raise ConfigurationError(f"data.validation={count}: there are {n} training images.")
    drawn = torch.Generator().manual_seed(epoch_seed(seed, 0, "validation"))
    order = torch.randperm(n, generator=drawn)
    rest, apart = (part.sort().values for part in (order[count:], order[:count]))
    return split.take(rest), split.take(apart)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize uint8 images (N, C, H, W) to ``size`` × ``size``, bilinear.

    Equal to ``torchvision.transforms.Resize`` of the single PIL images.
    """
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
