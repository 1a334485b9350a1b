"""Rebuilding a trained network from what its run left behind."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pade_bench.config.history import current
from pade_bench.config.schema import Config
from pade_bench.config.targets import require_trusted
from pade_bench.errors import RunError
from pade_bench.runs.home import Run
from pade_bench.training.checkpoints import read_checkpoint
from pade_bench.training.fit import make_classifier
from pade_bench.training.module import Classifier


def load_run(path: str | os.PathLike[str], trust: Iterable[str] = ()) -> Classifier:
    """Rebuild the trained network of a run from its directory alone, on the CPU.

    The network is described by ``config.yaml`` and its weights lie in ``last.ckpt``, which is
    read as weights only: nothing in it can run code. Of the classes that the configuration names,
    only those of ``pade_bench`` and ``torch.nn`` are imported and called, so a run from anybody
    may be loaded.

    Args:
        path: a run directory, such as ``runs/digits_lenet/pau/seed0``.
        trust: further packages whose code the configuration may run, such as your own.

    Returns:
        the classifier in evaluation mode; ``.network`` is the bare network. Both map
        (N, C, H, W) images to (N, classes) logits.

    Raises:
        RunError: the directory is no run, its checkpoint is missing or damaged, or the two do not
            belong together.
        ConfigurationError: a class of the configuration lies in another package, does not exist
            or does not fit.
    """
    return rebuild(completed(read_run(path, trust)))


def rebuild(run: Run) -> Classifier:
    """Return the trained network of a run whose configuration is trusted; see :func:`load_run`."""
    if not run.checkpoint.exists():
        raise RunError(f"{run.checkpoint} does not exist: the run has no complete epoch yet.")
    checkpoint = read_checkpoint(run.checkpoint)
    # Building draws initial weights; loading a network must not change what a caller draws next.
    with torch.random.fork_rng(devices=[]):
        classifier = make_classifier(run)
    try:
        classifier.load_state_dict(checkpoint["state_dict"])
        classifier.on_load_checkpoint(checkpoint)
    except (KeyError, RuntimeError) as error:
        raise RunError(
            f"{run.checkpoint} does not fit the network that config.yaml beside it describes: "
            f"{error}"
        ) from error
    return classifier.eval()


def read_run(path: str | os.PathLike[str], trust: Iterable[str] = ()) -> Run:
    """Return the run whose home is ``path``, with the configuration it was trained with.

    Raises:
        RunError: there is no readable ``config.yaml``.
        ConfigurationError: a class that it names is not of a package that is trusted.
    """
    directory = Path(path)
    try:
        config = OmegaConf.load(directory / "config.yaml")
    except FileNotFoundError:
        raise RunError(f"{directory} is no run directory: it has no config.yaml.") from None
    except Exception as error:
        raise RunError(f"{directory / 'config.yaml'} cannot be read: {error}") from error
    if not isinstance(config, DictConfig):
        raise RunError(f"{directory / 'config.yaml'} holds no settings.")
    for group in ("activation", "model", "data"):
        require_trusted(group, OmegaConf.select(config, f"{group}._target_"), trust)
    return Run(directory, names={}, config=config)


def completed(run: Run) -> Run:
    """Return the run with today's names, and defaults for settings that it does not have.

    Raises:
        RunError: it has settings that do not exist any more.
    """
    stored = OmegaConf.create(current(OmegaConf.to_container(run.config)))  # type: ignore[arg-type]
    # The data set's own class has the defaults of its settings.
    others = OmegaConf.masked_copy(stored, [str(key) for key in stored if key != "data"])
    try:
        settings = OmegaConf.merge(OmegaConf.structured(Config), others)
    except OmegaConfBaseException as error:
        raise RunError(
            f"{run.directory / 'config.yaml'} is of another version of pade_bench: "
            f"{str(error).splitlines()[0]}"
        ) from error
    config = OmegaConf.create(OmegaConf.to_container(settings))
    assert isinstance(config, DictConfig)
    config.data = stored.get("data")
    return dataclasses.replace(run, config=config)
