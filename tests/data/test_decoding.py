"""Batches of image files: corrupt ones replaced or left out, named once, and not too many."""

import pytest
import torch
from image_files import corrupt, write_images

from pade_bench.data.decoding import CorruptImages, Decoded, Decoder
from pade_bench.data.folder import FolderSplit, decode
from pade_bench.errors import DataError

CLASSES = ["n00000000", "n00000001", "n00000002"]


def split_of(root, name="train"):
    return FolderSplit(root / name, CLASSES, None, replaces=name == "train")


def whole(images):
    """Stand for the transforms: every image as it is, cut to one size."""
    return images[:, :40, :40]


def decoder_of(split):
    return Decoder(split, whole, image_size=40, seed=0)


def test_a_corrupt_image_is_replaced_by_the_next_of_its_class_that_is_not(tmp_path):
    write_images(tmp_path, train=4)
    split = split_of(tmp_path)
    for index in (4, 6, 7):  # of the second class, which has 4 to 7
        corrupt(split.path(index))
    decoder = decoder_of(split)
    decoded = decoder[0, [3, 4, 5, 6, 7, 8]]
    assert decoded.labels.tolist() == [0, 1, 1, 1, 1, 2]
    fine = decode(split.path(5).read_bytes())
    for image in decoded.images[1:5]:
        assert torch.equal(image, whole(fine))
    assert {index for index, _ in decoded.corrupt} == {4, 6, 7}


def test_a_corrupt_test_image_is_left_out(tmp_path):
    write_images(tmp_path, test=4)
    split = split_of(tmp_path, "val")
    corrupt(split.path(1))
    decoded = decoder_of(split)[0, [0, 1, 2, 5]]
    assert decoded.labels.tolist() == [0, 0, 1]
    assert [index for index, _ in decoded.corrupt] == [1]
    corrupt(split.path(0))
    nothing = decoder_of(split)[0, [0, 1]]
    assert len(nothing.images) == len(nothing.labels) == 0


def test_a_file_that_cannot_be_read_is_no_corrupt_image(tmp_path):
    write_images(tmp_path)
    split = split_of(tmp_path)
    split.path(2).unlink()
    decoded = decoder_of(split)[0, [1, 2, 3]]
    assert decoded.corrupt == []
    with pytest.raises(DataError, match=r"train_2\.JPEG cannot be read: No such file"):
        CorruptImages().add(split, decoded)


def found(*indices):
    nothing = torch.empty(0)
    return Decoded(nothing, nothing, [(index, "half of it is missing") for index in indices], "")


def test_each_corrupt_file_is_named_once(tmp_path, capsys):
    write_images(tmp_path, classes=3, train=20)
    split, known = split_of(tmp_path), CorruptImages()
    for batch in (found(3, 4), found(3), found(), found(25, 4, 3)):
        known.add(split, batch)
    assert len(known.names) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == (
        "pade_bench: train/n00000000/train_11.JPEG is corrupt (half of it is missing): "
        "the next image of its class takes its place"
    )


def test_a_class_of_which_nothing_is_left_is_refused(tmp_path):
    write_images(tmp_path, train=2)
    split, known = split_of(tmp_path), CorruptImages()
    with pytest.raises(DataError, match=r"All 2 image\(s\) in .*train/n00000001 are corrupt"):
        known.add(split, found(2, 3))


def test_more_than_a_tenth_of_a_split_is_refused(tmp_path):
    write_images(tmp_path, train=7, test=7)
    split, known = split_of(tmp_path), CorruptImages()
    known.add(split_of(tmp_path, "val"), found(0, 7))  # those of another split do not count
    known.add(split, found(0, 7))
    with pytest.raises(DataError, match=r"3 of the 21 images in .*train are corrupt.*10%"):
        known.add(split, found(14))
