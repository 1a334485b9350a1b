"""Seeds that depend on the run's seed and the epoch, and on nothing else."""

from __future__ import annotations

import hashlib


def epoch_seed(seed: int, epoch: int, stream: str) -> int:
    """Return a 63-bit seed for one epoch of one stream of random numbers.

    Streams (``"order"``, ``"augmentation"``, ``"noise"``) are independent of each other, so what
    an activation draws changes neither the order of the images nor their augmentation.
    """
    key = f"{seed}/{epoch}/{stream}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1
