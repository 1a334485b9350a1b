"""Batches of image files, decoded ahead by worker processes.

A worker is asked for a batch by its indices and gives the transformed images back as uint8, through
shared memory; they are normalized on the device. What is random about an image depends on (seed,
epoch, index) alone, so it does not matter which process decodes it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pade_bench.data.folder import CorruptImageError, FolderSplit, decode
from pade_bench.data.loader import EpochSampler, Normalization, Shard, shares
from pade_bench.data.seeding import epoch_seed
from pade_bench.errors import DataError

MOST_CORRUPT = 0.1  # of the images of a split


class Decoded(NamedTuple):
    """A batch as it leaves a worker process."""

    images: Tensor  # (B, 3, H, W), uint8
    labels: Tensor  # (B,), int64
    corrupt: list[tuple[int, str]]  # index and fault of each file that could not be decoded
    failure: str  # what stops the training, or nothing


class Decoder(Dataset[Decoded]):
    """Turns ``(epoch, indices)`` into a batch of transformed images, in any process alike.

    A corrupt image is left out of the batch or, where the split says so, replaced by the next one
    of its class that is not corrupt, the first following the last.

    Args:
        split: the files.
        transform: of one image, (3, H, W) uint8; may draw from torch's global CPU generator,
            which is seeded for each image from (seed, epoch, index) and put back afterwards.
        image_size: height and width of a transformed image.
        seed: of the run.
    """

    def __init__(
        self, split: FolderSplit, transform: Callable[[Tensor], Tensor], image_size: int, seed: int
    ) -> None:
        self.split = split
        self.transform = transform
        self.image_size = image_size
        self.seed = seed

    def __getitem__(self, request: tuple[int, list[int]]) -> Decoded:
        epoch, indices = request
        images = torch.empty(len(indices), 3, self.image_size, self.image_size, dtype=torch.uint8)
        corrupt: list[tuple[int, str]] = []
        kept: list[int] = []
        try:
            for index in indices:
                if (image := self._read(index, corrupt)) is not None:
                    images[len(kept)] = self._transformed(image, epoch, index)
                    kept.append(index)
        except OSError as error:
            # Not the file's fault, so no reason to go on with other images than the next time.
            failure = f"{error.filename} cannot be read: {error.strerror}."
            return Decoded(images[:0], self.split.labels[:0], corrupt, failure)
        return Decoded(images[: len(kept)], self.split.labels[kept], corrupt, "")

    def _read(self, index: int, corrupt: list[tuple[int, str]]) -> Tensor | None:
        others = self.split.substitutes(index) if self.split.replaces else ()
        for candidate in chain((index,), others):
            try:
                return decode(self.split.path(candidate).read_bytes())
            except CorruptImageError as error:
                corrupt.append((candidate, str(error)))
        return None

    def _transformed(self, image: Tensor, epoch: int, index: int) -> Tensor:
        before = torch.get_rng_state()
        # torch.manual_seed would seed the generators of every GPU too.
        torch.default_generator.manual_seed(
            epoch_seed(self.seed, epoch, f"augmentation of image {index}")
        )
        try:
            return self.transform(image)
        finally:
            torch.set_rng_state(before)


class CorruptImages:
    """The files that could not be decoded: each is named once, and too many are refused."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def add(self, split: FolderSplit, decoded: Decoded) -> None:
        """Name those files of a batch on stderr that are corrupt and not known yet.

        Raises:
            DataError: a file could not be read, or what is corrupt leaves too little of the split.
        """
        if decoded.failure:
            raise DataError(decoded.failure)
        known = len(self.names)
        what = "the next image of its class takes its place" if split.replaces else "left out"
        for index, fault in decoded.corrupt:
            name = split.name(index)
            if name not in self.names:
                self.names.add(name)
                print(f"pade_bench: {name} is corrupt ({fault}): {what}", file=sys.stderr)
        if len(self.names) > known:
            self.refuse_too_many(split)

    def sorted(self) -> list[str]:
        """Return the names in an order that does not depend on when each was met."""
        return sorted(self.names)

    def refuse_too_many(self, split: FolderSplit) -> None:
        """Raise :class:`DataError` if nothing is left of a class, or too little of ``split``.

        One corrupt image of a class with others ends no training, whatever its share.
        """
        corrupt = Counter(
            class_name
            for part, class_name, _ in (name.split("/", 2) for name in self.names)
            if part == split.folder.name
        )
        advice = (
            "Replace the files named above by fresh copies, or choose another folder with "
            "data.root=DIR."
        )
        for class_name, count in corrupt.items():
            if count == split.sizes[class_name]:
                raise DataError(
                    f"All {count} image(s) in {split.folder / class_name} are corrupt. {advice}"
                )
        if corrupt.total() > max(1, MOST_CORRUPT * len(split)):
            raise DataError(
                f"{corrupt.total()} of the {len(split):,} images in {split.folder} are corrupt, "
                f"more than {MOST_CORRUPT:.0%}. {advice}"
            )


