"""Batches: each image once, in an order and an augmentation of (seed, epoch) alone."""

import random

import numpy as np
import pytest
import torch
from torchvision import transforms

from pade_bench.data.augmentation import RandomRotation
from pade_bench.data.loader import (
    BatchLoader,
    EpochSampler,
    Normalization,
    ShuffledLoader,
    Split,
)

NORMALIZE = Normalization(mean=(0.1307,), std=(0.3081,))
N = 103


@pytest.fixture(scope="module")
def split():
    """Random images, each labelled with its own index."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (N, 1, 32, 32), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(N))


@pytest.fixture
def stream(split):
    """Return a function that gives one epoch as (images, labels), from a fresh loader."""

    def epoch(number=0, seed=0, batch_size=16, max_rotation=30.0):
        sampler = EpochSampler(seed)
        rotation = RandomRotation(max_rotation)
        loader = ShuffledLoader(split, batch_size, NORMALIZE, rotation, sampler)
        loader.sampler.set_epoch(number)
        images, labels = zip(*loader, strict=True)
        return torch.cat(images), torch.cat(labels)

    return epoch


def same(a, b):
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


@pytest.mark.parametrize(("batch_size", "sizes"), [(50, [50, 50, 3]), (103, [103]), (200, [103])])
def test_the_last_batch_holds_what_is_left(split, batch_size, sizes):
    for loader in (
        BatchLoader(split, batch_size, NORMALIZE),
        ShuffledLoader(split, batch_size, NORMALIZE, RandomRotation(30.0), EpochSampler(0)),
    ):
        assert len(loader) == len(sizes)
        assert [len(labels) for _, labels in loader] == sizes
        for images, labels in loader:
            assert images.shape == (len(labels), 1, 32, 32)
            assert images.dtype == torch.float32
            assert labels.dtype == torch.int64


def test_an_epoch_shows_each_image_once_with_its_own_label(split, stream):
    images, labels = stream(max_rotation=0.0)
    assert labels.tolist() != list(range(N))
    assert sorted(labels.tolist()) == list(range(N))
    assert torch.equal(images, NORMALIZE(split.images[labels].float()))


def test_an_epoch_depends_on_seed_and_number_alone(stream):
    assert same(stream(number=3, seed=5), stream(number=3, seed=5))
    for other in (stream(number=4, seed=5), stream(number=3, seed=4), stream(number=5, seed=3)):
        assert not torch.equal(stream(number=3, seed=5)[1], other[1])


def test_an_epoch_does_not_depend_on_those_before_it(split, stream):
    loader = ShuffledLoader(split, 16, NORMALIZE, RandomRotation(30.0), EpochSampler(0))
    list(loader)
    loader.sampler.set_epoch(1)
    next(iter(loader))  # an epoch that is given up after a batch
    loader.sampler.set_epoch(2)
    images, labels = zip(*loader, strict=True)
    assert same((torch.cat(images), torch.cat(labels)), stream(number=2))


def test_the_batch_size_changes_neither_order_nor_augmentation(stream):
    assert same(stream(batch_size=7), stream(batch_size=64))


def test_the_augmentation_does_not_change_the_order(stream):
    assert torch.equal(stream(max_rotation=0.0)[1], stream(max_rotation=30.0)[1])


def test_each_epoch_turns_an_image_by_another_angle(stream):
    (images0, labels0), (images1, labels1) = stream(number=0), stream(number=1)
    differ = images0[labels0.argsort()] != images1[labels1.argsort()]
    assert differ.flatten(1).any(1).all()


def test_global_generators_are_neither_read_nor_changed(stream):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = stream()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]
    torch.manual_seed(2)
    assert same(stream(), first)


def test_the_plain_loader_keeps_order_and_pixels(split):
    images, labels = zip(*BatchLoader(split, 16, NORMALIZE), strict=True)
    assert torch.equal(torch.cat(labels), split.labels)
    assert torch.equal(torch.cat(images), NORMALIZE(split.images.float()))


def test_normalization_has_the_bits_of_torchvisions():
    normalization = Normalization(mean=(0.1307, 0.5), std=(0.3081, 0.25))
    image = torch.arange(256, dtype=torch.uint8).view(16, 16, 1).expand(16, 16, 2)
    expected = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(normalization.mean, normalization.std)]
    )(image.numpy())
    assert torch.equal(normalization(image.permute(2, 0, 1)[None].float())[0], expected)


def test_iterating_leaves_the_data_as_it_was(split, stream):
    before = split.images.clone()
    stream()
    list(BatchLoader(split, 16, NORMALIZE))
    assert torch.equal(split.images, before)
