"""The noise of the randomised unit (RPAU), as every kernel draws it.

Coefficient j of element i is multiplied by 1 + alpha u_ij, u_ij ~ U(-1, 1). u_ij is a pure function
of a noise state, i and j, computed by the counter-based generator Philox4x32 (Salmon et al.,
*Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011). So it depends on no grid, vector width or
thread; CPU and GPU draw the same numbers; and the backward pass draws them again instead of
reading them from memory.

A noise state is an int64 tensor (seed, offset), drawn for each call from torch's own generator.
The key of Philox is the seed, its counter is (element, offset), and an element's number is its
position in memory: the noise of a channels_last tensor follows channels_last order.

One draw of 128 bits serves ten coefficients with 12 bits each; ``kernels/pau_math.h`` says which
bits. Of Philox's rounds 7 are made, the fewest that pass all of BigCrush; the customary 10 are a
margin that costs a third of the time here.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 7
FIELDS = 10  # coefficients that one draw serves
LOW = 0xFFFFFFFF


def noise_state(device: torch.device) -> Tensor:
    """Draw the (seed, offset) of one call from the default generator of ``device``.

    ``torch.manual_seed`` therefore reproduces it, activation checkpointing draws it again, and a
    CUDA graph draws a new one at every replay.
    """
    # Below 2^62: the two highest bits of the counter number an element's draws.
    return torch.randint(0, 1 << 62, (2,), dtype=torch.int64, device=device)


def philox(elements: Tensor, state: Tensor, draw: int = 0) -> list[Tensor]:
    """Return the four 32-bit words that each element draws, as int64.

    Args:
        elements: int64 numbers of the elements, of any shape.
        state: (2,) int64 seed and offset.
        draw: 0 for the first ten coefficients, 1 for the next ten, 2 for the last.
    """
    seed, offset = state.unbind()
    words = [
        elements & LOW,
        (elements >> 32) & LOW,
        (offset & LOW).expand_as(elements),
        ((offset >> 32) & LOW | draw << 30).expand_as(elements),
    ]
    key = [seed & LOW, (seed >> 32) & LOW]
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
    """Cut the four words of a draw into ten integers in [0, 4096)."""
    twelve = [word >> shift & 0xFFF for word in words for shift in (0, 12)]
    high_bytes = [
        words[0] >> 24 | (words[1] >> 24 & 0xF) << 8,
        words[2] >> 24 | (words[3] >> 24 & 0xF) << 8,
    ]
    return twelve + high_bytes


def factors(
    elements: Tensor, state: Tensor, alpha: float, count: int, dtype: torch.dtype
) -> list[Tensor]:
    """Return 1 + alpha u_ij for the coefficients j = 0 … count - 1, each shaped like ``elements``.

    u = (2 k + 1) / 4096 - 1 for a field k, so that its mean over all k is exactly 0.
    """
    ks = [k for draw in range(-(-count // FIELDS)) for k in fields(philox(elements, state, draw))]
    return [1 + alpha * ((2 * k + 1).to(dtype) / 4096 - 1) for k in ks[:count]]
