"""What the paper reports and where: its tables' rows and columns, its figures, its numbers.

Molina, Schramowski, Kersting: *Padé Activation Units* (ICLR 2020). The numbers lie in
``reference_values.csv``, each with its source. No cell of Tables 2, 3 and 4 is there: the text
from which we work has lost them, and none is filled in from memory.
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
from dataclasses import dataclass

ACTIVATIONS = {
    "relu": "ReLU", "relu6": "ReLU6", "lrelu": "LReLU", "rrelu": "RReLU", "elu": "ELU",
    "celu": "CELU", "swish": "Swish", "prelu": "PReLU", "maxout": "Maxout", "mixture": "Mixture",
    "slaf": "SLAF", "apl": "APL", "srelu": "SReLU", "pau": "PAU", "rpau": "RPAU",
    # Not in the paper:
    "gelu": "GELU", "mish": "Mish", "selu": "SELU", "softplus": "Softplus", "tanh": "Tanh",
    "sigmoid": "Sigmoid",
}  # fmt: skip
DATA = {
    "digits": "Digits", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10", "imagenet": "ImageNet",
}  # fmt: skip
MODELS = {
    "lenet": "LeNet", "vgg8": "VGG-8", "mobilenetv2": "MobileNetV2", "resnet101": "ResNet101",
    "densenet121": "DenseNet121",
}  # fmt: skip

PADE = ("pau", "rpau")


@dataclass(frozen=True)
class AccuracyTable:
    """One of Tables 2, 3, 4: activations in rows, experiments in columns."""

    key: str
    title: str
    experiments: tuple[str, ...]
    activations: tuple[str, ...]
    seeds: int = 5
    left_out: tuple[tuple[str, str], ...] = ()  # (experiment, activation) without a cell


@dataclass(frozen=True)
class CurveFigure:
    """A figure of test accuracy and train loss per epoch."""

    key: str
    title: str
    experiments: tuple[str, ...]
    note: str = ""


_MNIST = ("mnist_vgg8", "mnist_lenet", "fashion_mnist_vgg8", "fashion_mnist_lenet")
_CIFAR10 = ("cifar10_vgg8", "cifar10_mobilenetv2", "cifar10_resnet101", "cifar10_densenet121")
_FIXED = ("relu", "relu6", "lrelu", "rrelu", "elu", "celu")

TABLES = (
    AccuracyTable(
        "table2", "Table 2: MNIST and Fashion-MNIST", _MNIST,
        (*_FIXED, "swish", "prelu", "slaf", "apl", "srelu", *PADE),
    ),
    AccuracyTable(
        "table3", "Table 3: CIFAR-10", _CIFAR10,
        (*_FIXED, "prelu", "swish", "maxout", "mixture", "apl", "srelu", *PADE),
        left_out=(("cifar10_densenet121", "maxout"),),
    ),
    AccuracyTable(
        "table4", "Table 4: ImageNet", ("imagenet_mobilenetv2",),
        (*_FIXED, "prelu", "swish", "srelu", "pau"), seeds=1,
    ),
)  # fmt: skip
CURVES = (
    CurveFigure(
        "figure2", "Figure 2: learning on Fashion-MNIST", ("fashion_mnist_lenet",),
        "Which setting the paper's Figure 2 shows is [derived]: its text sees SLAF there, which "
        "finished enough runs with LeNet on Fashion-MNIST only.",
    ),
    CurveFigure("figure5", "Figure 5: learning on ImageNet", ("imagenet_mobilenetv2",)),
    CurveFigure("figure6", "Figure 6: learning on MNIST", _MNIST[:2]),
    CurveFigure("figure7", "Figure 7: learning on Fashion-MNIST", _MNIST[2:]),
    CurveFigure("figure8", "Figure 8: learning on CIFAR-10", _CIFAR10),
)  # fmt: skip
# Figure 4 compares PAU with each network's best fixed activation [paper, A.4.3].
PRUNING = ("prune_cifar10_vgg8", "prune_cifar10_mobilenetv2", "prune_cifar10_resnet101")
FIGURE3 = _MNIST

# Table 5 counts these baselines; SLAF is not among them.
TABLE5 = (*_FIXED, "prelu", "swish", "maxout", "mixture", "apl", "srelu")
# Rows of the parameter counts: (key in the reference values, name, experiments with this network).
NETWORKS = (
    ("lenet_mnist", "LeNet", ("mnist_lenet", "fashion_mnist_lenet", "digits_lenet")),
    ("vgg8_mnist", "VGG-8, MNIST form", _MNIST[::2]),
    ("vgg8_cifar10", "VGG-8, CIFAR-10 form", _CIFAR10[:1]),
    ("mobilenetv2_cifar10", "MobileNetV2", _CIFAR10[1:2]),
    ("resnet101_cifar10", "ResNet101", _CIFAR10[2:3]),
    ("densenet121_cifar10", "DenseNet121", _CIFAR10[3:]),
)
# Activations that add no parameters to any network [paper].
WITHOUT_PARAMETERS = (*_FIXED, "swish")

EXPERIMENTS = tuple(e for table in TABLES for e in table.experiments)


@dataclass(frozen=True)
class Reference:
    """A number that the paper prints, and where."""

    value: float
    text: str
    source: str


@functools.cache
def reference_values() -> dict[tuple[str, str, str], Reference]:
    """Return the paper's numbers by ``(table, row, column)``."""
    text = (importlib.resources.files(__package__) / "reference_values.csv").read_text()
    return {
        (row["table"], row["row"], row["column"]): Reference(
            float(row["value"]), row["value"], row["source"]
        )
        for row in csv.DictReader(text.splitlines())
    }


def initial_coefficients() -> list[dict[str, str]]:
    """Return the lines of the package's coefficient table: form, function, a0 … b4, max_error."""
    # Read as a file: the module that owns it imports torch.
    path = importlib.resources.files("pade_bench") / "activations" / "coefficients.csv"
    return list(csv.DictReader(path.read_text().splitlines()))


def expected_seeds(experiment: str) -> int | None:
    """Return over how many seeds the paper averages, ``None`` for what it does not have."""
    return next((t.seeds for t in TABLES if experiment in t.experiments), None)


def activation_label(name: str) -> str:
    """Return an activation's name as the paper writes it, a user's own unchanged."""
    return ACTIVATIONS.get(name, name)


def activation_order(name: str) -> tuple[int, str]:
    """Return a key that sorts activations as the paper's tables do, Padé units last."""
    names = list(ACTIVATIONS)
    known = names.index(name) if name in names else len(names)
    return (known + 100 * (name in PADE), name)


def experiment_label(experiment: str) -> str:
    """Return ``"MNIST, LeNet"`` for ``mnist_lenet``; an unknown name unchanged."""
    data, _, model = experiment.removeprefix("prune_").rpartition("_")
    if data not in DATA or model not in MODELS:
        return experiment
    pruned = "pruned " if experiment.startswith("prune_") else ""
    return f"{pruned}{DATA[data]}, {MODELS[model]}"


def command(experiment: str, activations: tuple[str, ...], seeds: int) -> str:
    """Return the command that makes these runs."""
    return (
        f"python -m pade_bench -m experiment={experiment} activation={','.join(activations)} "
        f"seed={','.join(map(str, range(seeds)))}"
    )
