"""MNIST and Fashion-MNIST: found where they are, downloaded if not, refused if damaged."""

import gzip
import hashlib
import os
import socket
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from torchvision import transforms

from pade_bench.data import MNIST, FashionMNIST
from pade_bench.data.files import PublishedFiles
from pade_bench.data.mnist import FILES, TEST_LABELS, TRAIN_IMAGES
from pade_bench.errors import DataError


@pytest.fixture
def packed(files, monkeypatch):
    """The files as a mirror holds them, with torchvision's checksums set to theirs."""
    packed = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    checksums = [(name, hashlib.md5(body).hexdigest()) for name, body in packed.items()]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", checksums)
    return packed


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
@pytest.mark.parametrize("folder", ["", "MNIST/raw"])
@pytest.mark.usefixtures("offline")
def test_files_are_read_where_they_are_and_left_as_they_were(
    tmp_path, files, folder, packed, snapshot
):
    files.write(tmp_path / folder, packed)
    before = snapshot(tmp_path)
    train, test = MNIST(tmp_path).load()
    assert train.images.shape == (50, 1, 32, 32)
    assert train.images.dtype == torch.uint8
    assert train.labels.tolist() == files.train_labels.tolist()
    assert test.labels.tolist() == files.test_labels.tolist()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("-idx", ".idx"), ("-ubyte", "-UBYTE"), ("-", "_"), ("ubyte", "ubyte.gz")],
    ids=["dot", "case", "underscore", "gz"],
)
@pytest.mark.usefixtures("offline")
def test_unpacked_files_may_be_called_a_little_differently(tmp_path, files, old, new):
    for name, content in files.items():
        (tmp_path / name.replace(old, new)).write_bytes(content)
    train, test = MNIST(tmp_path).load()
    assert train.labels.tolist() == files.train_labels.tolist()
    assert test.labels.tolist() == files.test_labels.tolist()


def test_pixels_are_those_of_torchvisions_dataset_and_resize(tmp_path, files):
    files.write(tmp_path / "MNIST" / "raw", packed=False)
    reference = torchvision.datasets.MNIST(
        tmp_path,
        transform=transforms.Compose([transforms.Resize((32, 32)), transforms.PILToTensor()]),
    )
    train, _ = MNIST(tmp_path).load()
    for image, label, (expected, target) in zip(*train, reference, strict=True):
        assert torch.equal(image, expected)
        assert label == target


def test_a_complete_folder_is_preferred_to_an_incomplete_one(tmp_path, files):
    files.write(tmp_path)
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / f"{TRAIN_IMAGES}.gz").write_bytes(b"half a downlo")
    train, _ = MNIST(tmp_path).load()
    assert len(train.labels) == 50


def test_a_missing_file_is_named_and_nothing_is_downloaded(tmp_path, files, offline):
    files.write(tmp_path)
    (tmp_path / f"{TEST_LABELS}.gz").unlink()
    with pytest.raises(DataError, match=f"{tmp_path} lacks {TEST_LABELS} .*data.root=DIR"):
        MNIST(tmp_path).prepare_data()
    assert not offline


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_a_changed_pixel_or_label_is_found(tmp_path, files, name, packed):
    content = bytearray(files[name])
    content[-1] ^= 1
    files[name] = bytes(content)
    files.write(tmp_path, packed)
    with pytest.raises(DataError, match=f"{name}.* is not the official {name} of MNIST: the MD5"):
        MNIST(tmp_path).prepare_data()


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_a_truncated_file_is_found(tmp_path, files, packed):
    files.write(tmp_path, packed)
    path = tmp_path / (f"{TRAIN_IMAGES}.gz" if packed else TRAIN_IMAGES)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=f"{path} is truncated"):
        MNIST(tmp_path).prepare_data()


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
def test_mnist_and_fashion_mnist_are_not_taken_for_each_other(
    tmp_path, files, fashion_files, packed
):
    files.write(tmp_path / "a", packed)
    fashion_files.write(tmp_path / "b", packed)
    assert len(MNIST(tmp_path / "a").load()[0].labels) == 50
    assert len(FashionMNIST(tmp_path / "b").load()[0].labels) == 50
    with pytest.raises(DataError, match=f"of FashionMNIST: it is {TRAIN_IMAGES} of MNIST"):
        FashionMNIST(tmp_path / "a").prepare_data()
    with pytest.raises(DataError, match=f"of MNIST: it is {TRAIN_IMAGES} of FashionMNIST"):
        MNIST(tmp_path / "b").prepare_data()


