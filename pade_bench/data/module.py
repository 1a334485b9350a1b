"""The data module that every data set shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from pade_bench.data.augmentation import RandomRotation
from pade_bench.data.loader import BatchLoader, EpochSampler, Normalization, ShuffledLoader, Split
from pade_bench.errors import ConfigurationError


class ImageDataModule(pl.LightningDataModule, ABC):
    """A data set held in memory as uint8, on the training device, and augmented there.

    The test split serves for validation too: the paper reports the test accuracy after every
    epoch, and no choice is made by it.

    Args:
        root: folder of the data.
        batch_size: images in a batch; the last of an epoch may hold fewer.
        max_rotation: training images are turned by up to this angle, in degrees.
        seed: the order and the augmentation of epoch k depend on (seed, k) alone.

    Raises:
        ConfigurationError: an impossible ``batch_size``, ``max_rotation`` or ``seed``.
    """

    in_channels: ClassVar[int]
    num_classes: ClassVar[int]
    image_size: ClassVar[int] = 32
    normalization: ClassVar[Normalization]

    def __init__(
        self,
        root: str | Path = "data",
        batch_size: int = 256,
        max_rotation: float = 30.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size}: must be at least 1.")
        if not 0 <= max_rotation <= 180:
            raise ConfigurationError(f"max_rotation={max_rotation}: must be 0 to 180 degrees.")
        if seed < 0:
            raise ConfigurationError(f"seed={seed}: must be at least 0.")
        self.root = Path(root).expanduser()
        self.batch_size = batch_size
        self.max_rotation = max_rotation
        self.seed = seed
        self._splits: tuple[Split, Split] | None = None

    @abstractmethod
    def load(self) -> tuple[Split, Split]:
        """Return the train and the test split, verified, on the CPU."""

    def prepare_data(self) -> None:
        """Download the data if need be and verify it, before anything else is started.

        Raises:
            DataError: it is missing and cannot be downloaded, or it is damaged.
        """
        if self._splits is None:
            self._splits = self.load()

    def setup(self, stage: str | None = None) -> None:
        """Put the data on the device of the trainer, or leave it on the CPU without one.

        Raises:
            DataError: as :meth:`prepare_data`, which runs in one process per machine only.
        """
        train, test = self._splits or self.load()
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        self._splits = train.to(device), test.to(device)

    def train_dataloader(self) -> ShuffledLoader:
        """Return the augmented train split, in a new order each epoch."""
        train, _ = self._loaded()
        augment = RandomRotation(self.max_rotation)
        sampler = EpochSampler(self.seed)
        return ShuffledLoader(train, self.batch_size, self.normalization, augment, sampler)

    def val_dataloader(self) -> BatchLoader:
        """Return the test split as it is, in its own order."""
        _, test = self._loaded()
        return BatchLoader(test, self.batch_size, self.normalization)

    test_dataloader = val_dataloader

    def _loaded(self) -> tuple[Split, Split]:
        if self._splits is None:
            raise RuntimeError(f"Call setup() of {type(self).__name__} before asking for a loader.")
        return self._splits


def resize(images: Tensor, size: int) -> Tensor:
    """Resize uint8 images (N, C, H, W) to ``size`` × ``size``, bilinear.

    Equal to ``torchvision.transforms.Resize`` of the single PIL images.
    """
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
