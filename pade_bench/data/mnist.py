"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017)."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

import torchvision
from torch import Tensor

from pade_bench.data.idx import md5, parse_idx, read_bytes
from pade_bench.data.loader import Normalization, Split
from pade_bench.data.module import ImageDataModule, resize
from pade_bench.errors import DataError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

# MD5 of the uncompressed files. The checksums that torchvision and Zalando publish are those of
# the .gz files, which do not recognise a file that was unpacked, or packed again.
OFFICIAL_MD5 = {
    "MNIST": {
        TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
        TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
        TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
        TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        TRAIN_IMAGES: "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        TRAIN_LABELS: "9018921c3c673c538a1fc5bad174d6f9",
        TEST_IMAGES: "8181f5470baa50b63fa0f6fddb340f0a",
        TEST_LABELS: "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
_DOWNLOAD_TIMEOUT = 15.0  # seconds without an answer before the next mirror is tried


class MNIST(ImageDataModule):
    """Handwritten digits: 60,000 images to train, 10,000 to test, 28×28 resized to 32×32.

    The four IDX files, packed (``.gz``) or not, are looked for where torchvision keeps them
    (``root/MNIST/raw``) and directly in ``root``, and downloaded by torchvision to the former if
    they are in neither. They must be the official files, byte for byte once unpacked. Files that
    are there are never changed.
    """

    in_channels = 1
    num_classes = 10
    normalization = Normalization(mean=(0.1307,), std=(0.3081,))  # [authors' code]
    downloader: ClassVar[type[torchvision.datasets.MNIST]] = torchvision.datasets.MNIST

    def load(self) -> tuple[Split, Split]:
        """Find or download the files, verify and resize them.

        Raises:
            DataError: they are missing and cannot be downloaded, some of them are missing, or
                one is damaged or not this data set's.
        """
        folder = self._find()
        if folder is None:
            self._download()
            folder = self._raw_folder
        return (
            self._read(folder, TRAIN_IMAGES, TRAIN_LABELS),
            self._read(folder, TEST_IMAGES, TEST_LABELS),
        )

    @property
    def _name(self) -> str:
        return self.downloader.__name__

    @property
    def _raw_folder(self) -> Path:
        return self.root / self._name / "raw"

    def _find(self) -> Path | None:
        """Return the folder that holds the four files, or None if there are none of them."""
        incomplete = None
        for folder in (self._raw_folder, self.root):
            missing = [name for name in FILES if _existing(folder, name) is None]
            if not missing:
                return folder
            if len(missing) < len(FILES):
                incomplete = incomplete or f"{folder} lacks {', '.join(missing)} (.gz or not)"
        if incomplete:
            raise DataError(
                f"{self._name} is incomplete: {incomplete}. Copy the missing files there, or "
                "choose another folder with data.root=DIR."
            )
        return None

    def _read(self, folder: Path, images_file: str, labels_file: str) -> Split:
        images = self._read_official(folder, images_file, dimensions=3)
        labels = self._read_official(folder, labels_file, dimensions=1)
        return Split(resize(images.unsqueeze(1), self.image_size), labels.long())

    def _read_official(self, folder: Path, file: str, dimensions: int) -> Tensor:
        path = _existing(folder, file) or folder / file
        content = read_bytes(path)
        data = parse_idx(content, dimensions, path)
        digest = md5(content)
        if digest != OFFICIAL_MD5[self._name][file]:
            official = {
                checksum: f"it is {name} of {data_set}"
                for data_set, files in OFFICIAL_MD5.items()
                for name, checksum in files.items()
            }
            what = official.get(digest, f"the MD5 of its uncompressed content is {digest}")
            raise DataError(
                f"{path} is not the official {file} of {self._name}: {what}. Put the official "
                "file in its place, or choose another folder with data.root=DIR."
            )
        return data

    def _download(self) -> None:
        """Let torchvision download and check the files; they appear all at once or not at all."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with (
                tempfile.TemporaryDirectory(prefix=".download-", dir=self.root) as folder,
                _socket_timeout(_DOWNLOAD_TIMEOUT),
            ):
                self.downloader(folder, download=True)
                self._raw_folder.parent.mkdir(exist_ok=True)
                os.rename(Path(folder) / self._name / "raw", self._raw_folder)
        except (OSError, RuntimeError, HTTPException) as error:
            if self._find() is not None:
                return  # another process has downloaded them meanwhile
            raise DataError(
                f"{self._name} was found neither in {self._raw_folder} nor in {self.root}, and "
                f"downloading it failed: {' '.join(str(error).split())}\n"
                f"Copy {', '.join(FILES)} (each .gz or not) into one of these folders, or say "
                "where they are with data.root=DIR."
            ) from error


class FashionMNIST(MNIST):
    """Pictures of clothes, in the form of MNIST: 60,000 to train, 10,000 to test.

    Its files have the names of MNIST's, so in one folder there can be only one of the two; they
    are told apart by their checksums. The authors normalise it like MNIST [authors' code].
    """

    downloader = torchvision.datasets.FashionMNIST


def _existing(folder: Path, name: str) -> Path | None:
    """Return the file, packed or not, or None."""
    # Packed first: an interrupted download of torchvision's can leave half a file beside it.
    # os.path.isfile is False where Path.is_file raises: in a folder one may not enter.
    paths = (folder / f"{name}.gz", folder / name)
    return next((path for path in paths if os.path.isfile(path)), None)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Bound how long new sockets wait; torchvision's downloads would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
