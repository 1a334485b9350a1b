"""Published files, written by the tests in the real format, and a network to get them from."""

import gzip
import hashlib
import socket
import struct
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from cifar_files import CIFARFiles

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


@pytest.fixture
def cifar_files(monkeypatch):
    """Small files that pass for the official CIFAR-10."""
    return CIFARFiles.official(monkeypatch)


@pytest.fixture
def snapshot():
    """Return a function that gives all that is in a folder, and what it holds."""

    def take(folder):
        return {
            path.relative_to(folder): path.read_bytes() if path.is_file() else None
            for path in folder.rglob("*")
        }

    return take


@pytest.fixture
def offline(monkeypatch):
    """Let every request fail, and return the list of their addresses."""
    asked = []

    def urlopen(request, **_):
        asked.append(request.full_url)
        assert socket.getdefaulttimeout() is not None, "a silent server would block for ever"
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


@pytest.fixture
def serve(monkeypatch):
    """Return a function that makes the network answer with the given files."""

    class Response:
        def __init__(self, url, body):
            self.url, self.body, self.length = url, body, len(body)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, size):
            part, self.body = self.body[:size], self.body[size:]
            return part

    def install(files):
        def urlopen(request, **_):
            name = request.full_url.rsplit("/", 1)[1]
            body = files[name]
            if isinstance(body, BaseException):
                raise body
            return Response(request.full_url, body)

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)

    return install
