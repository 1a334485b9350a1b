"""Published files: read whole or refused, and taken for official only if they are."""

import gzip
import hashlib

import pytest

from pade_bench.data.files import read_bytes, verify
from pade_bench.errors import DataError

CONTENT = bytes(range(200))
OFFICIAL = {"A": {"x": hashlib.md5(CONTENT).hexdigest(), "y": "0" * 32}, "B": {"x": "1" * 32}}


@pytest.mark.parametrize("length", [5, 12, -20, -8, -1])
def test_a_truncated_gzip_file_is_refused(tmp_path, length):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(CONTENT)[:length])
    with pytest.raises(DataError, match=f"{path} is truncated or corrupted"):
        read_bytes(path)


def test_any_changed_byte_of_a_gzip_file_is_refused_or_harmless(tmp_path):
    path = tmp_path / "file.gz"
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


def test_only_the_official_content_passes_and_another_official_file_is_named():
    verify(CONTENT, "there", "x", "A", OFFICIAL)
    with pytest.raises(DataError, match="there is not the official y of A: it is x of A"):
        verify(CONTENT, "there", "y", "A", OFFICIAL)
    with pytest.raises(DataError, match="there is not the official x of B: it is x of A"):
        verify(CONTENT, "there", "x", "B", OFFICIAL)
    with pytest.raises(DataError, match=r"the MD5 of its uncompressed content is [0-9a-f]{32}"):
        verify(CONTENT[:-1], "there", "x", "A", OFFICIAL)
