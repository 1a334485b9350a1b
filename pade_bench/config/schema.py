"""The typed configuration: which settings exist, of which type, with which values.

Hydra checks names and types against these classes while it composes a configuration;
:func:`validate` adds the ranges, which dataclasses cannot state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from pade_bench.errors import ConfigurationError, one_of


@dataclass
class DataConfig:
    """A data module of ``pade_bench.data`` and the arguments that all of them take."""

    _target_: str = MISSING
    root: str = "data"
    batch_size: int = MISSING


@dataclass
class RotatedDataConfig(DataConfig):
    """Images in memory that are turned: the digits, MNIST, Fashion-MNIST."""

    max_rotation: float = MISSING


@dataclass
class CroppedDataConfig(DataConfig):
    """Images in memory that are shifted and mirrored: CIFAR-10."""

    padding: int = MISSING


@dataclass
class ImageNetConfig(DataConfig):
    """Image files, of which a subset may be taken."""

    classes: int | None = None
    images_per_class: int | None = None
    workers: int | None = None


@dataclass
class SmallImagesConfig(DataConfig):
    """Images of anybody's in memory, shifted and mirrored."""

    classes: int = MISSING
    channels: int = MISSING
    image_size: int = MISSING
    padding: int = MISSING
    flip: bool = MISSING


@dataclass
class ImageFolderConfig(SmallImagesConfig):
    """A folder of small images, and what it is called."""

    name: str = MISSING


@dataclass
class TorchvisionDataConfig(SmallImagesConfig):
    """A data set of torchvision, and further arguments of its class."""

    dataset: str = MISSING
    arguments: dict[str, Any] = field(default_factory=dict)


# Each file of configs/data names the one that holds its settings in its defaults list.
DATA_SCHEMAS = {
    "rotated_data": RotatedDataConfig,
    "cropped_data": CroppedDataConfig,
    "imagenet_data": ImageNetConfig,
    "image_folder_data": ImageFolderConfig,
    "torchvision_data": TorchvisionDataConfig,
}


@dataclass
class ModelConfig:
    """A network: a callable that takes ``activation, in_channels, num_classes``."""

    _target_: str = MISSING


@dataclass
class ParameterGroupConfig:
    """How one group of parameters is trained.

    The learning rate is multiplied by ``lr_decay`` at the end of each epoch in
    ``lr_milestones``, or of every epoch where there are none.
    """

    lr: float = MISSING
    weight_decay: float = 0.0
    lr_decay: float = 1.0
    lr_milestones: list[int] = field(default_factory=list)


@dataclass
class OptimConfig:
    """The optimiser: Padé coefficients and all other parameters ("weights") have a group each."""

    optimizer: str = MISSING
    momentum: float = 0.0
    weights: ParameterGroupConfig = field(default_factory=ParameterGroupConfig)
    pade_coefficients: ParameterGroupConfig = field(default_factory=ParameterGroupConfig)
    gradient_clip_norm: float | None = None


@dataclass
class TrainerConfig:
    """How long and on what a run trains.

    ``precision``: ``fp32``, or autocast to ``bf16`` or ``fp16``, in which Padé units still compute
    in float32. ``tf32``: which float32 products a GPU may round to TensorFloat-32 before it
    multiplies: those of ``convolutions``, as torch does by default, ``all``, or ``none``.
    ``strategy``: ``single``, or ``ddp`` with ``devices`` processes on each of ``num_nodes``
    machines, every process taking batches of ``data.batch_size``.
    """

    max_epochs: int = MISSING
    accelerator: str = "auto"
    strategy: str = "single"
    devices: int = 1
    num_nodes: int = 1
    precision: str = "fp32"
    tf32: str = "convolutions"
    compile: bool = False
    channels_last: bool = True
    accumulate_batches: int = 1
    progress_bar: bool = True


@dataclass
class PruneConfig:
    """The lottery-ticket experiment: train, remove filters, train again, and so on.

    ``shares``: how many percent of the filters of every convolution are missing, in one run after
    the other; the first run, before all of these, misses none. ``null``: no such experiment.
    """

    shares: list[float] | None = None
    weights: str = "original"
    activations: str = "initial"
    filter_score: str = "sum_of_abs"


