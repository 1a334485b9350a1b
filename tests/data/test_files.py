"""Published files: read whole or refused, and taken for official only if they are."""

import gzip
import hashlib
import tracemalloc

import pytest

from pade_bench.data.files import PublishedFiles, read_bytes, verify
from pade_bench.errors import DataError

CONTENT = bytes(range(200))
MOST = len(CONTENT)
OFFICIAL = {"A": {"x": hashlib.md5(CONTENT).hexdigest(), "y": "0" * 32}, "B": {"x": "1" * 32}}


@pytest.mark.parametrize("length", [5, 12, -20, -8, -1])
def test_a_truncated_gzip_file_is_refused(tmp_path, length):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(CONTENT)[:length])
    with pytest.raises(DataError, match=f"{path} is truncated or corrupted"):
        read_bytes(path, MOST)


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
                content = read_bytes(path, MOST)
                verify(content, path, "x", "A", OFFICIAL)  # of one that begins otherwise
                assert content == CONTENT
                harmless += 1
            except DataError as error:
                assert str(path) in str(error)  # noqa: PT017
    assert harmless < 30  # the time in the header and the like, of 3 changes to each byte


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path / 'nothing'} cannot be read: No such file"):
        read_bytes(tmp_path / "nothing", MOST)


@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["unpacked", "packed"])
def test_a_file_is_unpacked_where_it_is_packed_whatever_its_name_says(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(CONTENT))
    assert read_bytes(tmp_path / name, MOST) == CONTENT


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["unpacked", "packed"])
def test_no_more_is_unpacked_than_was_published(tmp_path, pack):
    path = tmp_path / "file.gz"
    path.write_bytes(pack(bytes(50_000_000)))
    tracemalloc.start()
    with pytest.raises(DataError, match="holds more than 1,000,000 bytes"):
        read_bytes(path, 1_000_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5_000_000


def test_a_download_that_never_ends_does_not_fill_the_disk(tmp_path):
    files = PublishedFiles("A", tmp_path, "A/raw", ("x",), most_bytes=1000)

    def download(folder):
        with (folder / "x").open("wb", buffering=0) as file:
            for _ in range(100):
                file.write(bytes(600))
                file.write(bytes(600))

    with pytest.raises(DataError, match=r"downloading it failed: .*File too large"):
        files.obtain(download, "x")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "afterwards").write_bytes(bytes(5000))


@pytest.mark.parametrize("name", ["X", "x (1).gz", "copy of x", "x.part"])
def test_a_name_that_is_near_is_used_or_named_before_anything_is_downloaded(tmp_path, name):
    (tmp_path / name).write_bytes(CONTENT)
    files = PublishedFiles("A", tmp_path, "A/raw", ("x",), MOST, suffixes=(".gz", ""))
    if name == "X":
        assert files.path(files.obtain(None, "x"), "x") == tmp_path / "X"
    else:
        with pytest.raises(DataError, match=r"A was not found, but .*/.*x.* Nothing was download"):
            files.obtain(None, "x")


def test_only_the_official_content_passes_and_another_official_file_is_named():
    verify(CONTENT, "there", "x", "A", OFFICIAL)
    with pytest.raises(DataError, match="there is not the official y of A: it is x of A"):
        verify(CONTENT, "there", "y", "A", OFFICIAL)
    with pytest.raises(DataError, match="there is not the official x of B: it is x of A"):
        verify(CONTENT, "there", "x", "B", OFFICIAL)
    with pytest.raises(DataError, match=r"the MD5 of its uncompressed content is [0-9a-f]{32}"):
        verify(CONTENT[:-1], "there", "x", "A", OFFICIAL)
