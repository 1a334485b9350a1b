"""torchvision's own data sets, read by torchvision from files in the real format."""

import numpy as np
import pytest
import torch
import torchvision

from pade_bench.data import TorchvisionData
from pade_bench.errors import ConfigurationError, DataError


@pytest.fixture
def kmnist(files, tmp_path):
    """KMNIST's four IDX files, whose names and format are MNIST's."""
    files.write(tmp_path / "KMNIST" / "raw", packed=False)
    return files


def load(root, **settings):
    defaults = {"dataset": "KMNIST", "channels": 1, "image_size": 28}
    data = TorchvisionData(root, **defaults | settings)
    data.prepare_data()
    data.setup()
    return data


def test_both_splits_are_torchvisions_own(kmnist, tmp_path):
    train, test = load(tmp_path)._loaded()
    assert np.array_equal(train.images[:, 0].numpy(), kmnist.train_images)
    assert np.array_equal(test.images[:, 0].numpy(), kmnist.test_images)
    assert train.labels.tolist() == kmnist.train_labels.tolist()
    assert test.labels.tolist() == kmnist.test_labels.tolist()


def test_gray_images_can_be_had_in_color_and_another_size(kmnist, tmp_path):
    train, _ = load(tmp_path, channels=3, image_size=32)._loaded()
    assert train.images.shape == (50, 3, 32, 32)
    assert torch.equal(train.images[:, 0], train.images[:, 2])


def test_the_record_names_the_data_set(kmnist, tmp_path):
    assert load(tmp_path).record_entries() == {"data_name": "KMNIST"}


def test_another_number_of_classes_is_refused(kmnist, tmp_path):
    with pytest.raises(
        DataError, match=r"\(10 classes\), and data.classes=11. Set data.classes=10"
    ):
        load(tmp_path, classes=11)


def test_data_sets_with_a_setting_called_split_are_read_by_it(tmp_path, monkeypatch):
    asked = []

    class Flags(torchvision.datasets.VisionDataset):
        def __init__(self, root, split="train", download=False):
            asked.append((split, download))
            self.data = torchvision.datasets.FakeData(10, (3, 8, 8), 2, random_offset=len(split))
            self.data.targets = None

        def __len__(self):
            return len(self.data)

        def __getitem__(self, index):
            if index >= len(self):
                raise IndexError
            return self.data[index][0], index % 2

    monkeypatch.setattr(torchvision.datasets, "SVHN", Flags)
    load(tmp_path, dataset="SVHN", channels=3, image_size=8, classes=2)
    assert asked == [("train", True), ("test", True)]


def test_files_that_cannot_be_had_are_an_error_that_names_the_data_set(tmp_path, offline):
    with pytest.raises(DataError, match="torchvision cannot provide KMNIST in "):
        load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"dataset": "KMNITS"}, "data.dataset='KMNITS' is not one of .* Did you mean 'KMNIST'"),
        ({"dataset": "FakeData"}, "data.dataset=FakeData has no train and test split"),
        ({"arguments": {"spilt": 1}}, "data.arguments='spilt' is not one of"),
        ({"arguments": {"train": True}}, "data.arguments='train' is not one of"),
    ],
)
def test_what_torchvision_does_not_have_is_refused(tmp_path, settings, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        TorchvisionData(tmp_path, **{"dataset": "KMNIST"} | settings)


def test_what_is_not_an_image_with_a_label_is_refused(tmp_path, monkeypatch):
    class Boxes(torchvision.datasets.FakeData):
        def __init__(self, root, train=True):
            super().__init__(4, (3, 8, 8))

        def __getitem__(self, index):
            image, _ = super().__getitem__(index)
            return image, {"boxes": []}

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", Boxes)
    with pytest.raises(DataError, match="is not a data set of images with one label each"):
        load(tmp_path, dataset="CIFAR100", channels=3)
