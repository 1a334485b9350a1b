"""Training images that are set apart for validation."""

import pytest
import torch

from pade_bench.data import Digits, ImageNet
from pade_bench.data.loader import Split
from pade_bench.data.module import divide
from pade_bench.errors import ConfigurationError


def split(n):
    return Split(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1), torch.arange(n))


def test_images_keep_their_labels_and_are_in_one_part_only():
    rest, apart = divide(split(100), 30, seed=3)
    assert (len(rest.labels), len(apart.labels)) == (70, 30)
    assert sorted([*rest.labels.tolist(), *apart.labels.tolist()]) == list(range(100))
    for part in (rest, apart):
        assert torch.equal(part.images.flatten().long(), part.labels)


def test_the_seed_alone_says_which():
    assert torch.equal(divide(split(100), 30, 3)[1].labels, divide(split(100), 30, 3)[1].labels)
    assert not torch.equal(divide(split(100), 30, 3)[1].labels, divide(split(100), 30, 4)[1].labels)


def test_a_data_set_trains_on_the_rest_and_tests_on_what_it_did_before():
    plain, divided = Digits(), Digits()
    divided.set_apart(437)
    for data in (plain, divided):
        data.setup()
    test, validation = divided.val_dataloader()
    assert sum(len(labels) for _, labels in divided.train_dataloader()) == 1000
    assert sum(len(labels) for _, labels in validation) == 437
    for a, b, c in zip(test, plain.val_dataloader(), divided.test_dataloader(), strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[0], c[0])
    assert torch.equal(divided.sample_images(), plain.sample_images())


def test_images_set_apart_are_not_augmented():
    data = Digits(max_rotation=180.0)
    data.set_apart(10)
    data.setup()
    first, again = (next(iter(data.val_dataloader()[1]))[0] for _ in range(2))
    assert torch.equal(first, again)


def test_as_many_as_there_are_cannot_be_set_apart():
    data = Digits()
    data.set_apart(1437)
    with pytest.raises(ConfigurationError, match=r"data\.validation=1437: there are 1437 training"):
        data.prepare_data()


def test_a_data_set_that_cannot_refuses():
    ImageNet().set_apart(0)
    with pytest.raises(ConfigurationError, match="ImageNet cannot set images apart"):
        ImageNet().set_apart(5)
