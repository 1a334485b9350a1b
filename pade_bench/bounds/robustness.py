"""How many images a network classifies right, under attack, and provably."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pade_bench.bounds.attack import attack
from pade_bench.bounds.coefficients import gamma
from pade_bench.bounds.curves import Range
from pade_bench.bounds.network import BoundedNetwork
from pade_bench.errors import ConfigurationError

Track = Callable[[Sequence[Tensor], str], Iterable[Tensor]]
ATTACKED_AT_ONCE = 250  # images


@dataclass(frozen=True)
class Robustness:
    """What is known of some images, each pixel of which may change by ``epsilon``.

    Attributes:
        epsilon: in units of the pixels' scale, 0 to 1.
        correct: images that are classified right as they are.
        unbroken: those for which the attack found no input that is classified wrong.
        certified: those of which it is proved that there is none.
        bounded: images whose outputs were bounded: those certified at the next smaller epsilon.
        mean_width: of the bounds of an output of the network, over these images.
        median_width: over these images, of the mean over the outputs.
        bound_seconds: what the bounds took.
        attack_seconds: what the attack took.
    """

    epsilon: float
    correct: int
    unbroken: int
    certified: int
    bounded: int
    mean_width: float
    median_width: float
    bound_seconds: float
    attack_seconds: float


def measure(
    network: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    normalization: tuple[Sequence[float], Sequence[float]],
    epsilons: Sequence[float],
    method: str = "crown",
    track: Track = lambda batches, _: batches,
) -> Iterator[Robustness]:
    """Measure robustness against changes of each pixel by up to epsilon, within [0, 1].

    An image counts as certified only if the network's float32 outputs rank its label first for
    every image of real numbers or float32 numbers that close. What is not certified for one epsilon
    is not looked at for larger ones, and what the attack broke stays broken.

    Args:
        network: maps normalized (N, C, H, W) float32 images to (N, F) logits, in evaluation mode.
        pixels: (N, C, H, W) float32 from 0 to 1.
        labels: (N,).
        normalization: mean and standard deviation of each channel.
        epsilons: from 0 to 1, ascending.
        method: one of ``pade_bench.bounds.network.METHODS``.
        track: shows progress over batches, given the batches and what is done with them.

    Raises:
        ConfigurationError: an argument is none of the above, or the network has an operation
            without bounds.
        RuntimeError: an attack broke what was certified, so that this module is wrong.
    """
    _check(pixels, labels, epsilons)
    bounded = BoundedNetwork(network)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in normalization)

    def classify(x: Tensor) -> Tensor:
        return network((x - mean) / std)

    with torch.no_grad():
        logits = torch.cat([classify(part) for part in pixels.split(ATTACKED_AT_ONCE)])
    correct = logits.argmax(1) == labels
    rows = _rows(labels, logits.shape[1])
    at_once = bounded.images_at_once(pixels[0], rows.shape[1], method)
    unbroken, certified = correct.clone(), correct.clone()
    for epsilon in epsilons:
        began = time.perf_counter()
        for part in track(_batches(unbroken, ATTACKED_AT_ONCE), f"ε = {epsilon:g}, attack"):
            box = _box(pixels[part], epsilon)
            unbroken[part] = ~attack(classify, *box, pixels[part], labels[part], seed=int(part[0]))
        attacked = time.perf_counter()
        widths = []
        for part in track(_batches(certified, at_once), f"ε = {epsilon:g}, {method}"):
            box = _normalized(_box(pixels[part], epsilon), mean, std)
            found = bounded.lower_bounds(*box, rows[part], method)
            margins, low, high = found.tensor_split((-2 * logits.shape[1], -logits.shape[1]), 1)
            certified[part] = margins.amin(1) > 0
            widths.append((-high - low).mean(1))
        if bool((certified & ~unbroken).any()):
            raise RuntimeError(
                f"epsilon={epsilon:g}: the attack broke an image that had been certified. The "
                "bounds are wrong; please report it."
            )
        width = torch.cat(widths) if widths else torch.empty(0, dtype=torch.float64)
        yield Robustness(
            epsilon,
            correct=int(correct.sum()),
            unbroken=int(unbroken.sum()),
            certified=int(certified.sum()),
            bounded=len(width),
            mean_width=float(width.mean()),
            median_width=float(width.quantile(0.5)) if len(width) else float("nan"),
            bound_seconds=time.perf_counter() - attacked,
            attack_seconds=attacked - began,
        )


def _check(pixels: Tensor, labels: Tensor, epsilons: Sequence[float]) -> None:
    if pixels.dim() != 4 or pixels.dtype != torch.float32 or len(pixels) != len(labels):
        raise ConfigurationError(
            f"pixels of shape {tuple(pixels.shape)} and {pixels.dtype} for {len(labels)} labels: "
            "they must be (N, C, H, W) float32."
        )
    if not len(pixels) or not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise ConfigurationError("there must be pixels, from 0 to 1, before normalization.")
    for epsilon in epsilons:
        if not 0 <= epsilon <= 1:
            raise ConfigurationError(f"epsilon={epsilon!r} is not a number from 0 to 1.")
    if list(epsilons) != sorted(epsilons):
        raise ConfigurationError(f"epsilons {list(epsilons)} are not in ascending order.")


def _rows(labels: Tensor, classes: int) -> Tensor:
    """Return what is bounded of each image: margins over others, the outputs, their negatives.

    Returns:
        (N, classes - 1 + 2 classes, classes), float32.
    """
    identity = torch.eye(classes)
    others = torch.arange(classes - 1).expand(len(labels), -1)
    others = others + (others >= labels[:, None])
    margins = identity[labels][:, None] - identity[others]
    outputs = torch.cat((identity, -identity)).expand(len(labels), -1, -1)
    return torch.cat((margins, outputs), dim=1)


def _batches(chosen: Tensor, size: int) -> Sequence[Tensor]:
    numbers = chosen.nonzero().squeeze(1)
    return numbers.split(size) if len(numbers) else ()


def _box(pixels: Tensor, epsilon: float) -> Range:
    center = pixels.double()
    return (center - epsilon).clamp(min=0), (center + epsilon).clamp(max=1)


def _normalized(box: Range, mean: Tensor, std: Tensor) -> Range:
    """Bound the normalized images of a box, as float32 computes them."""
    lower, upper = ((x - mean.double()) / std.double() for x in box)
    room = gamma(4) * (1 + mean.double().abs()) / std.double()
    return lower - room, upper + room
