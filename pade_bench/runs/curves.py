"""The learned functions of a run, in its ``activations.npz``."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np


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
        OSError, ValueError, KeyError: there is no such file, or it is damaged.
    """
    # Names are strings, not objects: nothing is unpickled.
    with np.load(path, allow_pickle=False) as arrays:
        layers = sorted({int(key.partition("/")[0]) for key in arrays.files})
        return [
            LayerCurve(
                str(arrays[f"{i}/name"]),
                **{f.name: arrays[f"{i}/{f.name}"] for f in fields(LayerCurve)[1:]},
            )
            for i in layers
        ]
