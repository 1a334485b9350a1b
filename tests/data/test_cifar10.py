"""CIFAR-10: found where it is, downloaded if not, refused if damaged, never run as code."""

import gzip
import io
import os
import pickle
import socket
import tarfile
import tracemalloc
import urllib.error

import pytest
import torch
import torchvision

from pade_bench.data import CIFAR10, cifar10
from pade_bench.data.cifar10 import ARCHIVE, TEST, TRAIN, read_batch
from pade_bench.data.files import PublishedFiles
from pade_bench.errors import DataError

FOLDER = "cifar-10-batches-py"


@pytest.mark.parametrize("place", ["", FOLDER, ARCHIVE])
@pytest.mark.usefixtures("offline")
def test_files_are_read_where_they_are_and_left_as_they_were(
    tmp_path, cifar_files, place, snapshot
):
    if place == ARCHIVE:
        (tmp_path / ARCHIVE).write_bytes(cifar_files.packed)
    else:
        cifar_files.write(tmp_path / place)
    before = snapshot(tmp_path)
    train, test = CIFAR10(tmp_path).load()
    assert train.images.shape == (100, 3, 32, 32)
    assert train.images.dtype == torch.uint8
    labels = [label for name in TRAIN for label in cifar_files.labels[name]]
    assert train.labels.tolist() == labels
    assert test.labels.tolist() == cifar_files.labels[TEST]
    assert test.images.flatten(1).tolist() == cifar_files.images[TEST].tolist()
    assert snapshot(tmp_path) == before


def test_images_and_labels_are_those_of_torchvisions_dataset(tmp_path, cifar_files):
    cifar_files.write(tmp_path / FOLDER)
    for split, is_train in zip(CIFAR10(tmp_path).load(), (True, False), strict=True):
        reference = torchvision.datasets.CIFAR10(tmp_path, train=is_train)
        assert split.labels.tolist() == reference.targets
        assert torch.equal(split.images.permute(0, 2, 3, 1), torch.from_numpy(reference.data))


def test_the_archive_serves_where_the_unpacked_files_are_incomplete(tmp_path, cifar_files):
    cifar_files.write(tmp_path / FOLDER)
    (tmp_path / FOLDER / TEST).unlink()
    (tmp_path / ARCHIVE).write_bytes(cifar_files.packed)
    assert len(CIFAR10(tmp_path).load()[1].labels) == 20


@pytest.mark.parametrize("name", ["cifar-10-python.tar", "cifar-10-python.tgz", ARCHIVE])
@pytest.mark.parametrize("unpack", [bytes, gzip.decompress], ids=["packed", "unpacked"])
@pytest.mark.usefixtures("offline")
def test_the_archive_is_read_whatever_its_ending_says(tmp_path, cifar_files, name, unpack):
    (tmp_path / name).write_bytes(unpack(cifar_files.packed))
    assert len(CIFAR10(tmp_path).load()[1].labels) == 20


def test_an_archive_with_another_name_is_named_before_anything_is_downloaded(
    tmp_path, cifar_files, offline
):
    (tmp_path / "cifar-10-python (1).tar.gz").write_bytes(cifar_files.packed)
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(b"another data set")
    with pytest.raises(DataError, match=r"\(1\)\.tar\.gz\. If that is cifar-10-python\.tar"):
        CIFAR10(tmp_path).prepare_data()
    assert not offline


def member(name, kind, size=0, link=""):
    found = tarfile.TarInfo(name)
    found.type, found.size, found.linkname = kind, size, link
    return found


@pytest.mark.parametrize(
    "entry",
    [member(TEST, tarfile.SYMTYPE, link="/etc/passwd"), member(TEST, tarfile.FIFOTYPE),
     member(TEST, tarfile.LNKTYPE, link=TRAIN[0]), member(TEST, tarfile.DIRTYPE),
     member(TEST, tarfile.REGTYPE, size=200_000_000)],
    ids=["link", "pipe", "hard link", "folder", "too long"],
)  # fmt: skip
def test_of_an_archive_only_regular_files_of_ordinary_length_are_read(tmp_path, cifar_files, entry):
    del cifar_files[TEST]
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as archive:
        for name, content in cifar_files.items():
            archive.addfile(member(name, tarfile.REGTYPE, len(content)), io.BytesIO(content))
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    with pytest.raises(DataError, match=f"{ARCHIVE} lacks test_batch"):
        CIFAR10(tmp_path).prepare_data()


