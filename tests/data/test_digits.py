"""scikit-learn's digits: one fixed, stratified split."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pade_bench.data import Digits


@pytest.fixture(scope="module")
def splits():
    return Digits().load()


def test_the_split_is_stratified_and_loses_nothing(splits):
    train, test = splits
    assert (len(train.labels), len(test.labels)) == (1437, 360)
    total = np.bincount(load_digits().target)
    assert (abs(test.labels.bincount().numpy() - 0.2 * total) < 1).all()
    assert (train.labels.bincount().numpy() + test.labels.bincount().numpy() == total).all()
    whole = torch.cat([train.images, test.images]).flatten(1)
    assert len(whole.unique(dim=0)) == len(whole) == 1797


def test_the_split_is_the_same_for_every_seed(splits):
    for seed in (1, 2):
        for split, expected in zip(Digits(seed=seed).load(), splits, strict=True):
            assert torch.equal(split.images, expected.images)
            assert torch.equal(split.labels, expected.labels)
    assert splits[1].labels[:10].tolist() == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3]


def test_images_span_the_range_of_a_byte(splits):
    for images, _ in splits:
        assert images.shape[1:] == (1, 32, 32)
        assert images.dtype == torch.uint8
        assert (images.min(), images.max()) == (0, 255)


def test_normalization_is_that_of_the_train_split(splits):
    pixels = splits[0].images.double() / 255
    assert Digits.normalization.mean[0] == pytest.approx(pixels.mean().item(), abs=5e-5)
    assert Digits.normalization.std[0] == pytest.approx(pixels.std().item(), abs=5e-5)
