"""IDX files: whatever is wrong with one is found, and the message names the file."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pade_bench.data.idx import parse_idx, read_bytes
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


@pytest.mark.parametrize("length", [0, 5, 12, -20, -8, -1])
def test_a_truncated_gzip_file_is_refused(tmp_path, length):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(CONTENT)[:length])
    with pytest.raises(DataError, match=f"{path} is (truncated or corrupted|not an IDX file)"):
        parse_idx(read_bytes(path), 3, path)


def test_any_changed_byte_of_a_gzip_file_is_refused_or_harmless(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    packed = gzip.compress(CONTENT)
    harmless = 0
    for position in range(len(packed)):
        for change in (0x01, 0x80, 0xFF):
            content = bytearray(packed)
            content[position] ^= change
            path.write_bytes(content)
            try:
                assert read_bytes(path) == CONTENT
                harmless += 1
            except DataError as error:
                assert str(path) in str(error)  # noqa: PT017
    assert harmless < 30  # the time in the header and the like, of 3 changes to each byte


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path / 'nothing'} cannot be read: No such file"):
        read_bytes(tmp_path / "nothing")
