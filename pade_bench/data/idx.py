"""Reading IDX, the format in which MNIST and its relatives are published.

Two zero bytes, the element type (8: unsigned byte), the number of dimensions, each dimension as a
big-endian 32-bit integer, then the elements in C order (http://yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pade_bench.errors import DataError


def parse_idx(content: bytes, dimensions: int, source: Path) -> Tensor:
    """Return the uint8 tensor that ``content`` holds.

    Args:
        content: a whole IDX file, uncompressed.
        dimensions: how many dimensions it must have.
        source: where it comes from, for the messages.

    Raises:
        DataError: it is not such a file, or its length is not what its header says.
    """
    header_length = 4 + 4 * dimensions
    magic = bytes((0, 0, 8, dimensions))
    if content[:4] != magic or len(content) < header_length:
        raise DataError(
            f"{source} is not an IDX file of unsigned bytes with {dimensions} dimension(s): it "
            f"begins with {content[:4].hex() or 'nothing'} and not {magic.hex()}, or ends within "
            "its header. Replace it by a fresh copy."
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header_length])
    expected, found = math.prod(shape), len(content) - header_length
    if found != expected:
        raise DataError(
            f"{source} is {'truncated' if found < expected else 'too long'}: its header announces "
            f"{' × '.join(map(str, shape))} = {expected} bytes of data, it holds {found}. "
            "Replace it by a fresh copy."
        )
    # A copy: NumPy would give a view of memory that torch must not write to.
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header_length).copy()).view(
        shape
    )
