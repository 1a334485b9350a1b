"""Every network learns, and does not only have the right shapes."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from pade_bench import build_model
from pade_bench.schema import OptimConfig, ParameterGroupConfig
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
    grey = torch.from_numpy(digits.images[:count]).float().unsqueeze(1) / 8 - 1
    images = F.interpolate(grey, size=(size, size), mode="bilinear").expand(-1, channels, -1, -1)

    torch.manual_seed(0)
    network = build_model(name, activation, in_channels=channels)
    groups = ParameterGroupConfig(lr=lr)
    optimizer, _ = make_optimizer(network, OptimConfig("adam", 0.0, groups, groups))
    for _ in range(steps):
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        if loss < 0.05 and torch.equal(logits.argmax(1), labels):
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"loss {loss.item():.3f} after {steps} steps")
