"""Batches: each image once, in an order and an augmentation of (seed, epoch) alone."""

import random

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torchvision import transforms

from pade_bench.data.augmentation import RandomCropAndFlip, RandomRotation
from pade_bench.data.decoding import Requests
from pade_bench.data.loader import (
    BatchLoader,
    Chunks,
    EpochSampler,
    Normalization,
    Shard,
    ShuffledLoader,
    Split,
    shares,
)
from pade_bench.errors import ConfigurationError

CPU = torch.device("cpu")
NORMALIZE = Normalization(mean=(0.1307,), std=(0.3081,))
N = 103


@pytest.fixture(scope="module")
def split():
    """Random images, each labeled with its own index."""
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
    assert torch.equal(images, NORMALIZE.on(CPU)(split.images[labels].float()))


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
    assert torch.equal(torch.cat(images), NORMALIZE.on(CPU)(split.images.float()))


def test_normalization_has_the_bits_of_torchvisions():
    normalization = Normalization(mean=(0.1307, 0.5), std=(0.3081, 0.25))
    image = torch.arange(256, dtype=torch.uint8).view(16, 16, 1).expand(16, 16, 2)
    expected = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(normalization.mean, normalization.std)]
    )(image.numpy())
    found = normalization.on(CPU)(image.permute(2, 0, 1)[None].float())[0]
    assert torch.equal(found, expected)


def test_iterating_leaves_the_data_as_it_was(split, stream):
    before = split.images.clone()
    stream()
    list(BatchLoader(split, 16, NORMALIZE))
    assert torch.equal(split.images, before)


def sharded(processes, make, *arguments):
    """Return what ``make`` gives each process: a list of batches."""
    return [list(make(*arguments, Shard(rank, processes))) for rank in range(processes)]


@settings(deadline=None)
@given(n=st.integers(1, 200), batch_size=st.integers(1, 20), processes=st.integers(1, 8))
@example(n=17, batch_size=4, processes=4)  # one image is left, for four processes
@example(n=3, batch_size=20, processes=3)
def test_processes_share_what_one_would_take_at_once(n, batch_size, processes):
    if n < processes:
        with pytest.raises(ConfigurationError, match=rf"{n} image\(s\) .* {processes} processes"):
            shares(n, batch_size, Shard(0, processes), keep_all=True)
        return
    row = torch.arange(n)
    for keep_all in (False, True):
        parts = [
            [row[part] for part in shares(n, batch_size, Shard(rank, processes), keep_all)]
            for rank in range(processes)
        ]
        alone = list(row.split(batch_size * processes))
        if len(alone[-1]) < processes:
            rest = alone.pop()
            if keep_all:
                alone[-1] = torch.cat((alone[-1], rest))
        for whole, *batches in zip(alone, *parts, strict=True):  # as many steps in every process
            assert torch.equal(torch.cat(batches), whole)
            for batch, expected in zip(batches, whole.tensor_split(processes), strict=True):
                assert torch.equal(batch, expected)
                assert len(batch)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(8, 60),
    batch_size=st.integers(1, 9),
    processes=st.integers(1, 8),
    augment=st.sampled_from([RandomRotation(30.0), RandomCropAndFlip(4)]),
)
def test_the_processes_together_see_the_images_of_one(n, batch_size, processes, augment):
    pixels = torch.arange(n * 8 * 8) * 17 % 251
    split = Split(pixels.to(torch.uint8).view(n, 1, 8, 8), torch.arange(n))

    def trained(batch_size, shard):
        sampler = EpochSampler(seed=1)
        sampler.set_epoch(2)
        return ShuffledLoader(split, batch_size, NORMALIZE, augment, sampler, shard)

    def tested(shard):
        return BatchLoader(split, batch_size, NORMALIZE, shard)

    parts = sharded(processes, trained, batch_size)
    alone = list(trained(batch_size * processes, Shard()))
    left_out = 0 < n % (batch_size * processes) < processes
    for whole, *batches in zip(alone[: len(alone) - left_out], *parts, strict=True):
        for together, expected in zip(zip(*batches, strict=True), whole, strict=True):
            assert torch.equal(torch.cat(together), expected)
    labels = [
        batch[1] for batches in zip(*sharded(processes, tested), strict=True) for batch in batches
    ]
    assert torch.equal(torch.cat(labels), split.labels)


@settings(deadline=None)
@given(
    n=st.integers(8, 200),
    batch_size=st.integers(1, 20),
    processes=st.integers(1, 8),
    epoch=st.integers(0, 5),
)
def test_requests_for_files_are_shared_like_batches(n, batch_size, processes, epoch):
    sampler = EpochSampler(seed=1)
    sampler.set_epoch(epoch)

    def requests(batch_size, sampler, shard):
        return Requests(n, batch_size, shard, sampler)

    parts = sharded(processes, requests, batch_size, sampler)
    alone = list(requests(batch_size * processes, sampler, Shard()))
    assert [i for _, indices in alone for i in indices] == sampler.order(n).tolist()
    left_out = 0 < n % (batch_size * processes) < processes
    for whole, *batches in zip(alone[: len(alone) - left_out], *parts, strict=True):
        assert whole == (epoch, [i for _, indices in batches for i in indices])
        assert {number for number, _ in batches} == {epoch}
    steps = zip(*sharded(processes, requests, batch_size, None), strict=True)
    assert [i for step in steps for _, indices in step for i in indices] == list(range(n))


@pytest.mark.parametrize("augment", [RandomRotation(30.0), RandomCropAndFlip(4)])
def test_batches_augmented_together_are_the_batches_augmented_one_by_one(augment):
    images = torch.randint(256, (50, 3, 32, 32), dtype=torch.uint8)
    split = Split(images, torch.arange(50))
    normalize = Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))

    def loader(at_once):
        return ShuffledLoader(split, 8, normalize, augment, EpochSampler(3), at_once=at_once)

    alone, together = list(loader(1)), list(loader(3))
    assert [len(labels) for _, labels in together] == [8] * 6 + [2]
    for found, expected in zip(together, alone, strict=True):
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


def test_an_epoch_drawn_ahead_is_that_epoch_whatever_came_before_it(split, stream):
    rotation = RandomRotation(30.0)
    ahead = ShuffledLoader(split, 16, NORMALIZE, rotation, EpochSampler(0), at_once=3)
    # In turn, twice, back, and from an epoch that is not at its end.
    for number in (0, 1, 1, 5, 6, 2):
        ahead.sampler.set_epoch(number)
        next(iter(ahead))
        images, labels = zip(*ahead, strict=True)
        assert same((torch.cat(images), torch.cat(labels)), stream(number))


def test_chunks_are_the_batches_of_a_loader_in_their_order():
    split = Split(torch.zeros(50, 1, 32, 32, dtype=torch.uint8), torch.arange(50))
    loader = ShuffledLoader(split, 8, NORMALIZE, RandomRotation(30.0), EpochSampler(3))
    chunks = Chunks(loader, 3)
    assert chunks.sampler is loader.sampler
    assert len(chunks) == 3
    found = list(chunks)
    assert [len(chunk.batches) for chunk in found] == [3, 3, 1]
    for (_, labels), (_, expected) in zip(
        [batch for chunk in found for batch in chunk.batches], loader, strict=True
    ):
        assert torch.equal(labels, expected)
    assert not hasattr(Chunks(BatchLoader(split, 8, NORMALIZE), 3), "sampler")