@pytest.mark.usefixtures("cifar_files")
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_that_unpacks_to_more_than_the_published_one_is_refused(
    tmp_path, monkeypatch, kind
):
    monkeypatch.setattr(cifar10, "MOST_BYTES", 1_000_000)
    length = 50_000_000
    with gzip.open(tmp_path / ARCHIVE, "wb", compresslevel=1) as file:
        file.write(member("x", kind, length).tobuf(tarfile.USTAR_FORMAT) + bytes(length))
    tracemalloc.start()
    with pytest.raises(DataError, match="unpacks to more than the published one"):
        CIFAR10(tmp_path).prepare_data()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


def test_a_missing_file_is_named_and_nothing_is_downloaded(tmp_path, cifar_files, offline):
    cifar_files.write(tmp_path / FOLDER)
    (tmp_path / FOLDER / "data_batch_3").unlink()
    with pytest.raises(DataError, match=f"{FOLDER} lacks data_batch_3. Copy .*data.root=DIR"):
        CIFAR10(tmp_path).prepare_data()
    assert not offline


@pytest.mark.parametrize("name", [TRAIN[0], TRAIN[4], TEST])
def test_a_changed_byte_is_found(tmp_path, cifar_files, name):
    content = bytearray(cifar_files[name])
    content[len(content) // 2] ^= 1
    cifar_files[name] = bytes(content)
    cifar_files.write(tmp_path / "files")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / ARCHIVE).write_bytes(cifar_files.archive())
    for root in ("files", "packed"):
        with pytest.raises(DataError, match=f"{name} is not the official {name} of CIFAR10"):
            CIFAR10(tmp_path / root).prepare_data()


def test_test_images_are_not_taken_for_training_images(tmp_path, cifar_files):
    cifar_files["data_batch_2"] = cifar_files[TEST]
    cifar_files.write(tmp_path)
    with pytest.raises(DataError, match="it is test_batch of CIFAR10"):
        CIFAR10(tmp_path).prepare_data()


@pytest.mark.parametrize("length", [0, 1000, -1000])
def test_a_truncated_archive_is_found(tmp_path, cifar_files, length):
    (tmp_path / ARCHIVE).write_bytes(cifar_files.packed[:length])
    with pytest.raises(DataError, match=f"{ARCHIVE} is truncated or corrupted"):
        CIFAR10(tmp_path).prepare_data()


def test_an_archive_of_something_else_is_refused(tmp_path, cifar_files):
    del cifar_files[TEST]
    (tmp_path / ARCHIVE).write_bytes(cifar_files.archive())
    with pytest.raises(DataError, match=f"{ARCHIVE} lacks test_batch"):
        CIFAR10(tmp_path).prepare_data()


class Evil:
    """Would make a folder when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_code_in_a_pickle_is_never_run(tmp_path, cifar_files, protocol):
    evil = pickle.dumps({"data": Evil(tmp_path / "was_here"), "labels": []}, protocol)
    cifar_files["data_batch_1"] = evil
    cifar_files.write(tmp_path)
    with pytest.raises(DataError, match="is not the official data_batch_1"):
        CIFAR10(tmp_path).prepare_data()
    # Not even in a file that passes for official.
    with pytest.raises(pickle.UnpicklingError, match=r"holds no posix\.mkdir"):
        read_batch(evil)
    assert not (tmp_path / "was_here").exists()


def test_a_failed_download_says_what_to_do(tmp_path, offline, snapshot):
    with pytest.raises(DataError) as caught:
        CIFAR10(tmp_path).prepare_data()
    message = str(caught.value)
    assert f"found neither in {tmp_path / FOLDER} nor in {tmp_path}" in message
    assert "Name or service not known" in message
    for what in (*TRAIN, TEST, ARCHIVE, "data.root=DIR"):
        assert what in message
    assert len(message.splitlines()) == 2
    assert offline
    assert not snapshot(tmp_path)
    assert socket.getdefaulttimeout() is None


def test_a_download_is_kept_and_used_the_next_time(tmp_path, cifar_files, serve, monkeypatch):
    serve({ARCHIVE: cifar_files.packed})
    root = tmp_path / "data"
    train, _ = CIFAR10(root).load()
    assert os.listdir(root) == [FOLDER]
    assert torchvision.datasets.CIFAR10(root)._check_integrity()
    monkeypatch.setattr(PublishedFiles, "_download", None)
    assert torch.equal(CIFAR10(root).load()[0].images, train.images)


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (urllib.error.URLError("reset"), DataError),
        (b"not what was asked for", DataError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["lost", "wrong", "ctrl-c"],
)
@pytest.mark.usefixtures("cifar_files")
def test_half_a_download_leaves_nothing(tmp_path, serve, answer, raised):
    serve({ARCHIVE: answer})
    with pytest.raises(raised):
        CIFAR10(tmp_path / "data").prepare_data()
    assert not list(tmp_path.iterdir())
