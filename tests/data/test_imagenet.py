"""ImageNet: the same images whatever the number of workers, and messages for whatever is wrong."""

import itertools
import shutil

import pytest
import torch
from image_files import corrupt, write_images
from PIL import Image
from torchvision import datasets, transforms

from pade_bench.data import ImageNet
from pade_bench.data.imagenet import CLASSES
from pade_bench.data.loader import Shard
from pade_bench.data.seeding import epoch_seed
from pade_bench.errors import ConfigurationError, DataError


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with 3 classes of 6 images to train and 4 to test, one corrupt in each split."""
    root = tmp_path_factory.mktemp("imagenet")
    write_images(root)
    corrupt(root / "train" / "n00000001" / "train_2.JPEG")
    corrupt(root / "val" / "n00000002" / "val_3.JPEG")
    return root


@pytest.fixture
def copy(images, tmp_path):
    """A copy of the folder, to be changed."""
    shutil.copytree(images, tmp_path / "imagenet")
    return tmp_path / "imagenet"


def module(root, **settings):
    data = ImageNet(root, **{"batch_size": 4, "classes": 3, "workers": 0} | settings)
    data.prepare_data()
    data.setup()
    return data


def epoch(loader, number=0):
    if hasattr(loader, "sampler"):
        loader.sampler.set_epoch(number)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def same(a, b):
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_batches_are_normalized_images_and_labels(images):
    data = module(images)
    batches = list(data.train_dataloader())
    assert [len(labels) for _, labels in batches] == [4, 4, 4, 4, 2]
    for batch, labels in batches:
        assert batch.shape[1:] == (3, 224, 224)
        assert batch.dtype == torch.float32
        assert labels.dtype == torch.int64
    mean = torch.cat([batch for batch, _ in batches]).mean()
    assert abs(mean) < 1
    labels = torch.cat([labels for _, labels in batches])
    assert labels.bincount().tolist() == [6, 6, 6]


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_bits(images, workers, capsys):
    alone, helped = module(images), module(images, workers=workers)
    for make in ("train_dataloader", "val_dataloader"):
        loaders = [getattr(data, make)() for data in (alone, helped)]
        for number in (0, 1, 5):  # the workers persist from one epoch to the next
            assert same(*(epoch(loader, number) for loader in loaders))
    assert alone.record_entries() == helped.record_entries()
    assert alone.record_entries()["corrupt_images"] == {
        "count": 2,
        "files": ["train/n00000001/train_2.JPEG", "val/n00000002/val_3.JPEG"],
    }
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split()[1] for line in lines) == [
        name for name in alone.corrupt.sorted() for _ in range(2)
    ]
    helped.teardown()


def test_workers_end_with_the_training(images):
    data = module(images, workers=2)
    loader = data.train_dataloader()
    epoch(loader)
    processes = loader._loader._iterator._workers
    assert all(process.is_alive() for process in processes)
    data.teardown()
    for process in processes:
        process.join(timeout=10)
    assert not any(process.is_alive() for process in processes)


def test_an_epoch_depends_on_seed_and_number_alone(images):
    first = epoch(module(images, seed=5).train_dataloader(), 3)
    loader = module(images, seed=5).train_dataloader()
    next(iter(loader))  # an epoch that is given up after a batch
    assert same(epoch(loader, 3), first)
    for seed, number in ((5, 4), (4, 3)):
        other = epoch(module(images, seed=seed).train_dataloader(), number)
        assert not torch.equal(other[1], first[1])


def test_the_batch_size_changes_neither_order_nor_augmentation(images):
    a, b = (epoch(module(images, batch_size=size).train_dataloader()) for size in (2, 7))
    assert same(a, b)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generator_is_neither_read_nor_changed(images, workers):
    data = module(images, workers=workers)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = epoch(data.train_dataloader(), 1)
    list(data.val_dataloader())
    data.sample_images()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(epoch(data.train_dataloader(), 1), first)


def test_training_images_are_those_of_the_usual_pipeline_with_the_same_draws(images):
    data = module(images, seed=7)
    loader = data.train_dataloader()
    (got, labels), order = epoch(loader, 2), loader.sampler.order(18)
    reference = datasets.ImageFolder(images / "train")
    normalize = transforms.Normalize(*ImageNet.normalization)
    usual = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            normalize,
        ]
    )
    for image, label, index in zip(got, labels, order.tolist(), strict=True):
        path, expected_label = reference.samples[index]
        assert label == expected_label
        if path.endswith("n00000001/train_2.JPEG"):
            path = path.replace("train_2", "train_3")  # takes the place of the corrupt one
        torch.manual_seed(epoch_seed(7, 2, f"augmentation of image {index}"))
        expected = usual(Image.open(path).convert("RGB"))
        assert (image - expected).abs().max() <= 1.01 / 255 / 0.224  # one level of gray


def test_test_images_are_those_of_the_usual_pipeline(images):
    got, labels = epoch(module(images).val_dataloader())
    usual = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(*ImageNet.normalization),
        ]
    )
    samples = datasets.ImageFolder(images / "val").samples[:-1]  # the last is the corrupt one
    assert labels.tolist() == [label for _, label in samples]
    for image, (path, _) in zip(got, samples, strict=True):
        expected = usual(Image.open(path).convert("RGB"))
        assert (image - expected).abs().max() <= 1.01 / 255 / 0.224


def test_a_subset_takes_the_first_classes_and_images_of_both_splits(images):
    data = module(images, classes=2, images_per_class=3)
    assert data.num_classes == 2
    _, labels = epoch(data.train_dataloader())
    assert labels.bincount().tolist() == [3, 3]
    _, labels = epoch(data.val_dataloader())
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_sample_images_come_from_the_whole_test_split(images):
    data = module(images)
    assert data.sample_images().shape == (11, 3, 224, 224)
    assert data.corrupt.sorted() == ["val/n00000002/val_3.JPEG"]


def test_a_checkpoint_keeps_what_was_corrupt(images, capsys):
    data = module(images)
    list(data.train_dataloader())
    resumed = module(images)
    resumed.load_state_dict(data.state_dict())
    capsys.readouterr()
    list(resumed.train_dataloader())
    assert resumed.record_entries() == data.record_entries()
    assert capsys.readouterr().err == ""  # it was named before the interruption


def test_a_checkpoint_keeps_what_any_process_has_met(images, monkeypatch):
    def gather(found, own):  # stands for another process that has met other files
        found[:] = [own, {"train/n00000000/train_0.JPEG"}]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(ImageNet, "shard", Shard(1, 2))
    data = module(images)
    list(data.val_dataloader())
    names = ["train/n00000000/train_0.JPEG", "val/n00000002/val_3.JPEG"]
    assert data.state_dict() == {"corrupt_images": names}
    assert data.record_entries() == {"corrupt_images": {"count": 2, "files": names}}


def test_a_class_that_is_corrupt_as_a_whole_ends_the_training(copy):
    for path in (copy / "train" / "n00000002").iterdir():
        corrupt(path)
    for workers in (0, 2):
        data = module(copy, workers=workers)
        with pytest.raises(DataError, match=r"All 6 image\(s\) in .*n00000002 are corrupt"):
            list(data.train_dataloader())


def test_no_image_folders_is_one_message_that_says_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        ImageNet(tmp_path).prepare_data()
    for what in (f"was not found in {tmp_path}", "train/<class>/*.JPEG", "data.root=DIR"):
        assert what in str(caught.value)


def test_splits_with_other_classes_are_refused(copy):
    shutil.rmtree(copy / "val" / "n00000001")
    with pytest.raises(DataError, match=r"val lacks n00000001\."):
        module(copy)
    shutil.rmtree(copy / "train" / "n00000002")
    (copy / "val" / "n00000001").mkdir()
    with pytest.raises(DataError, match=r"train lacks n00000002\."):
        module(copy)
    for k in range(10, 20):
        (copy / "train" / f"n{k:08d}").mkdir()
    with pytest.raises(DataError, match="lacks n00000010, n00000011, n00000012 and 7 more"):
        module(copy)


def test_test_images_without_folders_of_classes_are_refused(copy):
    shutil.rmtree(copy / "val")
    (copy / "val").mkdir()
    (copy / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    with pytest.raises(DataError, match="val holds no folders of classes"):
        module(copy)


def test_more_classes_than_there_are_is_refused_with_their_number(images):
    with pytest.raises(DataError, match=r"train has 3 classes, 4 were asked for.*data\.classes=3"):
        module(images, classes=4)
    with pytest.raises(DataError, match=r"has 3 classes, 1000 were asked for"):
        module(images, classes=None)
    assert ImageNet(classes=None).num_classes == CLASSES == 1000


@pytest.mark.parametrize(
    ("argument", "value"),
    [("classes", 1), ("classes", 1001), ("images_per_class", 0), ("workers", -1)],
)
def test_impossible_arguments_are_refused_by_name(argument, value):
    with pytest.raises(ConfigurationError, match=f"{argument}={value}: must be"):
        ImageNet(**{argument: value})


def test_every_process_has_its_share(images, monkeypatch):
    whole = epoch(module(images, batch_size=6).train_dataloader())
    parts = []
    for rank in range(3):
        data = module(images, batch_size=2)
        monkeypatch.setattr(ImageNet, "shard", Shard(rank, 3))
        parts.append(list(data.train_dataloader()))
    steps = itertools.chain.from_iterable(zip(*parts, strict=True))
    images_N, labels_N = zip(*steps, strict=True)
    assert same((torch.cat(images_N), torch.cat(labels_N)), whole)
