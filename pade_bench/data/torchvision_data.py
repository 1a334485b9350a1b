"""Any data set of torchvision that has labels and a train and a test split."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image

from pade_bench.data.folder import to_bytes
from pade_bench.data.loader import Split
from pade_bench.data.small_images import SmallImages, fit_size
from pade_bench.errors import ConfigurationError, DataError, one_of


class TorchvisionData(SmallImages):
    """A data set of ``torchvision.datasets``, such as SVHN, CIFAR100, KMNIST or STL10.

    torchvision finds, downloads and verifies its files; all images are then decoded and held in
    memory. The splits are torchvision's own: ``train=True`` and ``False``, or ``split="train"`` and
    ``"test"``.

    Args:
        root: the folder that torchvision is given.
        dataset: the name of a class of ``torchvision.datasets``.
        arguments: further arguments of that class, such as ``{"split": "letters"}`` of EMNIST.
        settings: see :class:`pade_bench.data.small_images.SmallImages`.

    Raises:
        ConfigurationError: torchvision has no such data set, it has no train and test split, or
            does not take the arguments.
    """

    def __init__(
        self,
        root: str | Path = "data",
        dataset: str = "CIFAR10",
        arguments: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(root, **settings)
        names = [
            n for n in torchvision.datasets.__all__ if n not in ("VisionDataset", "DatasetFolder")
        ]
        if dataset not in names:
            raise ConfigurationError(one_of("data.dataset", dataset, names))
        self.dataset = dataset
        self.arguments = dict(arguments or {})
        self._kind = getattr(torchvision.datasets, dataset)
        self._takes = inspect.signature(self._kind).parameters
        for name in self.arguments:
            if name not in self._takes or name in ("root", "train", "download"):
                raise ConfigurationError(one_of("data.arguments", name, self._takes))
        if "train" not in self._takes and ("split" not in self._takes or "split" in self.arguments):
            raise ConfigurationError(f"data.dataset={dataset} has no train and test split.")

    def load(self) -> tuple[Split, Split]:
        """Let torchvision find, download and verify the files, and decode all images.

        Raises:
            DataError: that fails, or the labels are not those of ``classes``.
        """
        try:
            train, test = (self._split(train) for train in (True, False))
        except DataError:
            raise
        except Exception as error:  # each data set fails in its own way
            raise DataError(
                f"torchvision cannot provide {self.dataset} in {self.root}: "
                f"{' '.join(str(error).split())}"
            ) from error
        self.check_labels(train, test, f"torchvision.datasets.{self.dataset}")
        return train, test

    def record_entries(self) -> dict[str, Any]:
        """Return what the data set is."""
        return {"data_name": self.dataset}

    def _split(self, train: bool) -> Split:
        which: dict[str, Any] = {"train": train}
        if "train" not in self._takes:
            which = {"split": "train" if train else "test"}
        if "download" in self._takes:
            which["download"] = True
        data = self._kind(str(self.root), **which, **self.arguments)
        images, labels = [], []
        for image, label in data:
            if not isinstance(image, Image.Image) or not isinstance(label, (int, np.integer)):
                raise DataError(
                    f"data.dataset={self.dataset} is not a data set of images with one label each."
                )
            tensor = torch.from_numpy(to_bytes(image, self.in_channels))
            images.append(fit_size(tensor.permute(2, 0, 1), self.image_size))
            labels.append(int(label))
        return Split(torch.stack(images), torch.tensor(labels))
