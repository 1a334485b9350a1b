"""CIFAR-10 in the format in which it is published, made by the tests."""

import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import torchvision

from pade_bench.data import cifar10


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, which made the published batches of CIFAR-10."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value):
        content = value if isinstance(value, bytes) else value.encode("latin1")
        short = len(content) < 256
        self.write(pickle.SHORT_BINSTRING if short else pickle.BINSTRING)
        self.write(struct.pack("B" if short else "<i", len(content)) + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(value):
    content = io.BytesIO()
    Python2Pickler(content, protocol=2).dump(value)
    # Where NumPy kept its functions then.
    return content.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


class CIFARFiles(dict):
    """The content of the six batches and their description by name, and the arrays in them."""

    def __init__(self, seed=3, images=20):
        rng = np.random.default_rng(seed)
        self.images, self.labels = {}, {}
        for name in (*cifar10.TRAIN, cifar10.TEST):
            self.images[name] = rng.integers(0, 256, (images, 3 * 32 * 32), np.uint8)
            self.labels[name] = rng.integers(0, 10, images).tolist()
            self[name] = python2_pickle(
                {
                    "batch_label": f"{name} of the tests",
                    "labels": self.labels[name],
                    "data": self.images[name],
                    "filenames": [f"picture_{i}.png" for i in range(images)],
                }
            )
        self["batches.meta"] = python2_pickle({"label_names": [f"kind {i}" for i in range(10)]})

    def write(self, folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, content in self.items():
            (Path(folder) / name).write_bytes(content)

    @classmethod
    def official(cls, monkeypatch):
        """Return files that pass for the official ones."""
        files = cls()
        downloader = torchvision.datasets.CIFAR10
        train = [[name, files.md5(name)] for name in cifar10.TRAIN]
        monkeypatch.setattr(downloader, "train_list", train)
        monkeypatch.setattr(downloader, "test_list", [[cifar10.TEST, files.md5(cifar10.TEST)]])
        monkeypatch.setitem(downloader.meta, "md5", files.md5("batches.meta"))
        files.packed = files.archive()
        monkeypatch.setattr(downloader, "tgz_md5", hashlib.md5(files.packed).hexdigest())
        return files

    def md5(self, name):
        return hashlib.md5(self[name]).hexdigest()

    def archive(self):
        """Return the ``.tar.gz`` of all files, as it is published."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, content in self.items():
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return packed.getvalue()