class Requests:
    """What the batches of an epoch consist of: ``(epoch, indices)`` for each.

    Args:
        n: number of images.
        batch_size: images in a batch of each process.
        shard: this process.
        sampler: gives the order of an epoch; None for the images' own, every one once.
    """

    def __init__(self, n: int, batch_size: int, shard: Shard, sampler: EpochSampler | None) -> None:
        self.n = n
        self.sampler = sampler
        self.parts = shares(n, batch_size, shard, keep_all=sampler is None)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        epoch = self.sampler.epoch if self.sampler else 0
        order = self.sampler.order(self.n) if self.sampler else torch.arange(self.n)
        for part in self.parts:
            yield epoch, order[part].tolist()


class FolderLoader:
    """Iterate over batches that worker processes decode ahead.

    Yields (B, 3, H, W) float32 images and (B,) int64 labels on ``device``. What is yielded
    depends neither on the number of workers nor on the global generators. The workers start with
    the first epoch and stay until :meth:`close`.

    Args:
        decoder: of the images.
        requests: the batches.
        normalize: applied to a batch on the device.
        device: where the batches go.
        workers: processes; 0 decodes in this one.
        corrupt: is told of corrupt files.
    """

    def __init__(
        self,
        decoder: Decoder,
        requests: Requests,
        normalize: Normalization,
        device: torch.device,
        workers: int,
        corrupt: CorruptImages,
    ) -> None:
        self.decoder = decoder
        self.requests = requests
        self.normalize = normalize
        self.device = device
        self.workers = workers
        self.corrupt = corrupt
        # Lightning calls set_epoch of a loader's sampler, and asks more of one that only tests.
        if requests.sampler is not None:
            self.sampler = requests.sampler
        self._loader: DataLoader[Decoded] | None = None

    def __len__(self) -> int:
        return len(self.requests)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._loader is None:
            self._loader = DataLoader(
                self.decoder,
                batch_size=None,  # a request is a batch
                sampler=self.requests,
                num_workers=self.workers,
                persistent_workers=self.workers > 0,
                pin_memory=self.device.type == "cuda",
                collate_fn=_as_it_is,
                generator=torch.Generator(),  # else every epoch would draw from the global one
            )
        normalize = self.normalize.on(self.device)
        for decoded in self._loader:
            self.corrupt.add(self.decoder.split, decoded)
            images = decoded.images.to(self.device, non_blocking=True).float()
            yield normalize(images), decoded.labels.to(self.device, non_blocking=True)

    def close(self) -> None:
        """End the workers; iterating again starts new ones."""
        # They would end with the iterator, which what an exception keeps alive may hold for long;
        # torch has no public way to end them before.
        if (iterator := getattr(self._loader, "_iterator", None)) is not None:
            iterator._shutdown_workers()
        self._loader = None


def _as_it_is(value: Any) -> Any:
    return value
