"""Image files: listed in order, and decoded whatever they are."""

import io
import os

import numpy as np
import pytest
import torch
from image_files import picture, write_images
from PIL import Image

from pade_bench.data.folder import CorruptImageError, FolderSplit, class_names, decode
from pade_bench.errors import DataError

CLASSES = ["n00000000", "n00000001", "n00000002"]
IMAGE = picture(np.random.default_rng(0), 50, 40)


def encode(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def split_of(root, name="train", per_class=None):
    return FolderSplit(root / name, CLASSES, per_class, replaces=name == "train")


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("GIF", "P")],
)
def test_every_kind_of_image_comes_as_colors(kind, mode):
    image = IMAGE.convert(mode)
    content = encode(image, kind)
    pixels = decode(content)
    assert pixels.shape == (3, 40, 50)
    assert pixels.dtype == torch.uint8
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), expected)
    reference = np.asarray(image.convert("RGB")).astype(int)
    assert abs(reference - expected).mean() < 15  # no channel is inverted or exchanged


@pytest.mark.parametrize("channels", [1, 3])
def test_gray_of_16_bits_is_scaled_and_not_cut_off(channels):
    gray = np.array([[0, 128, 129, 257], [32896, 65278, 65406, 65535]], np.uint16)
    pixels = decode(encode(Image.fromarray(gray), "PNG"), channels)
    expected = [[0, 0, 1, 1], [128, 254, 254, 255]]
    assert pixels.tolist() == [expected] * channels


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_unknown_range_are_refused(dtype):
    content = encode(Image.fromarray(np.zeros((4, 4), dtype)), "TIFF")
    with pytest.raises(CorruptImageError, match="32 bits, whose range is not known"):
        decode(content)


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", encode(IMAGE, "JPEG")[:100], encode(IMAGE, "JPEG")[:-300],
     encode(IMAGE, "PNG")[:-300], encode(IMAGE, "PNG").replace(b"IDAT", b"IDIT")],
    ids=["empty", "text", "header", "truncated", "truncated png", "png without data"],
)  # fmt: skip
def test_what_is_no_whole_image_is_corrupt(content):
    with pytest.raises(CorruptImageError, match=r"[a-z]") as caught:
        decode(content)
    assert "0x" not in str(caught.value)  # an address would differ from run to run


def test_files_are_sorted_by_class_and_name_and_others_passed_over(tmp_path):
    write_images(tmp_path, train=11)
    folder = tmp_path / "train" / CLASSES[1]
    (folder / "notes.txt").write_text("no image")
    (folder / "._train_0.JPEG").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (folder / ".hidden.png").write_bytes(encode(IMAGE, "PNG"))
    (folder / "folder.JPEG").mkdir()
    os.mkfifo(folder / "pipe.JPEG")
    (tmp_path / "train" / "._n00000001").write_bytes(b"\0\5\x16\7")
    (folder / "a.jpg").write_bytes(encode(IMAGE, "JPEG"))
    (folder / "ümläut.png").write_bytes(encode(IMAGE, "PNG"))
    split = split_of(tmp_path)
    assert len(split) == 35
    assert split.labels.bincount().tolist() == [11, 13, 11]
    names = [split.name(i) for i in range(len(split))]
    assert names == sorted(names)
    assert f"train/{CLASSES[1]}/ümläut.png" in names
    assert not any(other in name for name in names for other in ("notes", "/.", "folder", "pipe"))
    assert class_names(tmp_path / "train") == CLASSES
    assert all(split.path(i).exists() for i in range(len(split)))


def test_the_first_images_of_each_class_are_taken(tmp_path):
    write_images(tmp_path, train=4)
    split = split_of(tmp_path, per_class=2)
    names = [split.name(i) for i in range(len(split))]
    assert names == [f"train/{c}/train_{i}.JPEG" for c in CLASSES for i in range(2)]
    assert len(split_of(tmp_path, per_class=99)) == 12


def test_a_class_without_images_is_named(tmp_path):
    write_images(tmp_path)
    for path in (tmp_path / "train" / CLASSES[2]).iterdir():
        path.unlink()
    with pytest.raises(DataError, match=rf"train/{CLASSES[2]} holds no images \(\.jpg, "):
        split_of(tmp_path)
