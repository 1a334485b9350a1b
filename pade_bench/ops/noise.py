"""The noise of the randomized unit (RPAU), as every kernel draws it.

Coefficient j of element i is multiplied by 1 + alpha u_ij, u_ij ~ U(-1, 1). u_ij is a pure function
of a noise state, i and j, computed by the counter-based generator Philox4x32 (Salmon et al.,
*Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011). So it depends on no grid, vector width or
thread; CPU and GPU draw the same numbers; and the backward pass draws them again instead of
reading them from memory.

A noise state is an int64 tensor (seed, offset), drawn for each call from torch's own generator.
An element's number is its position in memory: the noise of a channels_last tensor follows
channels_last order. Elements 2 p and 2 p + 1 share a draw, of 128 bits; the counter of Philox is
made of p and the state, its key is 0. Each element cuts its 64 bits into ten fields of 6 bits, one
for each coefficient. Of Philox's rounds 7 are made, the fewest that pass all of BigCrush; the
customary 10 are a margin that noise on coefficients does not need.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 7
FIELDS = 10  # coefficients that one draw serves
BITS = 6  # of a field
LOW = 0xFFFFFFFF


def noise_state(device: torch.device) -> Tensor:
    """Draw the (seed, offset) of one call from the default generator of ``device``.

    ``torch.manual_seed`` therefore reproduces it, activation checkpointing draws it again, and a
    CUDA graph draws a new one at every replay.
    """
    # Below 2^62: the two highest bits of the counter number an element's draws.
    return torch.randint(0, 1 << 62, (2,), dtype=torch.int64, device=device)


def philox(pairs: Tensor, state: Tensor, draw: int = 0) -> list[Tensor]:
    """Return the four 32-bit words that each pair of elements draws, as int64.

    Args:
        pairs: int64 numbers of the pairs, of any shape.
        state: (2,) int64 seed and offset.
        draw: 0 for the first ten coefficients, 1 for the next ten, 2 for the last.
    """
    seed, offset = state.unbind()
    words = [
        pairs & LOW,
        (pairs >> 32 ^ seed) & LOW,
        (offset & LOW).expand_as(pairs),
        ((offset ^ seed) >> 32 & LOW ^ draw << 30).expand_as(pairs),
    ]
    key = [0, 0]
    for _ in range(ROUNDS):
        # int64 products wrap around modulo 2^64, which leaves all 64 bits right.
        p0, p1 = words[0] * 0xD2511F53, words[2] * 0xCD9E8D57
        words = [
            (p1 >> 32) & LOW ^ words[1] ^ key[0],
            p1 & LOW,
            (p0 >> 32) & LOW ^ words[3] ^ key[1],
            p0 & LOW,
        ]
        key = [(key[0] + 0x9E3779B9) & LOW, (key[1] + 0xBB67AE85) & LOW]
    return words


def fields(words: list[Tensor]) -> list[Tensor]:
    """Cut two words into ten integers in [0, 64): bits 0 to 29 of each, from the lowest."""
    return [word >> BITS * k & (1 << BITS) - 1 for word in words for k in range(5)]


def drawn(elements: Tensor, state: Tensor, count: int) -> list[Tensor]:
    """Return the integer in [0, 64) that each element draws for the coefficients 0 … count - 1."""
    ks: list[Tensor] = []
    for draw in range(-(-count // FIELDS)):
        words = philox(elements >> 1, state, draw)
        second = elements & 1 == 1
        ks += fields([torch.where(second, words[2 + w], words[w]) for w in (0, 1)])
    return ks[:count]


def factors(
    elements: Tensor, state: Tensor, alpha: float, count: int, dtype: torch.dtype
) -> list[Tensor]:
    """Return 1 + alpha u_ij for the coefficients j = 0 … count - 1, each shaped like ``elements``.

    u = (2 k + 1) / 64 - 1 for a field k, so that its mean over all k is exactly 0.
    """
    levels = 1 << BITS
    return [1 + alpha * ((2 * k + 1).to(dtype) / levels - 1) for k in drawn(elements, state, count)]
