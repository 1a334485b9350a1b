"""What a checkpoint of a run must hold, so that nothing else is loaded or gone on from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pade_bench.report.names import count
from pade_bench.training.module import Classifier

MOST_THREADS = 4096
LATER_HISTORIES = {"train_accuracy", "test_loss"}  # which 0.1 did not keep


def check_weights(found: object, expected: Mapping[str, Tensor]) -> None:
    """Raise :class:`ValueError` unless these are finite weights of the network.

    Args:
        found: what a checkpoint has as ``state_dict``.
        expected: that of the network; its tensors may be on the device ``meta``.
    """
    if not isinstance(found, dict):
        raise ValueError("it has no weights")
    if missing := expected.keys() - found.keys():
        raise ValueError(f"it has no {min(missing)}, which the network has")
    if unknown := found.keys() - expected.keys():
        raise ValueError(f"it has {min(map(str, unknown))}, which the network has not")
    for name, tensor in expected.items():
        value = found[name]
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ValueError(f"{name} is no tensor")
        if value.shape != tensor.shape:
            raise ValueError(
                f"{name} has the shape {tuple(value.shape)}, in the network {tuple(tensor.shape)}"
            )
        if value.dtype != tensor.dtype:
            raise ValueError(f"{name} is of {value.dtype}, in the network of {tensor.dtype}")
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")


def check_origin(checkpoint: Mapping[str, Any], identifier: Mapping[str, Any]) -> None:
    """Raise :class:`ValueError` if the checkpoint says that it belongs to another run.

    Those of 0.1 do not say whose they are.
    """
    if (run := checkpoint.get("run", identifier)) != identifier:
        seed = run.get("seed") if isinstance(run, dict) else None
        another = "with other settings" if seed == identifier["seed"] else f"with seed {seed}"
        raise ValueError(f"it is of a run {another}")


def check_history(checkpoint: Mapping[str, Any], expected: Mapping[str, Any]) -> int:
    """Return the number of epochs, or raise :class:`ValueError` unless they have a history.

    Args:
        checkpoint: with its ``history`` and ``diverged``.
        expected: a history with the same names, but for those that 0.1 did not keep.
    """
    history = checkpoint.get("history")
    if (
        not isinstance(history, dict)
        or not expected.keys() - LATER_HISTORIES <= history.keys() <= expected.keys()
    ):
        raise ValueError("it has no history, or another than the network's")
    for name, values in history.items():
        if not isinstance(values, list) or not all(_is_number(value) for value in values):
            raise ValueError(f"its history of {name} is not a list of finite numbers")
        if name.endswith("accuracy") and not all(0 <= value <= 100 for value in values):
            raise ValueError(f"its history of {name} is not in percent")
    lengths = set(map(len, history.values()))
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError("its histories are empty or of different lengths")
    if checkpoint.get("diverged") is not False:
        raise ValueError("it is of a run that had diverged")
    return lengths.pop()


def check_progress(checkpoint: Mapping[str, Any], classifier: Classifier, max_epochs: int) -> None:
    """Raise :class:`ValueError` unless training can go on from it, after a whole epoch."""
    epochs = check_history(checkpoint, classifier.history)
    if epochs > max_epochs:
        raise ValueError(f"it has {count(epochs, 'epoch')}, and the run {max_epochs}")
    threads = checkpoint.get("threads", 1)
    if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"its number of threads is {threads!r}")
    if type(numerics := checkpoint.get("pade_numerics", 1)) is not int:
        raise ValueError(f"its version of the Padé units' arithmetic is {numerics!r}")
    try:
        loop = checkpoint["loops"]["fit_loop"]
        trained = [loop["epoch_progress"]["current"][key] for key in ("ready", "processed")]
        batches = loop["epoch_loop.batch_progress"]
        ended = batches["is_last_batch"] is True and len(set(batches["current"].values())) == 1
        optimizer, schedulers = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it does not say how far training was ({error!r})") from error
    if trained != [epochs, epochs] or checkpoint.get("epoch") != epochs - 1 or not ended:
        raise ValueError(f"it is not from the end of epoch {epochs}, where its history ends")
    (fresh,), (scheduler,) = classifier.configure_optimizers()
    expected = fresh.state_dict()
    if not _alike([state.get("param_groups") for state in optimizer], [expected["param_groups"]]):
        raise ValueError("its optimizer is not the run's")
    if not _alike(schedulers, [scheduler["scheduler"].state_dict()]):
        raise ValueError("its learning rates are not the run's")
    parameters = [p for group in fresh.param_groups for p in group["params"]]
    for index, state in optimizer[0].get("state", {}).items():
        if index not in range(len(parameters)) or not isinstance(state, dict):
            raise ValueError("its optimizer has other parameters than the network")
        for name, value in state.items():
            if isinstance(value, Tensor) and not _fits(value, parameters[index]):
                raise ValueError(f"{name} of its optimizer does not fit parameter {index}")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _fits(value: Tensor, parameter: Tensor) -> bool:
    """Tell whether an optimizer could have kept this of a parameter: a number, or one for each."""
    try:
        return torch.broadcast_shapes(value.shape, parameter.shape) == parameter.shape
    except RuntimeError:
        return False


def _alike(found: Any, expected: Any) -> bool:
    """Tell whether two structures have the same keys and lengths, and single values at the ends.

    Of which kind these are depends on the device: a learning rate may be a number or a tensor.
    """
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(_alike(found[key], expected[key]) for key in expected)
        )
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(found, (list, tuple))
            and len(found) == len(expected)
            and all(_alike(*pair) for pair in zip(found, expected, strict=True))
        )
    if isinstance(found, Tensor):
        return found.numel() == 1
    return found is None or isinstance(found, (bool, int, float, str))
