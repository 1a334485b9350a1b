"""A folder of small images, decoded once and held in memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor

from pade_bench.data.decoding import CorruptImages, Decoded
from pade_bench.data.folder import CorruptImageError, FolderSplit, common_class_names, decode
from pade_bench.data.loader import Split
from pade_bench.data.small_images import SmallImages, fit_size
from pade_bench.errors import DataError
from pade_bench.ops.build import BuildError, private_cache_folder
from pade_bench.runs.files import write_atomically

MOST_BYTES = 8 << 30  # of decoded images
_LAYOUT = (
    "Put its images into train/CLASS/* and test/CLASS/* (or val/CLASS/*), or say where they are "
    "with data.root=DIR"
)
_CHUNK = 256  # images that a thread decodes at a time


class ImageFolder(SmallImages):
    """Images in ``root/train/CLASS/*`` and ``root/test/CLASS/*``, or ``val`` without a test.

    All are decoded once, resized and held in memory on the device that trains, as CIFAR-10 is. The
    decoded images are kept in the cache folder of the user, under a digest of every file's name and
    content. Corrupt files are treated as ImageNet's are: see :class:`pade_bench.data.ImageNet`.

    The record of a run names the digest, so that results on other images are not taken for these.

    Args:
        root: the folder.
        name: what the data set is called in tables; by default the name of the folder.
        classes, channels, image_size, padding, flip, batch_size, seed: see
            :class:`pade_bench.data.small_images.SmallImages`.
    """

    def __init__(self, root: str | Path = "data", name: str | None = None, **settings: Any) -> None:
        super().__init__(root, **settings)
        self.name = name or self.root.resolve().name
        self.digest = ""
        self.corrupt = CorruptImages()

    def load(self) -> tuple[Split, Split]:
        """Read the decoded images from the cache, or decode the files.

        Raises:
            DataError: a folder is missing, a class has no images, the two splits have different
                classes or another number than ``classes``, a file cannot be read, too many are
                corrupt, or the images would not fit into memory.
        """
        try:
            splits = self._list()
            self.digest = _digest(splits)
            arrays = self._cached(splits)
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error
        train, test = (
            Split(torch.from_numpy(arrays[f"{i}/images"]), torch.from_numpy(arrays[f"{i}/labels"]))
            for i in range(2)
        )
        return train, test

    def record_entries(self) -> dict[str, Any]:
        """Return what the data set is, and which corrupt files it has."""
        return {
            "data_name": self.name,
            "data_digest": self.digest,
            "corrupt_images": {"count": len(self.corrupt.names), "files": self.corrupt.sorted()},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the digest of the images."""
        return {"data_digest": self.digest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other images.

        Raises:
            DataError: they are not those of the checkpoint.
        """
        if state_dict["data_digest"] != self.digest:
            raise DataError(
                f"{self.root} holds other images than those that this run was begun with. Bring "
                "them back, or set restart=true to move it aside and start anew."
            )

    def _list(self) -> tuple[FolderSplit, FolderSplit]:
        train, test = self.root / "train", self.root / "test"
        if not test.is_dir():
            test = self.root / "val"
        if not (train.is_dir() and test.is_dir()):
            raise DataError(f"{self.root} has no folders train and test (or val). {_LAYOUT}.")
        names = common_class_names(train, test, _LAYOUT)
        if len(names) != self.num_classes:
            raise DataError(
                f"{train} has {len(names)} classes, and data.classes={self.num_classes}: set "
                f"data.classes={len(names)}, or choose another folder with data.root=DIR."
            )
        splits = (
            FolderSplit(train, names, per_class=None, replaces=True),
            FolderSplit(test, names, per_class=None, replaces=False),
        )
        size = sum(map(len, splits)) * self.in_channels * self.image_size**2
        if size > MOST_BYTES:
            raise DataError(
                f"{sum(map(len, splits)):,} images of {self.image_size}×{self.image_size} pixels "
                f"take {size / 2**30:.0f} GiB of memory, more than {MOST_BYTES >> 30}. Choose a "
                "smaller data.image_size, or data=imagenet, which decodes files as it needs them."
            )
        return splits

    def _cached(self, splits: Sequence[FolderSplit]) -> dict[str, np.ndarray]:
        """Return the decoded images, labels and faults of both splits, and name what is corrupt."""
        # Other versions may decode or resize to other pixels.
        versions = (PIL.__version__, torch.__version__, torchvision.__version__)
        made_of = (self.digest, self.in_channels, self.image_size, *versions)
        key = hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]
        path = arrays = None
        kept = "once"
        try:
            path = private_cache_folder("images") / f"{key}.npz"
            arrays = _read_cache(path)
        except (OSError, BuildError) as error:
            kept = f"in every run, as they cannot be kept: {error}"
        if is_new := arrays is None:
            print(f"decoding {sum(map(len, splits)):,} images of {self.root}, {kept}", flush=True)
            arrays = {}
            for i, split in enumerate(splits):
                arrays |= {f"{i}/{key}": value for key, value in self._decode(split).items()}
        for i, split in enumerate(splits):
            faults = [(index, fault) for index, fault in json.loads(str(arrays[f"{i}/faults"]))]
            self.corrupt.add(split, Decoded(torch.empty(0), torch.empty(0), faults, failure=""))
        if is_new and path is not None:
            with contextlib.suppress(OSError):  # then they are decoded the next time too
                _write_cache(path, arrays)
        return arrays

    def _decode(self, split: FolderSplit) -> dict[str, np.ndarray]:
        """Decode a split: ``images`` (N, C, H, W), ``labels`` (N,), and ``faults`` as JSON.

        A fault is the index of a corrupt file and what is wrong with it.
        """

        def decode_some(start: int) -> list[Tensor | str]:
            return [
                self._read(split.path(i)) for i in range(start, min(start + _CHUNK, len(split)))
            ]

        with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes without Python's lock
            decoded = list(chain(*threads.map(decode_some, range(0, len(split), _CHUNK))))
        images, labels = [], []
        for i in range(len(split)):
            places = chain((i,), split.substitutes(i) if split.replaces else ())
            image = next((decoded[k] for k in places if isinstance(decoded[k], Tensor)), None)
            if isinstance(image, Tensor):
                images.append(image)
                labels.append(int(split.labels[i]))
        faults = [(i, found) for i, found in enumerate(decoded) if isinstance(found, str)]
        shape = (-1, self.in_channels, self.image_size, self.image_size)
        return {
            # None at all is refused before this is used.
            "images": torch.cat(images).view(shape).numpy() if images else np.empty(0),
            "labels": np.array(labels, np.int64),
            "faults": np.array(json.dumps(faults)),
        }

    def _read(self, path: Path) -> Tensor | str:
        """Return an image, or what is wrong with its file."""
        try:
            image = decode(path.read_bytes(), self.in_channels)
        except CorruptImageError as error:
            return str(error)
        return fit_size(image, self.image_size)


def _digest(splits: Sequence[FolderSplit]) -> str:
    """Return the SHA-256 of the names and contents of all files, in their order."""
    digest = hashlib.sha256()
    for split in splits:
        for i in range(len(split)):
            content = split.path(i).read_bytes()
            # The split's own name is no part of it: test may be called val.
            name = f"{int(split.labels[i])}/{split.classes[split.labels[i]]}/{split.file(i)}"
            digest.update(f"{name!r} {len(content)}\n".encode())
            digest.update(content)
        digest.update(b"\n")
    return digest.hexdigest()


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a cache file, None where there is none or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        return None
    with np.load(io.BytesIO(content[:-32]), allow_pickle=False) as arrays:
        return dict(arrays)


def _write_cache(path: Path, arrays: dict[str, np.ndarray]) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    digest = hashlib.sha256(content.getbuffer()).digest()
    write_atomically(path, content.getvalue() + digest, durable=False)
