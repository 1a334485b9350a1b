"""The learned functions of a run, in its ``activations.npz``."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from pade_bench.runs.files import read_file
from pade_bench.runs.values import LONGEST_NAME

MOST_BYTES = 64 << 20  # of the arrays, unpacked: some thousand layers


@dataclass(frozen=True)
class LayerCurve:
    """The function of one activation layer: y over x, as it started, and where its inputs lie."""

    name: str
    x: np.ndarray  # (points,)
    y: np.ndarray  # (points,) after training
    start: np.ndarray  # (points,) before training
    edges: np.ndarray  # (bins + 1,) of the input histogram
    density: np.ndarray  # (bins,) of the inputs, integrating to 1
    low: np.ndarray  # (points,) 2.5 % of the values drawn in training lie below; y without noise
    high: np.ndarray  # (points,) 2.5 % of them lie above


def dump_curves(layers: list[LayerCurve]) -> bytes:
    """Return the curves as a NumPy archive, from which the report draws without torch."""
    arrays = {
        f"{i}/{name}": value
        for i, layer in enumerate(layers)
        for name, value in vars(layer).items()
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def load_curves(path: Path) -> list[LayerCurve]:
    """Read the curves that a run left in ``activations.npz``, in the order of the layers.

    Raises:
        OSError: the file cannot be read.
        Exception: it is damaged; which one depends on the library that stumbles over it.
    """
    content = io.BytesIO(read_file(path, MOST_BYTES))
    with zipfile.ZipFile(content) as archive:
        length = sum(member.file_size for member in archive.infolist())
    if length > MOST_BYTES:
        raise ValueError(f"{path.name} unpacks to {length:,} bytes")
    # Names are strings, not objects: nothing is unpickled.
    with np.load(content, allow_pickle=False) as arrays:
        layers = sorted({int(key.partition("/")[0]) for key in arrays.files})
        found = [
            LayerCurve(
                str(arrays[f"{i}/name"]),
                **{f.name: arrays[f"{i}/{f.name}"] for f in fields(LayerCurve)[1:]},
            )
            for i in layers
        ]
    for layer in found:
        _check(layer)
    return found


def _check(layer: LayerCurve) -> None:
    """Raise :class:`ValueError` unless the arrays belong together."""
    if not layer.name.isprintable() or len(layer.name) > LONGEST_NAME:
        raise ValueError("the name of a layer cannot be printed")
    points, bins = np.size(layer.x), np.size(layer.density)
    for f in fields(LayerCurve)[1:]:
        values = getattr(layer, f.name)
        expected = {"edges": bins + 1, "density": bins}.get(f.name, points)
        if values.shape != (expected,) or not expected or values.dtype.kind != "f":
            raise ValueError(f"{layer.name}: {f.name} is no list of {expected} numbers")
        if f.name in ("x", "edges") and not np.isfinite(values).all():
            raise ValueError(f"{layer.name}: {f.name} holds what is not a finite number")
