"""Image files in one folder per class: listed, and decoded one at a time."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from pade_bench.errors import DataError


class FolderSplit:
    """The image files in the folders of some classes, sorted by class and name.

    Files with other endings than torchvision's ``ImageFolder`` takes are passed over.

    Args:
        folder: holds a folder for each class.
        classes: the names of the classes, whose numbers are their labels.
        per_class: the most images of a class, the first by name; None for all.
        replaces: whether another image stands in for one that is corrupt.

    Raises:
        DataError: a class has no images.
    """

    def __init__(
        self, folder: Path, classes: Sequence[str], per_class: int | None, replaces: bool
    ) -> None:
        self.folder = folder
        self.classes = list(classes)
        self.replaces = replaces
        names = [image_names(folder / name)[:per_class] for name in classes]
        sizes = [len(names_of_class) for names_of_class in names]
        if 0 in sizes:
            raise DataError(
                f"{folder / self.classes[sizes.index(0)]} holds no images "
                f"({', '.join(IMG_EXTENSIONS)})."
            )
        # One array and not a million texts: workers share its memory for good, where touching a
        # Python object copies its page.
        self.names = np.array([os.fsencode(name) for group in names for name in group])
        self.labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        self.ends = np.cumsum(sizes)
        self.sizes = dict(zip(self.classes, sizes, strict=True))

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return where an image lies in the data set: split/class/file."""
        return f"{self.folder.name}/{self.classes[self.labels[index]]}/{self.file(index)}"

    def file(self, index: int) -> str:
        """Return the name of an image's file in the folder of its class."""
        return os.fsdecode(self.names[index])

    def path(self, index: int) -> Path:
        return self.folder.parent / self.name(index)

    def substitutes(self, index: int) -> Iterator[int]:
        """Yield the other images of the same class: those after this one, then the first ones."""
        end = int(self.ends[self.labels[index]])
        start = end - self.sizes[self.classes[self.labels[index]]]
        yield from range(index + 1, end)
        yield from range(start, index)


def class_names(folder: Path) -> list[str]:
    """Return the names of the folders in ``folder``, sorted, hidden ones aside."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def common_class_names(train: Path, test: Path, layout: str) -> list[str]:
    """Return the names of the classes that both splits of a data set have, sorted.

    Args:
        train: the folder of the train split.
        test: the folder of the test split.
        layout: a sentence on how the files should lie, for the message.

    Raises:
        DataError: the two have different classes, or none.
    """
    names, test_names = class_names(train), class_names(test)
    if not test_names:
        raise DataError(f"{test} holds no folders of classes. {layout}.")
    for folder, missing in (
        (test, sorted(set(names) - set(test_names))),
        (train, sorted(set(test_names) - set(names))),
    ):
        if missing:
            more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
            raise DataError(
                f"{train.name} and {test.name} of {train.parent} must have the same classes: "
                f"{folder} lacks {', '.join(missing[:3])}{more}."
            )
    return names


def image_names(folder: Path) -> list[str]:
    """Return the names of the image files in ``folder``, sorted, hidden ones aside.

    macOS keeps what its file system knows of ``x.JPEG`` in ``._x.JPEG`` on disks of others.
    """
    with os.scandir(folder) as entries:
        return sorted(
            e.name
            for e in entries
            if e.name.lower().endswith(IMG_EXTENSIONS)
            and not e.name.startswith(".")
            and e.is_file()
        )


class CorruptImageError(Exception):
    """A file's content is no complete image."""


def decode(content: bytes, channels: int = 3) -> Tensor:
    """Return the image in a file as (3, H, W) uint8, in red, green and blue; or (1, H, W), in gray.

    Pillow decodes whatever the content is, not what the name says: ImageNet has a PNG and a few
    CMYK pictures among its ``.JPEG`` files.

    Raises:
        CorruptImageError: it is no image, or damaged, or ends too early, or its pixels have more
            than 16 bits.
    """
    try:
        with warnings.catch_warnings():
            # Of damaged EXIF data, which ImageNet has and which nothing here depends on.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                pixels = to_bytes(image, channels)
    except UnidentifiedImageError as error:
        raise CorruptImageError("no kind of image that Pillow knows") from error
    except MemoryError:
        raise
    except Exception as error:  # a decoder may stumble over damaged data in any way
        raise CorruptImageError(str(error) or type(error).__name__) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def to_bytes(image: Image.Image, channels: int) -> np.ndarray:
    """Return the pixels of an image as (H, W, channels) uint8.

    Pillow converts gray pixels of 16 bits by cutting off all above 255: they are scaled instead.

    Raises:
        ValueError: for pixels of 32 bits nobody knows what is white.
    """
    if image.mode.startswith("I;16"):
        gray = np.asarray(image).astype(np.uint32)
        pixels = ((gray * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(pixels[:, :, None], channels, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are numbers of 32 bits, whose range is not known")
    pixels = np.array(image.convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(*pixels.shape[:2], channels)
