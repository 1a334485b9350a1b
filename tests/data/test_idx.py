"""IDX files: whatever is wrong with one is found, and the message names the file."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pade_bench.data.idx import parse_idx
from pade_bench.errors import DataError

PATH = Path("train-images-idx3-ubyte")
ARRAY = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
CONTENT = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2, 3, 5) + ARRAY.tobytes()


def test_an_array_comes_back():
    data = parse_idx(CONTENT, 3, PATH)
    assert data.dtype == torch.uint8
    np.testing.assert_array_equal(data.numpy(), ARRAY)


@settings(deadline=None)
@given(st.integers(0, len(CONTENT) - 1))
def test_a_truncated_file_is_refused_wherever_it_ends(length):
    with pytest.raises(DataError, match=f"^{PATH} is (truncated|not an IDX file)"):
        parse_idx(CONTENT[:length], 3, PATH)


@settings(deadline=None)
@given(st.integers(0, 15), st.integers(1, 255))
def test_any_wrong_byte_in_the_header_is_refused(position, change):
    content = bytearray(CONTENT)
    content[position] ^= change
    with pytest.raises(DataError, match=f"^{PATH} is (truncated|too long|not an IDX file)"):
        parse_idx(bytes(content), 3, PATH)


def test_the_message_counts_what_is_there():
    expected = "truncated: its header announces 2 × 3 × 5 = 30 bytes of data, it holds 28."
    with pytest.raises(DataError, match=re.escape(expected)):
        parse_idx(CONTENT[:-2], 3, PATH)
    with pytest.raises(DataError, match=r"too long: .* it holds 31"):
        parse_idx(CONTENT + b"\0", 3, PATH)


def test_labels_in_the_place_of_images_are_refused():
    with pytest.raises(DataError, match=r"3 dimension.*begins with 00000801 and not 00000803"):
        parse_idx(bytes((0, 0, 8, 1, 0, 0, 0, 9)) + bytes(9), 3, PATH)
