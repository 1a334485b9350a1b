"""Small images of anybody's, held in memory: what a folder and torchvision's data sets share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from pade_bench.data.augmentation import RandomCropAndFlip
from pade_bench.data.loader import Normalization, Split
from pade_bench.data.module import InMemoryImages
from pade_bench.errors import ConfigurationError, DataError


class SmallImages(InMemoryImages):
    """Images in memory, shifted and mirrored, normalized by the mean and spread of the train split.

    Args:
        root: folder of the data.
        classes: the number of classes. How many outputs a network has follows from the settings,
            not from what lies on the disk, so it is checked and not looked up.
        channels: 3 for color, 1 for gray.
        image_size: height and width. Other images are resized to it by their shorter side, bilinear
            with antialiasing, and cropped at the center.
        padding: training images are shifted by up to this many pixels either way.
        flip: whether every other training image is mirrored, left to right.
        batch_size: images in a batch of each process.
        seed: of the order and the augmentation.

    Raises:
        ConfigurationError: an impossible argument.
    """

    def __init__(
        self,
        root: str | Path = "data",
        *,
        classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
        padding: int = 4,
        flip: bool = True,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(root, batch_size, seed, RandomCropAndFlip(padding, flip))
        if classes < 2:
            raise ConfigurationError(f"classes={classes}: must be at least 2.")
        if channels not in (1, 3):
            raise ConfigurationError(f"channels={channels}: must be 1 (gray) or 3 (color).")
        if image_size < 1:
            raise ConfigurationError(f"image_size={image_size}: must be at least 1 pixel.")
        self.num_classes = classes
        self.in_channels = channels
        self.image_size = image_size

    def prepare_data(self) -> None:
        """Load the data and find out how to normalize it, before anything else is started.

        Raises:
            DataError: it is missing, damaged or not what the settings say.
        """
        if self._splits is None:
            super().prepare_data()
            self.normalization = mean_and_std(self._loaded()[0].images)

    def setup(self, stage: str | None = None) -> None:
        """Put the data on the device of the trainer, or leave it on the CPU without one."""
        self.prepare_data()
        super().setup(stage)

    def check_labels(self, train: Split, test: Split, source: str) -> None:
        """Raise :class:`DataError` unless the labels of both splits are those of ``classes``."""
        found = torch.cat((train.labels, test.labels)).unique().tolist()
        if found != list(range(self.num_classes)):
            raise DataError(
                f"{source} has the labels {found[0]} to {found[-1]} ({len(found)} classes), and "
                f"data.classes={self.num_classes}. Set data.classes={len(found)}."
            )


def mean_and_std(images: Tensor) -> Normalization:
    """Return the mean and standard deviation of each channel of uint8 images (N, C, H, W).

    Computed from how often each value occurs, which is exact and the same on every machine.
    """
    mean, std = [], []
    value = torch.arange(256, dtype=torch.float64) / 255
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean.append(float((share * value).sum()))
        # A channel that is the same everywhere is left as it is.
        std.append(float((share * (value - mean[-1]) ** 2).sum().sqrt()) or 1.0)
    return Normalization(tuple(mean), tuple(std))


def fit_size(image: Tensor, size: int) -> Tensor:
    """Return a uint8 image (C, H, W) of ``size`` × ``size`` pixels: resized and cropped."""
    if image.shape[-2:] == (size, size):
        return image
    resized = transforms.resize(image, [size], antialias=True)
    return transforms.center_crop(resized, [size, size])
