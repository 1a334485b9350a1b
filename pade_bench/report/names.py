"""What activations, data sets, networks and experiments are called in tables and figures."""

from __future__ import annotations

from collections.abc import Collection, Iterable

# In the order of the paper's tables; from gelu on they are not in the paper.
ACTIVATIONS = {
    "relu": "ReLU", "relu6": "ReLU6", "lrelu": "LReLU", "rrelu": "RReLU", "elu": "ELU",
    "celu": "CELU", "swish": "Swish", "prelu": "PReLU", "maxout": "Maxout", "mixture": "Mixture",
    "slaf": "SLAF", "apl": "APL", "srelu": "SReLU", "pau": "PAU", "rpau": "RPAU",
    "gelu": "GELU", "mish": "Mish", "selu": "SELU", "softplus": "Softplus", "tanh": "Tanh",
    "sigmoid": "Sigmoid",
}  # fmt: skip
DATA = {
    "digits": "Digits", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10", "imagenet": "ImageNet",
}  # fmt: skip
MODELS = {
    "lenet": "LeNet", "vgg8": "VGG-8", "mobilenetv2": "MobileNetV2", "resnet101": "ResNet101",
    "densenet121": "DenseNet121", "mobilenetv2_imagenet": "MobileNetV2",
}  # fmt: skip

PADE = ("pau", "rpau")
REFERENCE = "relu"  # what times and probabilities of improvement are compared with


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


def choice_of(target: str, choices: Iterable[str]) -> str:
    """Return the choice that a ``_target_`` stands for, the name of its class where there is none.

    ``pade_bench.models.VGG8`` is ``vgg8`` among the models, ``torch.nn.Hardtanh`` is ``Hardtanh``.
    """
    name = target.rpartition(".")[2]
    plain = name.replace("_", "").lower()
    return next((c for c in choices if c.replace("_", "") == plain), name)


def count(n: int, what: str) -> str:
    """Return ``1 seed`` or ``3 seeds``."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def count_of_each(numbers: Collection[int], what: str) -> str:
    """Return ``3 seeds``, or ``2–3 seeds`` where there are not equally many everywhere."""
    least, most = min(numbers), max(numbers)
    return count(most, what) if least == most else f"{least:,}–{most:,} {what}s"
