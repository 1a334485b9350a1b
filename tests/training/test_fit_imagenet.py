"""A run on image files: trained, resumed to the same bits, and the corrupt ones in its record."""

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from image_files import corrupt, write_images
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pade_bench import load_run
from pade_bench.data import ImageNet
from pade_bench.evaluate import evaluate, main
from pade_bench.runs.record import Record
from pade_bench.runs.records import read_runs
from pade_bench.training import fit
from pade_bench.training.fit import make_data


@pytest.fixture
def image_run(make_run, tmp_path, monkeypatch):
    """Return a function that makes a run of LeNet on small versions of some images."""
    write_images(tmp_path / "images", classes=3, train=8, test=5)
    corrupt(tmp_path / "images" / "train" / "n00000001" / "train_2.JPEG")
    corrupt(tmp_path / "images" / "val" / "n00000002" / "val_0.JPEG")
    monkeypatch.setattr(ImageNet, "image_size", 32)

    def make(*overrides):
        return make_run(
            "data=imagenet", "model=lenet", "activation=relu", f"data.root={tmp_path / 'images'}",
            "data.batch_size=5", "data.classes=3", "trainer.max_epochs=2", *overrides,
        )  # fmt: skip

    return make


CORRUPT = {"count": 2, "files": ["train/n00000001/train_2.JPEG", "val/n00000002/val_0.JPEG"]}


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_images_are_named_once_and_recorded(workers, image_run, capfd):
    run = image_run(f"data.workers={workers}")
    record = fit(run)
    assert record.status == "finished"
    assert record.images.corrupt_images == CORRUPT
    assert Record.read(run.directory / "record.json") == record
    said = [line for line in capfd.readouterr().err.splitlines() if "is corrupt" in line]
    assert sorted(line.split()[1] for line in said) == CORRUPT["files"]
    now, recorded, images = evaluate(run.directory)
    assert images == 14
    assert now == pytest.approx(recorded)


def test_an_interrupted_run_resumes_to_the_same_bits_with_other_workers(
    image_run, tmp_path, fit_until
):
    whole = image_run("data.workers=2", f"runs_dir={tmp_path / 'whole'}")
    fit(whole)
    fit_until(image_run("data.workers=1", f"runs_dir={tmp_path / 'cut'}"), epoch=1, step=1)
    assert not multiprocessing.active_children()
    cut = image_run("data.workers=0", f"runs_dir={tmp_path / 'cut'}")
    assert cut.directory.parent.name == whole.directory.parent.name
    fit(cut)
    weights = [torch.load(r.checkpoint, weights_only=True)["state_dict"] for r in (whole, cut)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    records = [r.record() for r in (whole, cut)]
    for key in ("test_accuracy_per_epoch", "train_loss_per_epoch", "images"):
        assert getattr(records[0], key) == getattr(records[1], key)


def test_corrupt_images_are_recorded_though_only_the_record_was_missing(image_run):
    run = image_run("data.workers=0", "trainer.max_epochs=1")
    fit(run)
    (run.directory / "record.json").unlink()
    assert fit(run).images.corrupt_images == CORRUPT


def test_mobilenetv2_trains_on_photographs_of_the_full_size(make_run, tmp_path):
    write_images(tmp_path, classes=2, train=4, test=2, width=300, height=240)
    corrupt(tmp_path / "train" / "n00000001" / "train_2.JPEG")
    run = make_run(
        "experiment=imagenet_mobilenetv2", "activation=relu", f"data.root={tmp_path}",
        "data.classes=2", "data.batch_size=4", "data.workers=2", "trainer.max_epochs=1",
    )  # fmt: skip
    record = fit(run)
    assert (record.status, record.activation_layers) == ("finished", 35)
    assert record.images.corrupt_images == {"count": 1, "files": ["train/n00000001/train_2.JPEG"]}


@pytest.mark.slow
def test_processes_that_train_together_record_what_each_of_them_met(tmp_path):
    write_images(tmp_path / "images", classes=3, train=8, test=8)
    met = [f"train/n0000000{k}/train_{k}.JPEG" for k in range(2)]
    met += ["val/n00000000/val_0.JPEG", "val/n00000002/val_7.JPEG"]  # of the first and the second
    for name in met:
        corrupt(tmp_path / "images" / name)
    command = [
        sys.executable, "-m", "pade_bench", "experiment=imagenet_mobilenetv2",
        "activation=relu", "data.root=images", "data.classes=3", "data.batch_size=4",
        "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.max_epochs=2",
    ]  # fmt: skip
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    (record,) = tmp_path.glob("runs/*/*/seed0/record.json")
    assert json.loads(record.read_text())["corrupt_images"] == {"count": 4, "files": met}
    assert all(name in result.stderr for name in met)


def test_top5_accuracy_is_measured_of_more_than_ten_classes(
    make_run, tmp_path, monkeypatch, capsys
):
    write_images(tmp_path / "images", classes=12, train=3, test=2)
    monkeypatch.setattr(ImageNet, "image_size", 32)
    settings = (
        "data=imagenet", "model=lenet", "activation=relu", f"data.root={tmp_path / 'images'}",
        "data.batch_size=7", "data.workers=0", "trainer.max_epochs=2",
    )  # fmt: skip
    run = make_run(*settings, "data.classes=12")
    record = fit(run)
    assert record.test_top5_accuracy == record.test_top5_accuracy_per_epoch[-1]
    assert len(record.test_top5_accuracy_per_epoch) == 2
    said = capsys.readouterr().out
    assert f"top-5 {record.test_top5_accuracy:.2f} %" in said
    assert f"{record.test_top5_accuracy:.2f} % top-5 after 2 epochs" in said
    (result,), _ = read_runs(Path(run.config.runs_dir))
    assert result.top5_accuracy == record.test_top5_accuracy
    events = EventAccumulator(str(run.directory)).Reload().Scalars("accuracy/test_top5")
    assert [e.value for e in events] == pytest.approx(record.test_top5_accuracy_per_epoch)

    # By its definition, from the network that the run left.
    classifier, data = load_run(run.directory), make_data(run)
    data.setup()
    with torch.no_grad():
        ranks = [
            (classifier(images).argsort(1, descending=True) == labels[:, None]).int().argmax(1)
            for images, labels in data.val_dataloader()
        ]
    ranks_N = torch.cat(ranks)
    assert record.test_top5_accuracy == pytest.approx(100 * (ranks_N < 5).double().mean().item())
    assert record.test_accuracy == pytest.approx(100 * (ranks_N < 1).double().mean().item())
    assert main([str(run.directory)]) == 0
    assert capsys.readouterr().out.count("the same") == 2

    few = fit(make_run(*settings, "data.classes=10"))
    assert few.test_top5_accuracy is None
