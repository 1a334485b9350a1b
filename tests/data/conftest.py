"""MNIST-like files, written by the tests in the real format."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from pade_bench.data import mnist


def idx(array):
    """Return the IDX file of a uint8 array."""
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


class Files(dict):
    """The uncompressed content of four IDX files by name, and the arrays in them."""

    def __init__(self, seed, train=50, test=20):
        rng = np.random.default_rng(seed)
        self.train_images = rng.integers(0, 256, (train, 28, 28), np.uint8)
        self.train_labels = rng.integers(0, 10, train, np.uint8)
        self.test_images = rng.integers(0, 256, (test, 28, 28), np.uint8)
        self.test_labels = rng.integers(0, 10, test, np.uint8)
        arrays = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        super().__init__(zip(mnist.FILES, map(idx, arrays), strict=True))

    def md5(self):
        return {name: hashlib.md5(content).hexdigest() for name, content in self.items()}

    def write(self, folder, packed=True):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.items():
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)


@pytest.fixture
def files(monkeypatch):
    """Small files that pass for the official MNIST."""
    files = Files(seed=1)
    monkeypatch.setitem(mnist.OFFICIAL_MD5, "MNIST", files.md5())
    return files


@pytest.fixture
def fashion_files(monkeypatch):
    """Small files that pass for the official Fashion-MNIST."""
    files = Files(seed=2)
    monkeypatch.setitem(mnist.OFFICIAL_MD5, "FashionMNIST", files.md5())
    return files
