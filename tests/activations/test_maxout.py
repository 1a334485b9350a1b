"""Maxout reduces channels, so it is not in the catalog of element-wise formulas."""

import pytest
import torch

from pade_bench.activations import Maxout
from pade_bench.errors import ConfigurationError


@pytest.mark.parametrize("pieces", [2, 3])
@pytest.mark.parametrize("rest", [(), (4, 5)])
def test_each_output_is_the_maximum_of_neighboring_channels(pieces, rest):
    x = torch.randn(2, 6 * pieces, *rest)
    y = Maxout(pieces)(x)
    assert y.shape == (2, 6, *rest)
    for i in range(6):
        assert torch.equal(y[:, i], x[:, pieces * i : pieces * (i + 1)].amax(1))


def test_the_gradient_goes_to_the_greatest_piece_alone():
    x = torch.tensor([[1.0, 3.0, 2.0, -1.0]], requires_grad=True)
    Maxout()(x).sum().backward()
    assert x.grad.tolist() == [[0, 1, 1, 0]]


def test_the_memory_format_is_kept():
    x = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    assert Maxout()(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("pieces", [1, 0, -2, 2.0, True, "two"])
def test_impossible_numbers_of_pieces_are_refused(pieces):
    with pytest.raises(ConfigurationError, match=r"pieces=.* is not a whole number of at least 2"):
        Maxout(pieces)
