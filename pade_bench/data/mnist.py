"""MNIST (LeCun et al., 1998) and Fashion-MNIST (Xiao et al., 2017)."""

from __future__ import annotations

from typing import ClassVar

import torchvision
from torch import Tensor

from pade_bench.data.files import PublishedFiles, read_bytes, verify
from pade_bench.data.idx import parse_idx
from pade_bench.data.loader import Normalization, Split
from pade_bench.data.module import RotatedImages, resize

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

# MD5 of the uncompressed files. The checksums that torchvision and Zalando publish are those of
# the .gz files, which do not recognize a file that was unpacked, or packed again.
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
MOST_BYTES = 16 + 60_000 * 28 * 28
# Packed first: an interrupted download of torchvision's can leave half a file beside it.
PACKED_OR_NOT = (".gz", "")


class MNIST(RotatedImages):
    """Handwritten digits: 60,000 images to train, 10,000 to test, 28×28 resized to 32×32.

    The four IDX files, packed (``.gz``) or not, are looked for where torchvision keeps them
    (``root/MNIST/raw``) and directly in ``root``, and downloaded by torchvision to the former if
    they are in neither. They must be the official files, byte for byte once unpacked, and may be
    called a little differently, such as ``train-images.idx3-ubyte``. Files that are there are never
    changed.
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
        files = PublishedFiles(
            self._name, self.root, f"{self._name}/raw", FILES, MOST_BYTES, PACKED_OR_NOT
        )
        folder = files.obtain(
            lambda to: self.downloader(str(to), download=True),
            what_to_copy=f"{', '.join(FILES)} (each .gz or not) into one of these folders",
        )

        def read(file: str, dimensions: int) -> Tensor:
            path = files.path(folder, file) or folder / file
            content = read_bytes(path, MOST_BYTES)
            data = parse_idx(content, dimensions, path)
            verify(content, path, file, self._name, OFFICIAL_MD5)
            return data

        def split(images_file: str, labels_file: str) -> Split:
            images = read(images_file, dimensions=3).unsqueeze(1)
            return Split(resize(images, self.image_size), read(labels_file, dimensions=1).long())

        return split(TRAIN_IMAGES, TRAIN_LABELS), split(TEST_IMAGES, TEST_LABELS)

    @property
    def _name(self) -> str:
        return self.downloader.__name__


class FashionMNIST(MNIST):
    """Pictures of clothes, in the form of MNIST: 60,000 to train, 10,000 to test.

    Its files have the names of MNIST's, so in one folder there can be only one of the two; they
    are told apart by their checksums. The authors normalize it like MNIST [authors' code].
    """

    downloader = torchvision.datasets.FashionMNIST
