"""Loaders that cut batches out of tensors: no workers, no copies of single images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pade_bench.data.augmentation import Augmentation
from pade_bench.seeding import epoch_seed


class Split(NamedTuple):
    """One part of a data set."""

    images: Tensor  # (N, C, H, W), uint8
    labels: Tensor  # (N,), int64

    def to(self, device: torch.device) -> Split:
        """Return the split on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))


class Normalization(NamedTuple):
    """Mean and standard deviation of each channel, of pixel values scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise float images (N, C, H, W) with values 0 to 255, in place."""
        mean, std = (images.new_tensor(value).view(-1, 1, 1) for value in self)
        # The order of torchvision's ToTensor and Normalize, for the same bits.
        return images.div_(255).sub_(mean).div_(std)


class BatchLoader:
    """Iterate over a split in its own order.

    Yields (B, C, H, W) float32 images and (B,) int64 labels on the device of the split; the
    last batch holds what is left.
    """

    def __init__(self, split: Split, batch_size: int, normalize: Normalization) -> None:
        self.split = split
        self.batch_size = batch_size
        self.normalize = normalize

    def __len__(self) -> int:
        return -(-len(self.split.labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = (tensor.split(self.batch_size) for tensor in self.split)
        for batch, label in zip(images, labels, strict=True):
            yield self.normalize(batch.float()), label


class EpochSampler:
    """What is random in an epoch: it depends on (seed, epoch) and nothing else.

    Lightning calls ``set_epoch`` before each epoch, also when it resumes, so epoch k is the
    same stream whether the run was interrupted or not. The global generators are not used.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0."""
        self.epoch = epoch

    def generator(self, stream: str) -> torch.Generator:
        """Return a fresh CPU generator for ``stream`` (``order`` or ``augmentation``)."""
        return torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch, stream))


class ShuffledLoader(BatchLoader):
    """Iterate over a split in a new order each epoch, each image augmented anew."""

    def __init__(
        self,
        split: Split,
        batch_size: int,
        normalize: Normalization,
        augment: Augmentation,
        sampler: EpochSampler,
    ) -> None:
        super().__init__(split, batch_size, normalize)
        self.augment = augment
        self.sampler = sampler

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.split
        n, device = len(labels), labels.device
        # Drawn on the CPU, whose generator gives the same numbers on every machine; the draws
        # belong to the images, not to their places in the order.
        order = torch.randperm(n, generator=self.sampler.generator("order"))
        drawn = self.augment.draw(n, self.sampler.generator("augmentation"))[order].to(device)
        order = order.to(device)
        for index, draw in zip(
            order.split(self.batch_size), drawn.split(self.batch_size), strict=True
        ):
            # index_select: ten times as fast as images[index] for uint8 on the CPU.
            batch = images.index_select(0, index).float()
            yield self.normalize(self.augment(batch, draw)), labels[index]
