"""Random changes of a whole batch of images, pixel for pixel torchvision's.

Drawing is apart from changing: all draws of an epoch are made at once, on the CPU, so they
depend neither on the batch size nor on the device, nor on the number of processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from pade_bench.errors import ConfigurationError


class Augmentation(ABC):
    """What is done at random to each training image."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw for ``n`` images from a CPU generator: (n, numbers per image)."""

    @abstractmethod
    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Change float ``images`` (N, C, H, W) by N of the draws, which are on their device."""


class RandomRotation(Augmentation):
    """Turn each image by an angle drawn uniformly from ±``max_rotation`` degrees.

    What ``torchvision.transforms.RandomRotation`` does to one image by default: about the
    center, nearest pixel, 0 outside.

    Raises:
        ConfigurationError: ``max_rotation`` is not from 0 to 180.
    """

    def __init__(self, max_rotation: float) -> None:
        if not 0 <= max_rotation <= 180:
            raise ConfigurationError(f"max_rotation={max_rotation}: must be 0 to 180 degrees.")
        self.max_rotation = max_rotation

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` rotations: (n, 2), see :func:`rotations`."""
        unit = torch.rand(n, dtype=torch.float64, generator=generator)
        return rotations((2 * unit - 1) * self.max_rotation)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Turn the images."""
        return rotate(images, drawn)


class RandomCropAndFlip(Augmentation):
    """Shift each image by up to ``padding`` pixels either way and mirror every other one.

    What ``torchvision.transforms.RandomCrop(size, padding)`` and then ``RandomHorizontalFlip()``
    do to one image of that size: every offset is equally likely, 0 outside.

    Args:
        padding: the most pixels by which an image is shifted.
        flip: whether images are mirrored.

    Raises:
        ConfigurationError: ``padding`` is negative.
    """

    def __init__(self, padding: int, flip: bool = True) -> None:
        if padding < 0:
            raise ConfigurationError(f"padding={padding}: must be at least 0 pixels.")
        self.padding = padding
        self.flip = flip

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw (row, column, flip) for ``n`` images: (n, 3), see :func:`crop_and_flip`."""
        corners = torch.randint(2 * self.padding + 1, (n, 2), generator=generator)
        flips = torch.randint(2, (n, 1), generator=generator)
        return torch.cat((corners, flips if self.flip else torch.zeros_like(flips)), dim=1)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Shift and mirror the images."""
        return crop_and_flip(images, drawn, self.padding)


def rotations(degrees: Tensor) -> Tensor:
    """Return (cos, sin) of N counter-clockwise angles: (N, 2) in float32.

    Evaluated in float64 and rounded once, as torchvision does.
    """
    radians = torch.deg2rad(degrees.double())
    return torch.stack((radians.cos(), radians.sin()), dim=1).float()


def rotate(images: Tensor, cos_sin: Tensor) -> Tensor:
    """Turn each image counter-clockwise about its center, nearest pixel, 0 outside.

    Args:
        images: (N, C, H, W), floating point.
        cos_sin: (N, 2), as :func:`rotations` returns them, on the same device.

    Returns:
        (N, C, H, W), equal to ``torchvision.transforms.functional.rotate`` of each image.
        A pixel can differ only where its source lies within rounding, about 1e-6 of a pixel, of
        the border between two pixels, and only if the BLAS in torchvision's ``bmm`` rounds
        otherwise (fused multiply-add, TF32) than the separate products and sums here, which are
        the same on every device.
    """
    height, width = images.shape[-2:]
    x_W = _centered(width, images.device)
    y_H = _centered(height, images.device)
    cos_N1, sin_N1 = cos_sin[:, :1], cos_sin[:, 1:]
    # Where each output pixel comes from, in grid_sample's unit of half an image. The products
    # involve one row or one column, so the only work per pixel is one sum for x and one for y.
    grid = cos_sin.new_empty(len(images), height, width, 2)
    half_W, half_H = width / 2, height / 2
    torch.add(
        (cos_N1 / half_W * x_W)[:, None, :], (-sin_N1 / half_W * y_H)[:, :, None], out=grid[..., 0]
    )
    torch.add(
        (sin_N1 / half_H * x_W)[:, None, :], (cos_N1 / half_H * y_H)[:, :, None], out=grid[..., 1]
    )
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def crop_and_flip(images: Tensor, corner_flip: Tensor, padding: int) -> Tensor:
    """Pad each image with zeros, cut its size out again elsewhere, and mirror it if told.

    Args:
        images: (N, C, H, W).
        corner_flip: (N, 3) integers on the same device: the row and the column of the cut's first
            pixel in the padded image, each from 0 to ``2 * padding``; 1 to mirror the cut left
            to right, else 0.
        padding: zeros on every side, in pixels.

    Returns:
        (N, C, H, W), equal to ``pad``, ``crop`` and ``hflip`` of torchvision of each image.
    """
    n, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    row_N1, column_N1, flip_N1 = corner_flip.split(1, dim=1)
    x_W = torch.arange(width, device=images.device)
    y_H = torch.arange(height, device=images.device)
    rows_NH = row_N1 + y_H
    columns_NW = column_N1 + torch.where(flip_N1 == 1, width - 1 - x_W, x_W)
    # One gather from the flattened image: the fastest of the ways that were timed on the CPU.
    source = rows_NH[:, :, None] * padded.shape[-1] + columns_NW[:, None, :]
    source_NCP = source.view(n, 1, height * width).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, source_NCP).view(n, channels, height, width)


def _centered(size: int, device: torch.device) -> Tensor:
    """Return the coordinates of ``size`` pixel centers with the origin in the middle."""
    return torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2
