"""Augmentations are torchvision's, and are drawn from the generator they are given."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as reference

from pade_bench.data.augmentation import (
    RandomCropAndFlip,
    RandomRotation,
    crop_and_flip,
    rotate,
    rotations,
)


def noise(n, channels=1, height=32, width=32):
    """Images without a 0 in which neighbors differ: a pixel from elsewhere shows."""
    generator = torch.Generator().manual_seed(0)
    shape = (n, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)


def degrees(n, most):
    return torch.linspace(-most, most, n, dtype=torch.float64) + 0.123


@pytest.mark.parametrize(
    ("channels", "height", "width", "most"),
    [(1, 32, 32, 30), (1, 32, 32, 180), (3, 32, 32, 30), (2, 17, 28, 90)],
)
def test_rotation_is_torchvisions(channels, height, width, most):
    images, angles = noise(200, channels, height, width), degrees(200, most)
    expected = torch.stack(
        [reference.rotate(x, a.item()) for x, a in zip(images, angles, strict=True)]
    )
    turned = rotate(images.float(), rotations(angles))
    # None on the machines we know; a BLAS that fuses multiply and add may break ties otherwise.
    assert (turned != expected).float().mean() <= 1e-5


def test_rotation_is_the_nearest_pixel_wherever_that_is_not_a_tie():
    images, angles = noise(100), degrees(100, 30)
    turned = rotate(images.float(), rotations(angles))
    center = np.arange(32) - 15.5
    for image, result, angle in zip(images, turned, angles.numpy(), strict=True):
        a = np.deg2rad(angle)
        x = np.cos(a) * center[None, :] - np.sin(a) * center[:, None] + 15.5
        y = np.sin(a) * center[None, :] + np.cos(a) * center[:, None] + 15.5
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (column >= 0) & (column < 32) & (row >= 0) & (row < 32)
        expected = np.where(inside, np.pad(image[0].numpy(), 64)[row + 64, column + 64], 0)
        clear = np.maximum(abs(x - column), abs(y - row)) < 0.5 - 1e-5
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(result[0].numpy()[clear], expected[clear])


def test_rotation_agrees_with_pillows_but_for_a_few_pixels_in_ten_thousand():
    images, angles = noise(100), degrees(100, 30)
    pillow = np.stack(
        [
            np.asarray(reference.rotate(Image.fromarray(x[0].numpy()), a.item()))
            for x, a in zip(images, angles, strict=True)
        ]
    )
    turned = rotate(images.float(), rotations(angles))[:, 0].numpy()
    assert (turned != pillow).mean() < 1e-3  # Pillow computes in fixed point


def test_rotation_by_nothing_changes_nothing():
    images = noise(10, 3).float()
    drawn = RandomRotation(0.0).draw(10, torch.Generator().manual_seed(0))
    assert torch.equal(rotate(images, drawn), images)


def test_a_rotation_does_not_depend_on_the_batch_it_is_in():
    images, drawn = noise(64).float(), rotations(degrees(64, 30))
    one_by_one = torch.cat([rotate(images[i : i + 1], drawn[i : i + 1]) for i in range(64)])
    assert torch.equal(rotate(images, drawn), one_by_one)


def test_angles_are_uniform_within_the_limit():
    cos, sin = RandomRotation(30.0).draw(20_000, torch.Generator().manual_seed(0)).double().T
    angles = torch.rad2deg(torch.atan2(sin, cos))
    assert angles.abs().max() <= 30.00001
    counts = torch.histc(angles, bins=10, min=-30, max=30)
    assert (counts - 2000).abs().max() < 5 * 2000**0.5


def every_crop(padding):
    """Return every (row, column, flip) that there is."""
    side = torch.arange(2 * padding + 1)
    return torch.cartesian_prod(side, side, torch.arange(2))


@pytest.mark.parametrize(
    ("channels", "height", "width", "padding"), [(3, 32, 32, 4), (1, 17, 28, 2), (2, 5, 5, 7)]
)
def test_crop_and_flip_is_torchvisions_for_every_draw(channels, height, width, padding):
    drawn = every_crop(padding)
    images = noise(len(drawn), channels, height, width)
    changed = crop_and_flip(images.float(), drawn, padding)
    for image, (row, column, flip), result in zip(images, drawn.tolist(), changed, strict=True):
        expected = reference.crop(reference.pad(image, padding), row, column, height, width)
        assert torch.equal(result, reference.hflip(expected) if flip else expected)


def test_crops_are_drawn_as_torchvision_draws_them():
    drawn = RandomCropAndFlip(4).draw(16_200, torch.Generator().manual_seed(0))
    kinds, counts = drawn.unique(dim=0, return_counts=True)
    assert torch.equal(kinds, every_crop(4))  # each offset and flip, and no other
    assert (counts - 100).abs().max() < 5 * 100**0.5
    # torchvision's own draws from an image whose pixels say where they come from.
    place = torch.arange(1, 1 + 32 * 32).view(1, 32, 32)
    crop = transforms.RandomCrop(32, padding=4)
    corners = {tuple(offset(crop(place)[0])) for _ in range(2000)}
    assert corners == {(row - 4, column - 4) for row, column, _ in kinds.tolist()}


def offset(cut):
    """Return how far a cut out of numbered pixels lies below and right of the whole."""
    row, column = (cut > 0).nonzero()[0].tolist()
    number = cut[row, column].item() - 1
    return number // 32 - row, number % 32 - column


def test_nothing_padded_is_only_mirrored():
    images = noise(50, 3).float()
    drawn = RandomCropAndFlip(0).draw(50, torch.Generator().manual_seed(0))
    mirrored = RandomCropAndFlip(0)(images, drawn)
    for image, (_, _, flip), result in zip(images, drawn.tolist(), mirrored, strict=True):
        assert torch.equal(result, image.flip(-1) if flip else image)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_rotation_is_the_same_on_a_gpu():
    images, drawn = noise(500).float(), rotations(degrees(500, 30))
    assert torch.equal(rotate(images.cuda(), drawn.cuda()).cpu(), rotate(images, drawn))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_crop_and_flip_is_the_same_on_a_gpu():
    drawn = every_crop(4)
    images = noise(len(drawn), 3).float()
    on_gpu = crop_and_flip(images.cuda(), drawn.cuda(), 4)
    assert torch.equal(on_gpu.cpu(), crop_and_flip(images, drawn, 4))
