"""The settings of a run: their types, ranges and meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pade_bench.config.fields import AT_LEAST_1, MISSING, Component, Range, setting
from pade_bench.errors import ConfigurationError


@dataclass
class ParameterGroupConfig:
    """How one group of parameters is trained.

    The learning rate is multiplied by ``lr_decay`` at the end of each epoch in
    ``lr_milestones``, or of every epoch where there are none; or it follows a ``schedule``: a class
    of ``torch.optim.lr_scheduler``, or of your own, and its arguments.
    """

    lr: float = setting(
        MISSING, Range(lambda v: 0 <= v < math.inf, "a finite number of at least 0")
    )
    weight_decay: float = setting(0.0, Range(lambda v: 0 <= v < math.inf, "at least 0"))
    lr_decay: float = setting(1.0, Range(lambda v: 0 < v <= 1, "above 0 and at most 1"))
    lr_milestones: list[int] = setting(
        [],
        Range(
            lambda v: all(a < b for a, b in zip([0, *v], v, strict=False)),
            "rising epochs of at least 1",
        ),
    )
    schedule: dict[str, Any] | None = setting(None, added=True)


@dataclass
class OptimConfig(Component):
    """The optimizer: Padé coefficients and all other parameters ("weights") have a group each."""

    weights: ParameterGroupConfig = setting(ParameterGroupConfig)
    pade_coefficients: ParameterGroupConfig = setting(ParameterGroupConfig)
    gradient_clip_norm: float | None = setting(
        None, Range(lambda v: v > 0, "above 0, or null for no clipping")
    )


@dataclass
class DataConfig(Component):
    """The data set, and how many of its training images are set apart.

    ``validation``: images, drawn by the seed, that are not trained on; the accuracy on them is for
    choices, such as that of a learning rate, which must not be made by the test split.
    """

    validation: int = setting(
        0, Range(lambda v: type(v) is int and v >= 0, "a whole number of at least 0"), added=True
    )


@dataclass
class TrainerConfig:
    """How long and on what a run trains.

    ``precision``: ``fp32``, or autocast to ``bf16`` or ``fp16``, in which Padé units still compute
    in float32. ``tf32``: which float32 products a GPU may round to TensorFloat-32 before it
    multiplies: those of ``convolutions``, as torch does by default, ``all``, or ``none``.
    ``cuda_graph``: replay each step on a GPU as one CUDA graph, with the same result to the bit:
    ``True``, ``False``, or ``auto``, wherever it can be done.
    ``strategy``: ``single``, or ``ddp`` with ``devices`` processes on each of ``num_nodes``
    machines, every process taking batches of ``data.batch_size``.
    """

    max_epochs: int = setting(MISSING, AT_LEAST_1)
    accelerator: str = setting("auto", ("auto", "cpu", "cuda"), place=True)
    strategy: str = setting("single", ("single", "ddp"))
    devices: int = setting(1, AT_LEAST_1)
    num_nodes: int = setting(1, AT_LEAST_1)
    precision: str = setting("fp32", ("fp32", "bf16", "fp16"))
    tf32: str = setting("convolutions", ("convolutions", "all", "none"), added=True)
    cuda_graph: Any = setting("auto", ("auto", True, False), place=True, added=True)
    compile: bool = setting(False)
    channels_last: bool = setting(True)
    accumulate_batches: int = setting(1, AT_LEAST_1)
    progress_bar: bool = setting(True, place=True)


@dataclass
class PruneConfig:
    """The lottery-ticket experiment: train, remove filters, train again, and so on.

    ``shares``: how many percent of the filters of every convolution are missing, in one run after
    the other; the first run, before all of these, misses none. ``null``: no such experiment.
    """

    shares: list[float] | None = setting(
        None,
        Range(
            lambda v: all(a < b for a, b in zip([0, *v], [*v, 100], strict=True)),
            "rising percentages above 0 and below 100, or null",
        ),
    )
    weights: str = setting("original", ("original", "new"))
    activations: str = setting("initial", ("initial", "learned"))
    filter_score: str = setting("sum_of_abs", ("sum_of_abs", "sum"))


@dataclass
class Config:
    """One run.

    ``data``, ``model``, ``activation`` and ``optim`` name a class or function and its arguments: a
    data module of ``pade_bench.data``, a callable that takes ``activation, in_channels,
    num_classes``, a module, and an optimizer; so does each entry of ``logger``, one of Lightning's.
    The rest are settings of our own.
    """

    data: DataConfig
    model: Component
    activation: Component
    optim: OptimConfig
    trainer: TrainerConfig
    prune: PruneConfig
    logger: dict[str, Any] = setting(dict, place=True)
    seed: int = setting(0, Range(lambda v: 0 <= v < 2**32, "a whole number from 0 to 2^32 - 1"))
    runs_dir: str = setting("runs", place=True)
    restart: bool = setting(False, place=True)
    dry_run: bool = setting(False, place=True)
    fail_fast: bool = setting(False, place=True)


def parse_seed(text: str) -> int:
    """Return the seed that a command line gives.

    Raises:
        ConfigurationError: it is none.
    """
    allowed = Config.__dataclass_fields__["seed"].metadata["allowed"]
    if not text.isdecimal() or not allowed.holds(int(text)):
        raise ConfigurationError(f"seed={text}: must be {allowed.words}.")
    return int(text)


def check_together(config: Config) -> None:
    """Raise :class:`ConfigurationError` for settings that are impossible beside each other."""
    for name in ("lr", "weight_decay"):
        if name in config.optim.arguments:
            raise ConfigurationError(
                f"optim.{name} is not a setting: see optim.weights.{name} and "
                f"optim.pade_coefficients.{name}."
            )
    for name in ("weights", "pade_coefficients"):
        group = getattr(config.optim, name)
        if group.schedule is not None and (group.lr_decay != 1 or group.lr_milestones):
            raise ConfigurationError(
                f"optim.{name}: a learning rate follows a schedule or decays. Add "
                f"optim.{name}.lr_decay=1 optim.{name}.lr_milestones=[] to a schedule."
            )
    trainer = config.trainer
    for name in ("devices", "num_nodes"):
        if trainer.strategy == "single" and getattr(trainer, name) != 1:
            raise ConfigurationError(
                f"trainer.{name}={getattr(trainer, name)}: one process uses one device. Several "
                "train a run together with trainer=ddp."
            )
    if trainer.strategy == "ddp" and config.prune.shares is not None:
        raise ConfigurationError(
            "trainer=ddp: the runs of a pruning experiment follow each other in one process. Use "
            "trainer=default."
        )


def check_used(config: Config) -> None:
    """Raise :class:`ConfigurationError` for a setting that would change nothing.

    It would make a run of its own all the same. Runs that were made before this was checked can
    have such settings, so stored configurations are not checked.
    """
    if config.prune.shares is None:
        for name, one in PruneConfig.__dataclass_fields__.items():
            if (value := getattr(config.prune, name)) != one.default:
                raise ConfigurationError(
                    f"prune.{name}={value}: nothing is pruned here. Use one of the "
                    "experiments prune_…, or set prune.shares."
                )
    for name in ("weights", "pade_coefficients"):
        group = getattr(config.optim, name)
        if group.lr_milestones and group.lr_decay == 1:
            raise ConfigurationError(
                f"optim.{name}.lr_milestones={group.lr_milestones}: the learning rate is "
                f"multiplied by optim.{name}.lr_decay there, which is 1."
            )
