"""How much a network's logits change when its activations become Padé units.

    python scripts/try_matching.py > table.md

Each is ‖after - before‖ / ‖before‖ over the logits in evaluation mode: of torchvision's and timm's
networks with random weights on random images, and of a small convolutional network that was trained
on scikit-learn's digits, on the digits it was not trained on, with the share of equal decisions.
A second table has the relative errors of single units.
docs/use_in_your_network.md holds the tables.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch
import torchvision
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from pade_bench import PAU, convert_activations
from pade_bench.activations.inputs import Inputs

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vit_tiny_patch16_224 (gelu)": lambda: timm.create_model("vit_tiny_patch16_224", img_size=64),
    "convnext_atto, layer scale 1 (gelu)": lambda: timm.create_model(
        "convnext_atto", ls_init_value=1.0
    ),
    "efficientnet_b0 (silu)": torchvision.models.efficientnet_b0,
    "resnet18 (relu)": torchvision.models.resnet18,
    "resnet10t (relu)": lambda: timm.create_model("resnet10t"),
    "vgg11 (relu)": torchvision.models.vgg11,
    "vgg11_bn (relu)": torchvision.models.vgg11_bn,
    "mobilenet_v2 (relu6)": torchvision.models.mobilenet_v2,
    "mobilenet_v3_small (relu, hardswish)": torchvision.models.mobilenet_v3_small,
}


@torch.no_grad()
def change(network: nn.Module, x: Tensor, **settings: Any) -> tuple[float, float]:
    """Return the relative change of the logits and the share of decisions that stay the same."""
    converted = copy.deepcopy(network)
    convert_activations(converted, "pau", **settings)
    before, after = network(x), converted(x)
    same = (before.argmax(1) == after.argmax(1)).double().mean()
    return ((after - before).norm() / before.norm()).item(), same.item()


def row(name: str, network: nn.Module, x: Tensor, seen: Tensor) -> str:
    """Return the row of a network: Leaky ReLU, matched, to noise as an example, to inputs."""
    torch.manual_seed(1)
    ways: tuple[dict[str, Any], ...] = (
        {"init": "lrelu_0.01"},
        {},
        {"example_input": torch.randn(2, *x.shape[1:])},
        {"inputs": [seen]},
    )
    changes = (change(network.eval(), x, **way) for way in ways)
    return (
        f"| {name} | {' | '.join(f'{100 * c:.2g} % ({100 * same:.3g} %)' for c, same in changes)} |"
    )


def trained(activation: type[nn.Module], x: Tensor, labels: Tensor) -> nn.Module:
    """Train a small network for three epochs."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), activation(),
        nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), activation(),
        nn.Flatten(), nn.Linear(256, 32), activation(), nn.Linear(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(3):
        for chosen in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(network(x[chosen]), labels[chosen]).backward()
            optimizer.step()
    return network


@torch.no_grad()
def print_errors_of_relu(deviations: Sequence[float]) -> None:
    """Print how far units are off ReLU, relative to it, over normal inputs of some deviations."""
    z = torch.randn(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    print(f"| ReLU, deviation | {' | '.join(f'{d:g}' for d in deviations)} |")
    print(f"|---|{'---|' * len(deviations)}")
    for name in ('`init="lrelu_0.01"`', "matched", "matched, size known"):
        cells = []
        for deviation in deviations:
            x = deviation * z
            unit = PAU(init="lrelu_0.01" if name.startswith("`") else F.relu).double()
            if name.endswith("known"):
                (example := Inputs(exact=False)).add(x)
                unit.start_from(F.relu, example)
            cells.append(f"{100 * ((unit(x) - F.relu(x)).norm() / F.relu(x).norm()).item():.2g} %")
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    print('| network | `init="lrelu_0.01"` | matched | `example_input=` noise | `inputs=` |')
    print("|---|---|---|---|---|")
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        network, x = make(), torch.randn(16, 3, 64, 64)
        print(row(name, network, x, x), flush=True)
    digits = load_digits()
    x, labels = torch.tensor(digits.images[:, None] / 16).float(), torch.tensor(digits.target)
    for kind in (nn.GELU, nn.SiLU, nn.ReLU, nn.ReLU6, nn.Hardswish):
        network = trained(kind, x[:1500], labels[:1500])
        print(row(f"trained on digits ({kind.__name__})", network, x[1500:], x[:500]), flush=True)
    print()
    print_errors_of_relu((0.01, 0.1, 0.2, 0.4, 1, 2, 5))


if __name__ == "__main__":
    main()
