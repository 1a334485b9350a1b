"""Every network learns, and does not only have the right shapes."""

import os
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from pade_bench import build_model
from pade_bench.config.schema import OptimConfig, ParameterGroupConfig
from pade_bench.data import MNIST
from pade_bench.training.optimizers import make_optimizer

# (network, channels): (images, pixels to a side, learning rate, steps that suffice twice over).
# The deep networks pool over whatever is left, so small images train them in seconds.
SETTINGS = {
    ("lenet", 1): (32, 32, 0.002, 50),
    ("vgg8", 1): (16, 32, 0.0005, 120),
    ("vgg8", 3): (32, 32, 0.001, 20),
    ("mobilenetv2", 3): (32, 8, 0.001, 15),
    ("resnet101", 3): (32, 8, 0.001, 20),
    ("densenet121", 3): (32, 8, 0.001, 15),
}


@pytest.mark.parametrize("activation", ["relu", "pau", "maxout"])
@pytest.mark.parametrize(("name", "channels"), SETTINGS)
def test_a_network_learns_a_few_images_by_heart(name, channels, activation):
    count, size, lr, steps = SETTINGS[name, channels]
    digits = load_digits()
    labels = torch.from_numpy(digits.target[:count]).long()
    gray = torch.from_numpy(digits.images[:count]).float().unsqueeze(1) / 8 - 1
    images = F.interpolate(gray, size=(size, size), mode="bilinear").expand(-1, channels, -1, -1)

    torch.manual_seed(0)
    network = build_model(name, activation, in_channels=channels)
    groups = ParameterGroupConfig(lr=lr)
    optimizer, _ = make_optimizer(
        network, OptimConfig("torch.optim.Adam", {}, groups, groups), epochs=1
    )
    for _ in range(steps):
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        if loss < 0.05 and torch.equal(logits.argmax(1), labels):
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"loss {loss.item():.3f} after {steps} steps")


def mnist_or_skip():
    """Return the real MNIST, which the tests do not come with."""
    root = Path(os.environ.get("PADE_BENCH_MNIST", "data"))
    if not any(root.glob("**/train-images-idx3-ubyte*")):
        pytest.skip(f"MNIST is not in {root}/; PADE_BENCH_MNIST says where it is")
    data = MNIST(root, batch_size=64, max_rotation=0.0)
    data.setup()
    return data


@pytest.mark.slow
def test_vgg8_with_pade_units_learns_mnist_in_three_channels():
    data = mnist_or_skip()
    torch.manual_seed(0)
    network = build_model("vgg8", "pau", in_channels=3).to(memory_format=torch.channels_last)
    groups = ParameterGroupConfig(lr=0.001)
    optimizer, _ = make_optimizer(
        network, OptimConfig("torch.optim.Adam", {}, groups, groups), epochs=1
    )
    for step, (images, labels) in enumerate(data.train_dataloader()):
        loss = F.cross_entropy(network(images.expand(-1, 3, -1, -1)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 249:
            break
    network.eval()
    with torch.no_grad():
        correct = sum(
            int((network(images.expand(-1, 3, -1, -1)).argmax(1) == labels).sum())
            for images, labels in data.val_dataloader()
        )
    assert correct > 9_700  # of 10,000
