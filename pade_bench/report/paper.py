"""What the paper reports and where: its tables, its figures, its numbers.

Molina, Schramowski, Kersting: *Padé Activation Units* (ICLR 2020). Which runs a table has is what
``configs/sweep`` says, once. The numbers lie in ``reference_values.csv``, each with its source. No
cell of Tables 2, 3 and 4 is there: the text from which we work has lost them, and none is filled
in from memory.
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
from dataclasses import dataclass

import yaml


@dataclass(frozen=True)
class Sweep:
    """The runs of one of the paper's tables or figures: ``configs/sweep/<key>.yaml``."""

    key: str
    title: str
    experiments: tuple[str, ...]
    activations: tuple[str, ...]
    seeds: int
    left_out: frozenset[tuple[str, str]]  # (experiment, activation) without a cell

    @property
    def command(self) -> str:
        """The command that makes the runs."""
        return f"python -m pade_bench -m sweep={self.key}"

    @property
    def cells(self) -> list[tuple[str, str]]:
        """The pairs of experiment and activation."""
        cells = [(e, a) for e in self.experiments for a in self.activations]
        return [cell for cell in cells if cell not in self.left_out]


@functools.cache
def sweep(key: str) -> Sweep:
    """Return one of the paper's sweeps: ``table2``, ``table3``, ``table4`` or ``fig4``."""
    # Read as a file: the module that composes configurations imports Hydra.
    path = importlib.resources.files("pade_bench.configs") / "sweep" / f"{key}.yaml"
    sweeper = yaml.safe_load(path.read_text(encoding="utf-8"))["sweeper"]
    values = {name: tuple(str(v).split(",")) for name, v in sweeper["params"].items()}
    return Sweep(
        key,
        _TITLES[key],
        values["experiment"],
        values["activation"],
        len(values["seed"]),
        frozenset((cell["experiment"], cell["activation"]) for cell in sweeper.get("exclude", ())),
    )


_TITLES = {
    "table2": "Table 2: MNIST and Fashion-MNIST",
    "table3": "Table 3: CIFAR-10",
    "table4": "Table 4: ImageNet",
    "fig4": "Figure 4: pruned networks",
}


def tables() -> tuple[Sweep, ...]:
    """Return Tables 2, 3 and 4."""
    return tuple(map(sweep, ("table2", "table3", "table4")))


def experiments() -> tuple[str, ...]:
    """Return the experiments of the tables."""
    return tuple(e for table in tables() for e in table.experiments)


@dataclass(frozen=True)
class CurveFigure:
    """A figure of test accuracy and train loss per epoch."""

    key: str
    title: str
    experiments: tuple[str, ...]
    table: str  # whose runs it shows
    note: str = ""


def curve_figures() -> tuple[CurveFigure, ...]:
    """Return Figures 2 and 5 to 8."""
    table2, table3, table4 = (table.experiments for table in tables())
    mnist = tuple(e for e in table2 if e.startswith("mnist"))
    fashion = tuple(e for e in table2 if e.startswith("fashion"))
    return (
        CurveFigure(
            "figure2", "Figure 2: learning on Fashion-MNIST", ("fashion_mnist_lenet",), "table2",
            "Which setting the paper's Figure 2 shows is [derived]: its text sees SLAF there, "
            "which finished enough runs with LeNet on Fashion-MNIST only.",
        ),
        CurveFigure("figure5", "Figure 5: learning on ImageNet", table4, "table4"),
        CurveFigure("figure6", "Figure 6: learning on MNIST", mnist, "table2"),
        CurveFigure("figure7", "Figure 7: learning on Fashion-MNIST", fashion, "table2"),
        CurveFigure("figure8", "Figure 8: learning on CIFAR-10", table3, "table3"),
    )  # fmt: skip


# Table 5 counts these baselines; SLAF is not among them.
TABLE5 = (
    "relu", "relu6", "lrelu", "rrelu", "elu", "celu", "prelu", "swish", "maxout", "mixture", "apl",
    "srelu",
)  # fmt: skip
# Rows of the parameter counts: (key in the reference values, name, experiments with this network).
NETWORKS = (
    ("lenet_mnist", "LeNet", ("mnist_lenet", "fashion_mnist_lenet", "digits_lenet")),
    ("vgg8_mnist", "VGG-8, MNIST form", ("mnist_vgg8", "fashion_mnist_vgg8")),
    ("vgg8_cifar10", "VGG-8, CIFAR-10 form", ("cifar10_vgg8",)),
    ("mobilenetv2_cifar10", "MobileNetV2", ("cifar10_mobilenetv2",)),
    ("resnet101_cifar10", "ResNet101", ("cifar10_resnet101",)),
    ("densenet121_cifar10", "DenseNet121", ("cifar10_densenet121",)),
)
# Activations that add no parameters to any network [paper].
WITHOUT_PARAMETERS = ("relu", "relu6", "lrelu", "rrelu", "elu", "celu", "swish")


@dataclass(frozen=True)
class Reference:
    """A number that the paper prints, and where."""

    value: float
    text: str
    source: str


@functools.cache
def reference_values() -> dict[tuple[str, str, str], Reference]:
    """Return the paper's numbers by ``(table, row, column)``."""
    text = (importlib.resources.files(__package__) / "reference_values.csv").read_text(
        encoding="utf-8"
    )
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
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
