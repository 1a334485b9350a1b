"""Loaders that cut batches out of tensors: no workers, no copies of single images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from pade_bench.data.augmentation import Augmentation
from pade_bench.data.seeding import epoch_seed
from pade_bench.errors import ConfigurationError


class Split(NamedTuple):
    """One part of a data set."""

    images: Tensor  # (N, C, H, W), uint8
    labels: Tensor  # (N,), int64

    def take(self, indices: Tensor) -> Split:
        """Return the images of these numbers with their labels."""
        return Split(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> Split:
        """Return the split on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))


class Normalization(NamedTuple):
    """Mean and standard deviation of each channel, of pixel values scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def on(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Return what normalizes float32 images (N, C, H, W) of 0 to 255 on a device, in place."""
        # Made once: bringing a value to a GPU waits for all that it has been given to do.
        mean, std = (torch.tensor(value, device=device).view(-1, 1, 1) for value in self)

        def normalize(images: Tensor) -> Tensor:
            # The order of torchvision's ToTensor and Normalize, for the same bits.
            return images.div_(255).sub_(mean).div_(std)

        return normalize


class Shard(NamedTuple):
    """Which of the processes that train together this one is."""

    rank: int = 0
    world_size: int = 1


ALONE = Shard()


def shares(n: int, batch_size: int, shard: Shard, keep_all: bool) -> list[slice]:
    """Return which of ``n`` images in a row this process takes for each of its batches.

    The row is cut into global batches of ``batch_size`` images for each process, and each of
    these, as evenly as possible and in order, into one part per process. Together the processes
    take in each step what one process would with their number times ``batch_size``.

    What is left at the end may be fewer images than there are processes. It is left out, or with
    ``keep_all`` joins the global batch before it, so that every process has as many batches as
    the others and none of them is empty.

    Raises:
        ConfigurationError: there are fewer images than processes.
    """
    rank, processes = shard
    if n < processes:
        raise ConfigurationError(
            f"{n} image(s) cannot be shared by {processes} processes: use fewer processes or more "
            "images."
        )
    whole, rest = divmod(n, batch_size * processes)
    edges = [k * batch_size * processes for k in range(whole + 1)]
    if rest >= processes:
        edges.append(n)
    elif keep_all:
        edges[-1] = n
    parts = []
    for start, stop in pairwise(edges):
        size, larger = divmod(stop - start, processes)
        begin = start + rank * size + min(rank, larger)
        parts.append(slice(begin, begin + size + (rank < larger)))
    return parts


class BatchLoader:
    """Iterate over a split in its own order, every image once whatever the number of processes.

    Yields (B, C, H, W) float32 images and (B,) int64 labels on the device of the split; the
    last batch holds what is left.
    """

    def __init__(
        self, split: Split, batch_size: int, normalize: Normalization, shard: Shard = ALONE
    ) -> None:
        self.split = split
        self.normalize = normalize
        self.parts = shares(len(split.labels), batch_size, shard, keep_all=True)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.split
        normalize = self.normalize.on(images.device)
        for part in self.parts:
            yield normalize(images[part].float()), labels[part]


class Chunk:
    """Several batches that are handed over together; no list, which Lightning would look into."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches


class Chunks:
    """Iterate over the batches of a loader ``count`` at a time; the last chunk may be shorter.

    Who takes a chunk makes so many steps without going back to the training loop in between.
    """

    def __init__(self, loader: ShuffledLoader | BatchLoader, count: int) -> None:
        self.loader = loader
        self.count = count
        if isinstance(loader, ShuffledLoader):
            self.sampler = loader.sampler  # Lightning calls its set_epoch

    def __len__(self) -> int:
        return -(-len(self.loader) // self.count)

    def __iter__(self) -> Iterator[Chunk]:
        batches = iter(self.loader)
        while taken := list(islice(batches, self.count)):
            yield Chunk(taken)


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

    def order(self, n: int) -> Tensor:
        """Return the order of ``n`` images in this epoch, on the CPU."""
        # Drawn on the CPU, whose generator gives the same numbers on every machine.
        return torch.randperm(n, generator=self.generator("order"))


class ShuffledLoader:
    """Iterate over a split in a new order each epoch, each image augmented anew.

    Yields what :class:`BatchLoader` yields. Every process makes the same number of steps.

    Args:
        at_once: so many batches are augmented together, which a GPU does in the time of one;
            several only for a process that trains alone. While the GPU trains on these, the
            random numbers of the next epoch are drawn.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        normalize: Normalization,
        augment: Augmentation,
        sampler: EpochSampler,
        shard: Shard = ALONE,
        at_once: int = 1,
    ) -> None:
        self.split = split
        self.normalize = normalize
        self.augment = augment
        self.sampler = sampler
        self.at_once = at_once
        self.ahead = ThreadPoolExecutor(1) if at_once > 1 else None
        self.next: tuple[int, Future[tuple[Tensor, Tensor]]] | None = None
        self.parts = shares(len(split.labels), batch_size, shard, keep_all=False)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.split
        normalize = self.normalize.on(images.device)
        order, drawn = (numbers.to(labels.device) for numbers in self._drawn())
        for first in range(0, len(self.parts), self.at_once):
            parts = self.parts[first : first + self.at_once]
            whole = slice(parts[0].start, parts[-1].stop)
            # index_select: ten times as fast as images[index] for uint8 on the CPU.
            found = images.index_select(0, order[whole]).float()
            found = normalize(self.augment(found, drawn[whole]))
            for part in parts:
                batch = slice(part.start - whole.start, part.stop - whole.start)
                yield found[batch], labels[order[part]]

    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Return the order of this epoch and its draws, and have the next epoch's drawn ahead."""
        if self.ahead is None:
            return self._draw(self.sampler)
        epoch = self.sampler.epoch
        if self.next is None or self.next[0] != epoch:
            self.next = epoch, self.ahead.submit(self._draw, self.sampler)
        found = self.next[1].result()
        following = EpochSampler(self.sampler.seed)
        following.set_epoch(epoch + 1)
        self.next = epoch + 1, self.ahead.submit(self._draw, following)
        return found

    def _draw(self, sampler: EpochSampler) -> tuple[Tensor, Tensor]:
        n = len(self.split.labels)
        order = sampler.order(n)
        # The draws belong to the images, not to their places in the order.
        return order, self.augment.draw(n, sampler.generator("augmentation"))[order]