@dataclass
class Config:
    """One run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    activation: dict[str, Any] = field(default_factory=dict)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    seed: int = 0
    runs_dir: str = "runs"
    restart: bool = False
    dry_run: bool = False
    fail_fast: bool = False


def register() -> None:
    """Make the schema known to Hydra, and let every composition check the ranges too."""
    OmegaConf.register_new_resolver("folder_name", _folder_name, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for name, node in DATA_SCHEMAS.items():
        store.store(name=name, node=node, package="data")
    compose = ConfigLoaderImpl.load_configuration
    if getattr(compose, "checks_ranges", False):
        return

    # Hydra 1.3 has no hook between composing a configuration and using it: without this one,
    # a sweep would find an impossible value hours after it began.
    def load_configuration(self: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
        config = compose(self, *args, **kwargs)
        validate(config)
        return config

    load_configuration.checks_ranges = True  # type: ignore[attr-defined]
    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign]


def _folder_name(path: str) -> str:
    return Path(path).expanduser().resolve().name


Check = tuple[Callable[[Any], bool], str]
_POSITIVE: Check = (lambda v: v >= 1, "a whole number of at least 1")
_FRACTION: Check = (lambda v: 0 < v <= 1, "above 0 and at most 1")
_RANGES: dict[str, Check] = {
    "seed": (lambda v: 0 <= v < 2**32, "a whole number from 0 to 2^32 - 1"),
    "data.batch_size": _POSITIVE,
    "data.max_rotation": (lambda v: 0 <= v <= 180, "an angle from 0 to 180 degrees"),
    "data.padding": (lambda v: v >= 0, "a whole number of pixels, at least 0"),
    "data.classes": (lambda v: v is None or 2 <= v <= 1000, "2 to 1000, or null for all"),
    "data.channels": (lambda v: v in (1, 3), "1 (gray) or 3 (color)"),
    "data.image_size": _POSITIVE,
    "data.images_per_class": (lambda v: v is None or v >= 1, "at least 1, or null for all"),
    "data.workers": (lambda v: v is None or v >= 0, "at least 0, or null to choose"),
    "trainer.max_epochs": _POSITIVE,
    "trainer.devices": _POSITIVE,
    "trainer.num_nodes": _POSITIVE,
    "trainer.accumulate_batches": _POSITIVE,
    "optim.momentum": (lambda v: 0 <= v < 1, "at least 0 and below 1"),
    "prune.shares": (
        lambda v: v is None or all(a < b for a, b in zip([0, *v], [*v, 100], strict=True)),
        "rising percentages above 0 and below 100, or null",
    ),
    "optim.gradient_clip_norm": (lambda v: v is None or v > 0, "above 0, or null for no clipping"),
}
for _group in ("weights", "pade_coefficients"):
    _RANGES |= {
        f"optim.{_group}.lr": (lambda v: 0 <= v < float("inf"), "a finite number of at least 0"),
        f"optim.{_group}.weight_decay": (lambda v: 0 <= v < float("inf"), "at least 0"),
        f"optim.{_group}.lr_decay": _FRACTION,
        f"optim.{_group}.lr_milestones": (
            lambda v: all(a < b for a, b in zip([0, *v], v, strict=False)),
            "rising epochs of at least 1",
        ),
    }
_CHOICES = {
    "optim.optimizer": ("adam", "sgd"),
    "trainer.accelerator": ("auto", "cpu", "cuda"),
    "trainer.strategy": ("single", "ddp"),
    "trainer.precision": ("fp32", "bf16", "fp16"),
    "trainer.tf32": ("convolutions", "all", "none"),
    "prune.weights": ("original", "new"),
    "prune.activations": ("initial", "learned"),
    "prune.filter_score": ("sum_of_abs", "sum"),
}


def validate(config: DictConfig) -> None:
    """Raise :class:`ConfigurationError` for the first setting with an impossible value."""
    for key, (holds, allowed) in _RANGES.items():
        group, _, name = key.rpartition(".")
        if group == "data" and name not in config.data:
            continue  # a setting of other data sets
        value = _select(config, key)
        if not holds(value):
            raise ConfigurationError(f"{key}={value}: must be {allowed}.")
    for key, choices in _CHOICES.items():
        if (value := _select(config, key)) not in choices:
            raise ConfigurationError(one_of(key, value, choices))
    for name in ("devices", "num_nodes"):
        if config.trainer.strategy == "single" and config.trainer[name] != 1:
            raise ConfigurationError(
                f"trainer.{name}={config.trainer[name]}: one process uses one device. Several "
                "train a run together with trainer=ddp."
            )
    if config.trainer.strategy == "ddp" and config.prune.shares is not None:
        raise ConfigurationError(
            "trainer=ddp: the runs of a pruning experiment follow each other in one process. Use "
            "trainer=default."
        )


def _select(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key, throw_on_missing=True)
