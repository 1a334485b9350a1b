"""ImageNet (Russakovsky et al., 2015), from a folder of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.data import suggested_max_num_workers
from torch import Tensor
from torchvision.transforms import v2

from pade_bench.data.decoding import CorruptImages, Decoder, FolderLoader, Requests
from pade_bench.data.folder import FolderSplit, common_class_names
from pade_bench.data.loader import EpochSampler, Normalization
from pade_bench.data.module import ImageDataModule
from pade_bench.errors import ConfigurationError, DataError

CLASSES = 1000
SAMPLE_IMAGES = 32


class ImageNet(ImageDataModule):
    """Photographs of a thousand kinds of things, 224×224: 1,281,167 to train, 50,000 to test.

    Read from ``root/train/<class>/*.JPEG`` and ``root/val/<class>/*.JPEG``; classes are numbered
    in the order of their folders' names, as everywhere.

    A corrupt image does not end the training. In the train split the next readable image of its
    class takes its place, with the augmentation that it would have had; in the test split it is
    left out, so that no image counts twice. It is named on stderr once and in the run's record.

    Args:
        root: folder of the data.
        batch_size: images in a batch of each process.
        classes: take the first so many classes only; None for all thousand.
        images_per_class: take at most so many images of a class, in either split; None for all.
        workers: processes that decode images for this one; 0 for none, None for as many as there
            are processors for it. Changes no pixel.
        seed: of the order and the augmentation.

    Raises:
        ConfigurationError: an impossible argument.
    """

    in_channels = 3
    image_size = 224
    normalization = Normalization(  # [authors' code]
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )

    def __init__(
        self,
        root: str | Path = "data",
        batch_size: int = 256,
        classes: int | None = None,
        images_per_class: int | None = None,
        workers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(root, batch_size, seed)
        if classes is not None and not 2 <= classes <= CLASSES:
            raise ConfigurationError(f"classes={classes}: must be 2 to {CLASSES}, or None for all.")
        if images_per_class is not None and images_per_class < 1:
            raise ConfigurationError(f"images_per_class={images_per_class}: must be at least 1.")
        if workers is not None and workers < 0:
            raise ConfigurationError(f"workers={workers}: must be at least 0.")
        self.num_classes = classes or CLASSES
        self.images_per_class = images_per_class
        self.workers = workers
        self.corrupt = CorruptImages()
        self._splits: tuple[FolderSplit, FolderSplit] | None = None
        self._loaders: list[FolderLoader] = []

    def prepare_data(self) -> None:
        """List the files of both splits.

        Raises:
            DataError: a folder is missing, a class has no images, the splits have other classes
                than each other, or there are fewer classes than asked for.
        """
        if self._splits is None:
            try:
                self._splits = self._list()
            except OSError as error:
                raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error

    def setup(self, stage: str | None = None) -> None:
        """List the files, in a process that did not do so before."""
        self.prepare_data()

    def train_dataloader(self) -> FolderLoader:
        """Return the augmented train split, in a new order each epoch."""
        train, _ = self._listed()
        transform = v2.Compose(  # [authors' code]
            [v2.RandomResizedCrop(self.image_size, antialias=True), v2.RandomHorizontalFlip()]
        )
        return self._loader(self._decoder(train, transform), EpochSampler(self.seed))

    def val_dataloader(self) -> FolderLoader:
        """Return the test split as it is, in its own order."""
        return self._loader(self._test_decoder(), None)

    def sample_images(self) -> Tensor:
        """Return a few test images from all over the split, decoded in this process."""
        decoder = self._test_decoder()
        n = len(decoder.split)
        count = min(n, SAMPLE_IMAGES)
        decoded = decoder[0, [i * n // count for i in range(count)]]
        self.corrupt.add(decoder.split, decoded)
        return self.normalization.on(self.device)(decoded.images.to(self.device).float())

    def record_entries(self) -> dict[str, Any]:
        """Return which corrupt files were met."""
        return {
            "corrupt_images": {"count": len(self.corrupt.names), "files": self.corrupt.sorted()}
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the corrupt files that any process has met so far.

        Every process has to call it at the same time, as they do to save a checkpoint.
        """
        if self.shard.world_size > 1:
            found: list[Any] = [None] * self.shard.world_size
            torch.distributed.all_gather_object(found, self.corrupt.names)
            self.corrupt.names.update(*found)
            for split in self._listed():
                self.corrupt.refuse_too_many(split)
        return {"corrupt_images": self.corrupt.sorted()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.corrupt.names.update(state_dict["corrupt_images"])

    def teardown(self, stage: str | None = None) -> None:
        """End the worker processes."""
        for loader in self._loaders:
            loader.close()
        self._loaders.clear()

    def on_exception(self, exception: BaseException) -> None:
        """End the worker processes of a training that was interrupted."""
        self.teardown()

    def _listed(self) -> tuple[FolderSplit, FolderSplit]:
        if self._splits is None:
            raise RuntimeError("Call setup() of ImageNet before asking for a loader.")
        return self._splits

    def _test_decoder(self) -> Decoder:
        _, test = self._listed()
        shorter_side = self.image_size * 256 // 224
        transform = v2.Compose(  # [authors' code]
            [v2.Resize(shorter_side, antialias=True), v2.CenterCrop(self.image_size)]
        )
        return self._decoder(test, transform)

    def _decoder(self, split: FolderSplit, transform: v2.Transform) -> Decoder:
        return Decoder(split, transform, self.image_size, self.seed)

    def _loader(self, decoder: Decoder, sampler: EpochSampler | None) -> FolderLoader:
        workers = self.workers
        if workers is None:
            workers = suggested_max_num_workers(self.trainer.num_devices if self.trainer else 1)
        requests = Requests(len(decoder.split), self.batch_size, self.shard, sampler)
        loader = FolderLoader(
            decoder, requests, self.normalization, self.device, workers, self.corrupt
        )
        self._loaders.append(loader)
        return loader

    def _list(self) -> tuple[FolderSplit, FolderSplit]:
        train, val = self.root / "train", self.root / "val"
        if not (train.is_dir() and val.is_dir()):
            raise DataError(
                f"ImageNet was not found in {self.root}: it needs the folders train and val. "
                "It cannot be downloaded without an account of image-net.org. "
                f"{_LAYOUT}, or say where it is with data.root=DIR."
            )
        names = common_class_names(train, val, _LAYOUT)
        if self.num_classes > len(names):
            raise DataError(
                f"{train} has {len(names)} classes, {self.num_classes} were asked for. Take "
                f"them with data.classes={len(names)}, or choose another folder with data.root=DIR."
            )
        chosen = names[: self.num_classes]
        return (
            FolderSplit(train, chosen, self.images_per_class, replaces=True),
            FolderSplit(val, chosen, self.images_per_class, replaces=False),
        )


_LAYOUT = (
    "Put its images into train/<class>/*.JPEG and val/<class>/*.JPEG (as "
    "torchvision.datasets.ImageNet unpacks the official archives)"
)
