"""Rebuilding a trained network from what its run left behind."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

import torch

from pade_bench.activations.factory import activation_factory
from pade_bench.config.compose import parse
from pade_bench.config.history import current
from pade_bench.config.targets import require_trusted
from pade_bench.data import ImageDataModule
from pade_bench.errors import ConfigurationError, DataError, PadeBenchError, RunError, printable
from pade_bench.runs.config_file import read_config
from pade_bench.runs.files import user_path
from pade_bench.runs.home import Run
from pade_bench.training.checkpoint_content import check_history, check_origin, check_weights
from pade_bench.training.checkpoints import read_checkpoint
from pade_bench.training.fit import make_classifier, make_data, make_network
from pade_bench.training.module import Classifier


def load_run(path: str | os.PathLike[str], trust: Iterable[str] = ()) -> Classifier:
    """Rebuild the trained network of a run from its directory alone, on the CPU.

    The network is described by ``config.yaml`` and its weights lie in ``last.ckpt``, which is
    read as weights only: nothing in it can run code. Of the classes that the configuration names,
    only those of ``pade_bench`` and ``torch.nn`` are imported and called, so a run from anybody
    may be loaded. docs/security.md says what is promised.

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
    return rebuild(read_run(path, trust))


def rebuild(run: Run) -> Classifier:
    """Return the trained network of a run; see :func:`load_run`."""
    if not os.path.lexists(run.checkpoint):
        raise RunError(f"{run.checkpoint} does not exist: the run has no complete epoch yet.")
    try:
        elements = _elements(run)
        # Of an optimizer that keeps a few numbers for each; what is longer is none of this run.
        checkpoint = read_checkpoint(run.checkpoint, most_bytes=(64 << 20) + 40 * elements)
        # Building draws initial weights; loading a network must not change what a caller draws.
        with torch.random.fork_rng(devices=[]):
            classifier = make_classifier(run)
    except PadeBenchError:
        raise
    except Exception as error:  # whatever the constructors make of impossible arguments
        raise RunError(
            f"{run.directory / 'config.yaml'} describes a network that cannot be built: "
            f"{type(error).__name__}: {printable(str(error).partition(chr(10))[0])}"
        ) from error
    try:
        check_origin(checkpoint, run.identifier)
        check_weights(checkpoint.get("state_dict"), classifier.state_dict())
        check_history(checkpoint, classifier.history)
    except ValueError as error:
        raise RunError(
            f"{run.checkpoint} does not fit the network that config.yaml beside it describes: "
            f"{printable(str(error))}."
        ) from error
    classifier.load_state_dict(checkpoint["state_dict"])
    classifier.on_load_checkpoint(checkpoint)
    return classifier.eval()


def prepare_test_data(run: Run, root: str | None = None) -> ImageDataModule:
    """Return a run's data set, ready for its test split to be read.

    Args:
        run: whose configuration names it.
        root: where the data lies, if not where it lay in training.

    Raises:
        DataError: the data set is missing or damaged.
    """
    if root is not None:
        run.config.data.arguments["root"] = root
    data = make_data(run)
    try:
        data.prepare_data()
        data.setup("validate")
    except DataError as error:  # in the words of the command that trains
        raise DataError(str(error).replace("data.root=DIR", "--data DIR")) from error
    return data


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a command that works on one trained run."""
    parser.add_argument("run", type=user_path, help="a run directory: runs/digits_lenet/pau/seed0")
    parser.add_argument("--data", metavar="DIR", help="where the data lies, if it has moved")
    parser.add_argument(
        "--trust", metavar="PACKAGE", action="append", default=[],
        help="run code of this package too, if the run names a class of it",
    )  # fmt: skip


def _elements(run: Run) -> int:
    """Return how many numbers the unpruned network has, without the memory that it takes.

    Raises:
        RunError: more than fit into this machine's memory.
    """
    data = make_data(run)
    with torch.device("meta"):
        factory = activation_factory(run.config.activation, run.trust)
        network = make_network(run, factory, data)
    elements = sum(value.numel() for value in network.state_dict().values())
    if 4 * elements > (memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise RunError(
            f"{run.directory / 'config.yaml'} describes a network of {4 * elements / 2**30:,.0f} "
            f"GiB, and this machine has {memory / 2**30:,.0f}."
        )
    return elements


def read_run(path: str | os.PathLike[str], trust: Iterable[str] = ()) -> Run:
    """Return the run whose home is ``path``, with the settings of its training by today's names.

    Settings have today's names, and their defaults where they did not exist when it was made.

    Raises:
        RunError: there is no readable ``config.yaml``, or it has settings that do not exist any
            more.
        ConfigurationError: a class that it names is not of a package that is trusted.
    """
    directory = Path(path)
    try:
        stored = read_config(directory / "config.yaml")
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{directory} is no run directory: it has no config.yaml.") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{directory / 'config.yaml'} cannot be read: {error}") from error
    for name in ("activation", "model", "data"):
        group = stored.get(name)
        if not isinstance(group, dict):
            raise RunError(f"{directory / 'config.yaml'} has no settings of the {name}.")
        require_trusted(name, group.get("_target_"), trust)
    try:
        config = parse(current(stored))
    except ConfigurationError as error:
        raise RunError(
            f"{directory / 'config.yaml'} is of another version of pade_bench: {error}"
        ) from error
    return Run(directory, names={}, config=config, trust=tuple(trust))
