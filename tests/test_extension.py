"""A network, a data set, an optimizer and a schedule of one's own: one file each, no edit here."""

import json
import sys

import pytest
import torch
import yaml
from command_line import pade_bench, refusal

from pade_bench import load_run
from pade_bench.errors import ConfigurationError

CODE = """
import torch
from torch import nn
from pade_bench.data.augmentation import RandomRotation
from pade_bench.data.loader import Normalization, Split
from pade_bench.data.module import InMemoryImages

class Net(nn.Sequential):
    def __init__(self, activation, in_channels, num_classes, width: int = 4):
        super().__init__(
            nn.AvgPool2d(8), nn.Flatten(), nn.Linear(16 * in_channels, width), activation(),
            nn.Linear(width, num_classes),
        )

class Stripes(InMemoryImages):
    in_channels, num_classes = 1, 3
    normalization = Normalization(mean=(0.5,), std=(0.5,))

    def __init__(self, root: str, batch_size: int, images: int, seed: int = 0):
        super().__init__(root, batch_size, seed, RandomRotation(5.0))
        self.images = images

    def load(self):
        labels = torch.arange(self.images) % 3
        images = torch.zeros(self.images, 1, 32, 32, dtype=torch.uint8)
        for i, label in enumerate(labels):
            images[i, :, 10 * label : 10 * label + 10] = 255
        return Split(images, labels), Split(images[:30], labels[:30])

class Signs(torch.optim.Optimizer):
    def __init__(self, params, lr: float, weight_decay: float = 0.0, power: float = 0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "power": power})

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] * (p.grad.sign() + group["weight_decay"] * p)
        return loss

class Halves(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, every: int = 1):
        self.every = every
        super().__init__(optimizer)

    def get_lr(self):
        return [rate / 2 ** (self.last_epoch // self.every) for rate in self.base_lrs]
"""
FILES = {
    "model/net": {"_target_": "mine.Net", "width": 6},
    "data/stripes": {"_target_": "mine.Stripes", "root": "data", "batch_size": 20, "images": 60},
    "optim/signs": {
        "_target_": "mine.Signs",
        "power": 0.5,
        "weights": {"lr": 0.01},
        "pade_coefficients": {"lr": 0.001},
    },
    "schedule/halves": {"_target_": "mine.Halves", "every": 2},
}
COMMAND = (
    "--config-dir", "config", "model=net", "data=stripes", "optim=signs",
    "schedule@optim.weights.schedule=halves", "optim.weights.lr_decay=1", "trainer.max_epochs=4",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with code and configuration files of one's own."""
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # of another test in this process
    (tmp_path / "mine.py").write_text(CODE)
    for name, content in FILES.items():
        path = tmp_path / "config" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    return tmp_path


def test_they_are_trained_recorded_and_loaded_with_trust(folder, monkeypatch):
    result = pade_bench(*COMMAND, "data.images=90", cwd=folder)
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob("runs/digits_lenet/pau-*/seed0/record.json")
    record = json.loads(path.read_text())
    assert (record["status"], record["model"], record["data"]) == ("finished", "net", "stripes")
    assert record["parameters"] == 16 * 6 + 6 + 10 + 6 * 3 + 3
    assert record["test_accuracy"] > 90
    assert record["changes"]["data.images"] == 90
    assert record["changes"]["optim.weights.schedule._target_"] == "mine.Halves"
    checkpoint = torch.load(path.with_name("last.ckpt"), weights_only=True)
    weights, coefficients = checkpoint["optimizer_states"][0]["param_groups"]
    assert weights["power"] == 0.5
    # The last epoch was the second with half the rate; it is asked for one more epoch at its end.
    assert weights["lr"] == pytest.approx(0.005)
    assert coefficients["lr"] == pytest.approx(0.001 * 0.9**4)
    with pytest.raises(ConfigurationError, match="to load this run is to run code of 'mine'"):
        load_run(path.parent)
    monkeypatch.syspath_prepend(str(folder))
    assert load_run(path.parent, trust=["mine"]).network[2].out_features == 6


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        ("model.width=wide", "model.width='wide': must be a whole number."),
        ("+model.activation=pau", "model.activation: pade_bench sets this argument itself."),
        ("+data.image=3", "data.image: mine.Stripes takes root, batch_size, images. Did you mean"),
        ("data.images=many", "data.images='many': must be a whole number."),
        ("+optim.momentum=0.9", "optim.momentum: mine.Signs takes power."),
        ("optim.weights.schedule.every=x", "optim.weights.schedule.every='x': must be a whole"),
        ("optim._target_=mine.Net", "optim._target_=mine.Net is not a class of torch.optim.Opti"),
        ("model._target_=mine.Halves", "model._target_=mine.Halves is not a class of torch.nn.M"),
        ("optim.weights.lrr=3", "optim.weights.lrr is not a setting: optim.weights has lr, lr_de"),
    ],
)
def test_mistakes_in_their_settings_are_named(mistake, complaint, folder):
    code, errors = refusal(*COMMAND, mistake, "dry_run=true", cwd=folder)
    assert code == 2
    assert errors.startswith(f"pade_bench: {complaint}")
    assert len(errors.splitlines()) == 1
    assert not (folder / "runs").exists()
