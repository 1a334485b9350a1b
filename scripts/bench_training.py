"""Time training steps of the paper's networks: ``python scripts/bench_training.py``.

For every network and activation: forward, backward and optimizer step on the same batch of random
images. The activations take turns within one run; the figure of merit is the ratio of median times
to ReLU. Then an epoch of LeNet under Lightning against a bare torch loop over the same loader.
Prints a Markdown table; ``make bench`` keeps it in ``benchmarks/training.md``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from bench import environment
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from pade_bench import build_model
from pade_bench.activations import PAU
from pade_bench.activations.factory import ActivationFactory
from pade_bench.config.schema import OptimConfig, ParameterGroupConfig
from pade_bench.data.augmentation import RandomRotation
from pade_bench.data.loader import EpochSampler, Normalization, ShuffledLoader, Split
from pade_bench.ops import Unit, reference
from pade_bench.training import Classifier
from pade_bench.training.optimizers import make_optimizer


class Setting(NamedTuple):
    """One row of networks: its input, and how often its step is timed."""

    channels: int
    images: int
    rounds: int
    pixels: int = 32  # to a side
    everybody: bool = False  # time all contestants, not only ReLU and PAU


SETTINGS = {
    "lenet": Setting(1, 256, 60, everybody=True),
    "vgg8": Setting(1, 64, 20, everybody=True),
    "vgg8 (CIFAR-10)": Setting(3, 64, 30),
    "mobilenetv2": Setting(3, 64, 24),
    "resnet101": Setting(3, 16, 16),
    "densenet121": Setting(3, 16, 24),
    "mobilenetv2_imagenet": Setting(3, 8, 30, pixels=224),
}
OPTIM = OptimConfig(
    target="torch.optim.Adam",
    arguments={},
    weights=ParameterGroupConfig(lr=0.002),
    pade_coefficients=ParameterGroupConfig(lr=0.002),
    gradient_clip_norm=5.0,
)


class EagerPAU(PAU):
    """The same unit by the plain formula and automatic differentiation."""

    formula = staticmethod(reference.formula)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the unit."""
        return self.formula(x, Unit(self.numerator, self.denominator, self.form))


class CompiledPAU(EagerPAU):
    """The formula in torch.compile."""

    formula = staticmethod(torch.compile(reference.formula, dynamic=False))


def rational_activation() -> nn.Module:
    """Return the unit of ``rational-activations``, which takes contiguous inputs only."""
    from rational.torch import Rational

    class Contiguous(Rational):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.contiguous())

    return Contiguous("leaky_relu", degrees=(5, 4), cuda=False, version="B")


CONTESTANTS: dict[str, str | ActivationFactory] = {
    "ReLU": nn.ReLU,
    "SiLU": nn.SiLU,
    "PReLU": nn.PReLU,
    "PAU (ours)": "pau",
    "RPAU (ours)": "rpau",
    "PAU, eager formula": EagerPAU,
    "PAU, torch.compile": CompiledPAU,
    **({"rational-activations": rational_activation} if find_spec("rational") else {}),
}
ALWAYS = ("ReLU", "PAU (ours)")


def make_step(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """Return a function that makes one training step, as :class:`Classifier` does."""
    for module in network.modules():  # rational-activations refuses to be moved with the rest
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer, _ = make_optimizer(network, OPTIM, epochs=1)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    return step


def compare(name: str, setting: Setting) -> list[str]:
    """Return the rows of one network."""
    images = torch.randn(setting.images, setting.channels, setting.pixels, setting.pixels)
    labels = torch.randint(10, (setting.images,))
    network = name.partition(" ")[0]
    steps = {
        label: make_step(build_model(network, activation, setting.channels), images, labels)
        for label, activation in CONTESTANTS.items()
        if setting.everybody or label in ALWAYS
    }
    times: dict[str, list[float]] = {label: [] for label in steps}
    for round_ in range(setting.rounds + 2):
        # Forwards and backwards: who comes first finds other memory in the caches.
        for label in list(steps) if round_ % 2 else reversed(steps):
            start = time.perf_counter()
            steps[label]()
            if round_ >= 2:  # the first rounds compile kernels and fill caches
                times[label].append(time.perf_counter() - start)
    medians = {label: statistics.median(values) for label, values in times.items()}
    return [
        f"| {name} | {setting.images} | {label} | {1e3 * median:.1f} | "
        f"{median / medians['ReLU']:.2f} |"
        for label, median in medians.items()
    ]


def lightning_against_bare(epochs: int = 5, images: int = 20_000) -> str:
    """Return the ratio of an epoch's time under Lightning to that of a bare loop."""
    split = Split(
        torch.randint(256, (images, 1, 32, 32), dtype=torch.uint8), torch.randint(10, (images,))
    )
    normalize = Normalization((0.1307,), (0.3081,))

    def loader() -> ShuffledLoader:
        return ShuffledLoader(split, 256, normalize, RandomRotation(30.0), EpochSampler(0))

    network = build_model("lenet", "relu").to(memory_format=torch.channels_last)
    optimizer, _ = make_optimizer(network, OPTIM, epochs=1)
    bare, managed = [], []
    for _ in range(epochs):
        start = time.perf_counter()
        for batch, labels in loader():
            optimizer.zero_grad()
            F.cross_entropy(
                network(batch.contiguous(memory_format=torch.channels_last)), labels
            ).backward()
            clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
        bare.append(time.perf_counter() - start)

        classifier = _TimedClassifier(
            build_model("lenet", "relu"), nn.ReLU, OPTIM, epochs=1, seed=0
        )
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            gradient_clip_val=5.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(classifier, loader())
        managed.append(classifier.seconds)
    lightning, loop = statistics.median(managed), statistics.median(bare)
    return (
        f"An epoch of LeNet (ReLU, {images:,} images): Lightning {lightning:.2f} s, bare loop "
        f"{loop:.2f} s, ratio {lightning / loop:.2f} (medians of {epochs})."
    )


class _TimedClassifier(Classifier):
    """Times its training epoch; has no test set."""

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.start = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        self.seconds = time.perf_counter() - self.start


def main() -> None:
    """Print the table."""
    print("# Training steps against ReLU\n")
    print(f"{environment(torch.device('cpu'))}. Forward, backward, clipping and Adam on one batch,")
    print("channels_last; medians of", end=" ")
    print(", ".join(f"{s.rounds} ({name})" for name, s in SETTINGS.items()), end=" ")
    print("rounds in which all take turns.\nMade by `python scripts/bench_training.py`.\n")
    print("| network | images | activation | ms per step | × ReLU |\n|---|---|---|---|---|")
    for name, setting in SETTINGS.items():
        print("\n".join(compare(name, setting)), flush=True)
    print(f"\n{lightning_against_bare()}")


if __name__ == "__main__":
    main()
