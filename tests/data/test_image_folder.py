"""A folder of small images: decoded once, held in memory, and known by its content."""

import hashlib
import io
import shutil

import numpy as np
import pytest
import torch
from image_files import corrupt, picture
from PIL import Image

from pade_bench.data import ImageFolder
from pade_bench.data import image_folder as module
from pade_bench.data.small_images import mean_and_std
from pade_bench.errors import ConfigurationError, DataError, RunError
from pade_bench.evaluate import evaluate
from pade_bench.report.grouping import group_runs
from pade_bench.runs.records import read_runs
from pade_bench.training import fit


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PADE_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def folder(tmp_path):
    """Two classes of 12 and 5 PNG images of 8×8 pixels, no two alike."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 5)):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for i in range(count):
                picture(rng, 8, 8).save(tmp_path / "pets" / split / name / f"{i:02}.png")
    return tmp_path / "pets"


def load(folder, **settings):
    data = ImageFolder(folder, **{"classes": 2, "image_size": 8, "batch_size": 8} | settings)
    data.prepare_data()
    data.setup()
    return data


def pixels(path):
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


def test_images_come_in_the_order_of_classes_and_names_pixel_for_pixel(folder):
    train, test = load(folder)._loaded()
    assert train.labels.tolist() == [0] * 12 + [1] * 12
    assert test.labels.tolist() == [0] * 5 + [1] * 5
    paths = sorted((folder / "train").glob("*/*.png"))
    for image, path in zip(train.images, paths, strict=True):
        assert torch.equal(image, pixels(path))


def test_the_second_time_nothing_is_decoded_and_nothing_differs(folder, monkeypatch, cache):
    first = load(folder)._loaded()
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(module, "decode", None)
    for a, b in zip(first, load(folder)._loaded(), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("change", ["content", "renamed", "settings"])
def test_another_content_or_size_is_decoded_anew(folder, cache, change):
    before = load(folder).record_entries()["data_digest"]
    first = folder / "train" / "cat" / "00.png"
    if change == "content":
        shutil.copy(folder / "train" / "dog" / "03.png", first)
    elif change == "renamed":
        first.rename(first.with_name("99.png"))
    after = load(folder, **({"image_size": 4} if change == "settings" else {}))
    assert len(list(cache.iterdir())) == 2
    assert (after.record_entries()["data_digest"] == before) == (change == "settings")


def test_a_folder_called_val_is_the_test_split_and_no_other_data_set(folder):
    before = load(folder).record_entries()
    (folder / "test").rename(folder / "val")
    assert load(folder).record_entries() == before


def test_a_damaged_cache_is_decoded_anew(folder, cache):
    expected = load(folder)._loaded()
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert torch.equal(load(folder)._loaded()[0].images, expected[0].images)
    assert hashlib.sha256(path.read_bytes()[:-32]).digest() == path.read_bytes()[-32:]


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(folder, cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    load(folder)
    assert list(cache.iterdir()) == []


def test_images_from_a_cache_that_others_can_write_to_are_not_believed(folder, cache, capsys):
    expected = load(folder)._loaded()[0].images
    (path,) = cache.iterdir()
    with np.load(io.BytesIO(path.read_bytes()[:-32])) as arrays:
        forged = dict(arrays) | {"0/images": np.zeros_like(arrays["0/images"])}
    module._write_cache(path, forged)
    cache.parent.chmod(0o777)
    assert torch.equal(load(folder)._loaded()[0].images, expected)
    assert "in every run, as they cannot be kept: others than you can" in capsys.readouterr().out


def test_a_corrupt_image_is_replaced_in_training_and_left_out_in_testing(folder, capsys):
    for split in ("train", "test"):
        corrupt(folder / split / "dog" / "03.png")
    for _ in range(2):  # decoded, and from the cache
        data = load(folder)
        train, test = data._loaded()
        assert torch.equal(train.images[12 + 3], pixels(folder / "train" / "dog" / "04.png"))
        assert test.labels.bincount().tolist() == [5, 4]
        assert data.record_entries()["corrupt_images"] == {
            "count": 2,
            "files": ["test/dog/03.png", "train/dog/03.png"],
        }
        assert "train/dog/03.png is corrupt" in capsys.readouterr().err


def test_a_class_of_corrupt_images_is_an_error_and_not_cached(folder, cache):
    for path in (folder / "train" / "cat").iterdir():
        corrupt(path)
    for _ in range(2):
        with pytest.raises(DataError, match=r"All 12 image\(s\) in .*train/cat are corrupt"):
            load(folder)
    assert list(cache.iterdir()) == []


def test_images_of_other_sizes_are_resized_and_cropped_at_the_center(folder):
    Image.fromarray(np.full((20, 60, 3), 7, np.uint8)).save(folder / "train" / "cat" / "00.png")
    train, _ = load(folder)._loaded()
    assert train.images.shape == (24, 3, 8, 8)
    assert train.images[0].unique().tolist() == [7]


def test_gray_images_have_one_channel(folder):
    train, _ = load(folder, channels=1)._loaded()
    expected = np.array(Image.open(folder / "train" / "cat" / "00.png").convert("L"))
    assert torch.equal(train.images[0, 0], torch.from_numpy(expected))


def test_images_are_normalized_by_the_train_split(folder):
    data = load(folder, padding=0, flip=False)
    images, _ = zip(*data.train_dataloader(), strict=True)
    images = torch.cat(images).double()
    assert torch.allclose(images.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(
        images.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-6
    )


def test_mean_and_std_are_exact():
    images = torch.tensor([[[[0, 255]], [[51, 51]]]], dtype=torch.uint8)
    assert mean_and_std(images) == ((0.5, 0.2), (0.5, 1.0))


def test_without_flip_and_padding_images_stay_as_they_are(folder):
    data = load(folder, padding=0, flip=False, batch_size=24)
    batch, labels = next(iter(data.train_dataloader()))
    order = data.train_dataloader().sampler.order(24)
    train, _ = data._loaded()
    assert torch.equal(batch, data.normalization.on(data.device)(train.images[order].float()))
    assert torch.equal(labels, train.labels[order])


def test_the_data_set_is_called_as_its_folder_or_as_one_says(folder):
    assert load(folder).record_entries()["data_name"] == "pets"
    assert load(folder, name="Pets, 8×8").record_entries()["data_name"] == "Pets, 8×8"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"classes": 1}, "classes=1: must be at least 2"),
        ({"channels": 2}, r"channels=2: must be 1 \(gray\) or 3 \(color\)"),
        ({"image_size": 0}, "image_size=0: must be at least 1"),
        ({"padding": -1}, "padding=-1: must be at least 0"),
    ],
)
def test_impossible_settings_are_refused(folder, settings, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        ImageFolder(folder, **{"classes": 2} | settings)


def test_another_number_of_classes_is_refused(folder):
    with pytest.raises(DataError, match=r"has 2 classes, .*: set data\.classes=2"):
        load(folder, classes=10)


def test_what_is_missing_is_named(folder):
    shutil.rmtree(folder / "test" / "dog")
    with pytest.raises(DataError, match=r"must have the same classes: .*/test lacks dog\."):
        load(folder)
    shutil.rmtree(folder / "test")
    with pytest.raises(DataError, match=r"pets has no folders train and test \(or val\)"):
        load(folder)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_decoded(folder, monkeypatch):
    monkeypatch.setattr(module, "decode", None)
    with pytest.raises(DataError, match=r"34 images of 20000×20000 .* data=imagenet"):
        load(folder, image_size=20000)


@pytest.fixture
def pets_run(folder, make_run):
    """Return a function that makes a run of LeNet on the folder, two epochs long."""

    def make(*overrides):
        return make_run(
            "experiment=digits_lenet", "data=image_folder", f"data.root={folder}",
            "data.classes=2", "data.channels=1", "data.batch_size=8", "activation=relu",
            "trainer.max_epochs=2", "trainer.accelerator=cpu", *overrides,
        )  # fmt: skip

    return make


def other_images(folder):
    (folder / "train" / "cat" / "00.png").unlink()


def test_a_finished_run_is_not_taken_for_one_of_other_images(folder, pets_run, capsys):
    run = pets_run()
    record = fit(run)
    said = capsys.readouterr().out
    assert "parameters) on pets, seed 0" in said
    assert "lenet with relu on pets, " in said
    assert fit(run) == record
    assert evaluate(run.directory)[2] == 10
    other_images(folder)
    with pytest.raises(RunError, match="was trained on other images than those in"):
        fit(run)
    with pytest.raises(DataError, match="trained and scored on other images than these"):
        evaluate(run.directory)
    folder.rename(folder.with_name("gone"))
    assert fit(run) == record  # nothing says that it is another


def test_an_interrupted_run_does_not_go_on_with_other_images(folder, pets_run, fit_until):
    run = pets_run()
    fit_until(run, epoch=1, step=0)
    other_images(folder)
    with pytest.raises(DataError, match="other images than those that this run was begun with"):
        fit(run)
    assert run.record() is None


def test_runs_on_other_images_of_the_same_name_are_not_averaged(folder, pets_run, tmp_path):
    fit(pets_run())
    other_images(folder)
    fit(pets_run("seed=1"))
    results, _ = read_runs(tmp_path / "runs")
    groups = group_runs(results)
    assert [len(group.runs) for group in groups] == [1, 1]
    assert len({group.protocol for group in groups}) == 2
    assert any("data.images" in dict(group.protocol) for group in groups)