def test_test_files_are_not_taken_for_train_files(tmp_path, files):
    files[TRAIN_IMAGES] = files["t10k-images-idx3-ubyte"]
    files.write(tmp_path)
    with pytest.raises(DataError, match="it is t10k-images-idx3-ubyte of MNIST"):
        MNIST(tmp_path).prepare_data()


def test_a_failed_download_says_what_to_do(tmp_path, offline, snapshot):
    with pytest.raises(DataError) as caught:
        FashionMNIST(tmp_path).prepare_data()
    message = str(caught.value)
    assert "FashionMNIST was found neither in" in message
    assert f"{tmp_path / 'FashionMNIST' / 'raw'} nor in {tmp_path}" in message
    assert "Name or service not known" in message
    assert all(name in message for name in FILES)
    assert "data.root=DIR" in message
    assert offline
    assert not snapshot(tmp_path)
    assert socket.getdefaulttimeout() is None


@pytest.mark.usefixtures("offline")
def test_a_root_that_is_a_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "file"
    path.write_text("not a folder")
    with pytest.raises(DataError, match=f"Not a directory: '{path}"):
        MNIST(path).prepare_data()


def test_a_download_is_kept_and_used_the_next_time(tmp_path, packed, serve, files, monkeypatch):
    serve(packed)
    root = tmp_path / "data"
    train, _ = MNIST(root).load()
    assert train.labels.tolist() == files.train_labels.tolist()
    assert os.listdir(root) == ["MNIST"]
    assert set(FILES) <= set(os.listdir(root / "MNIST" / "raw"))
    monkeypatch.setattr(PublishedFiles, "_download", None)
    assert torch.equal(MNIST(root).load()[0].images, train.images)


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (urllib.error.URLError("reset"), DataError),
        (TimeoutError("timed out"), DataError),
        (b"not what was asked for", DataError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["lost", "silent", "wrong", "ctrl-c"],
)
def test_half_a_download_leaves_nothing(tmp_path, packed, serve, answer, raised):
    packed[f"{TEST_LABELS}.gz"] = answer  # the last of the four
    serve(packed)
    with pytest.raises(raised):
        MNIST(tmp_path / "data").prepare_data()
    assert not list(tmp_path.iterdir())


def test_a_download_that_another_process_finished_first_is_used(tmp_path, files, monkeypatch):
    class Slower(torchvision.datasets.MNIST):
        def __init__(self, folder, download):
            files.write(tmp_path / "MNIST" / "raw")
            raise RuntimeError("too late")

    Slower.__name__ = "MNIST"
    monkeypatch.setattr(MNIST, "downloader", Slower)
    assert len(MNIST(tmp_path).load()[0].labels) == 50


@pytest.mark.skipif("PADE_BENCH_MNIST" not in os.environ, reason="PADE_BENCH_MNIST=DIR not set")
def test_the_real_mnist_is_recognized():
    train, test = MNIST(os.environ["PADE_BENCH_MNIST"]).load()
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    counts = np.bincount(train.labels.numpy()).tolist()
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(test.labels) == len(test.images) == 10_000
    with pytest.raises(DataError, match=r"of FashionMNIST: it is .* of MNIST"):
        FashionMNIST(os.environ["PADE_BENCH_MNIST"]).load()
