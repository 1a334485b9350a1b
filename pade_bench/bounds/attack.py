"""Projected gradient descent: inputs that a network gets wrong show what cannot be certified."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS, RESTARTS = 40, 2


def attack(
    network: Callable[[Tensor], Tensor],
    lower: Tensor,
    upper: Tensor,
    start: Tensor,
    labels: Tensor,
    seed: int,
) -> Tensor:
    """Look for an input in each box that is not classified as labeled.

    Madry, Makelov, Schmidt, Tsipras, Vladu: *Towards Deep Learning Models Resistant to Adversarial
    Attacks* (ICLR 2018), with the sign of the gradient, from the image itself and from a random
    point, against the margin of the label over the best other class.

    Args:
        network: maps (N, C, H, W) to logits (N, F), differentiably.
        lower: (N, C, H, W) float64, like ``upper``.
        upper: see there.
        start: (N, C, H, W) float32, the images.
        labels: (N,).
        seed: of the random starts.

    Returns:
        (N,), whether one was found: a float32 input that lies within the box.
    """
    # The nearest float32 numbers inside.
    low, high = lower.float(), upper.float()
    low = torch.where(low < lower, torch.nextafter(low, torch.full_like(low, torch.inf)), low)
    high = torch.where(high > upper, torch.nextafter(high, torch.full_like(high, -torch.inf)), high)
    step = 2.5 / STEPS * 0.5 * (high - low)
    generator = torch.Generator().manual_seed(seed)
    broken = torch.zeros(len(labels), dtype=torch.bool)
    for restart in range(RESTARTS):
        if restart == 0:
            x = start.clone()
        else:
            x = torch.lerp(low, high, torch.rand(low.shape, generator=generator))
        for number in range(STEPS + 1):
            x = torch.maximum(torch.minimum(x, high), low).requires_grad_()
            logits = network(x)
            own = logits.gather(1, labels[:, None])[:, 0]
            other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
            broken |= ~(own > other).detach()
            if number < STEPS:
                (gradient,) = torch.autograd.grad((own - other).sum(), x)
                x = x.detach() - step * gradient.sign()
    return broken
