"""The data modules inside Lightning: epochs, resuming, and arguments that cannot be."""

import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn import functional as F

from pade_bench.data import CIFAR10, MNIST, Digits, FashionMNIST, ImageNet
from pade_bench.errors import ConfigurationError


class Recorder(pl.LightningModule):
    """A model that trains a little and keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(32 * 32, 10)
        self.seen = []

    def training_step(self, batch, _):
        images, labels = batch
        self.seen.append((self.current_epoch, images.double().sum().item(), labels.tolist()))
        return F.cross_entropy(self.linear(images.flatten(1)), labels)

    def validation_step(self, batch, _):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train(folder, epochs, resume_from=None):
    model = Recorder()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[ModelCheckpoint(dirpath=folder, save_last=True)],
    )
    trainer.fit(model, Digits(batch_size=500, seed=3), ckpt_path=resume_from, weights_only=True)
    return model.seen


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(tmp_path):
    whole = train(tmp_path / "whole", epochs=3)
    assert [epoch for epoch, *_ in whole] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    begun = train(tmp_path / "cut", epochs=2)
    resumed = train(tmp_path / "cut", epochs=3, resume_from=tmp_path / "cut" / "last.ckpt")
    assert begun + resumed == whole
    assert whole[0][2] != whole[3][2] != whole[6][2]


@pytest.mark.parametrize("make", [MNIST, FashionMNIST, Digits, CIFAR10, ImageNet])
@pytest.mark.parametrize(("argument", "value"), [("batch_size", 0), ("seed", -1)])
def test_impossible_arguments_are_refused_by_name(make, argument, value):
    with pytest.raises(ConfigurationError, match=f"{argument}={value}: must be"):
        make(**{argument: value})


@pytest.mark.parametrize("make", [MNIST, FashionMNIST, Digits])
@pytest.mark.parametrize("value", [-1.0, 181.0, math.nan])
def test_impossible_rotations_are_refused(make, value):
    with pytest.raises(ConfigurationError, match=f"max_rotation={value}: must be"):
        make(max_rotation=value)


def test_a_negative_padding_is_refused():
    with pytest.raises(ConfigurationError, match="padding=-1: must be"):
        CIFAR10(padding=-1)


@pytest.mark.parametrize("make", [Digits, ImageNet])
def test_a_loader_before_setup_says_what_to_call(make):
    with pytest.raises(RuntimeError, match=rf"Call setup\(\) of {make.__name__}"):
        make().train_dataloader()


def test_the_test_split_serves_for_validation_and_test():
    data = Digits()
    data.setup()
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert sum(len(labels) for _, labels in loader) == 360
    assert sum(len(labels) for _, labels in data.train_dataloader()) == 1437


def test_processes_that_train_together_share_every_batch():
    shares = []
    for rank in range(3):
        data = Digits(batch_size=100)
        data.setup()
        data.trainer = SimpleNamespace(global_rank=rank, world_size=3)
        shares.append([labels for _, labels in data.train_dataloader()])
        assert len(data.val_dataloader()) == 2
    data = Digits(batch_size=300)
    data.setup()
    for labels, *parts in zip(
        (labels for _, labels in data.train_dataloader()), *shares, strict=True
    ):
        assert torch.equal(torch.cat(parts), labels)
