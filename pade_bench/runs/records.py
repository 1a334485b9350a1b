"""Reading what runs have left behind: every ``record.json``, and the runs that have none yet."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pade_bench.config.history import current_changes
from pade_bench.errors import RunError
from pade_bench.runs.files import read_json


@dataclass(frozen=True)
class Result:
    """What is known of one run. Accuracies are in percent of the test set.

    ``status`` is ``finished``, ``diverged`` or ``unfinished``; an unfinished run has no accuracy
    and what it has of the rest comes from ``progress.json``. ``changes`` holds the settings in
    which the run differs from its experiment's, ``None`` where that is not recorded.
    """

    directory: Path
    experiment: str
    activation: str
    seed: int
    status: str
    changes: dict[str, Any] | None = None
    config_hash: str = ""
    model: str = ""
    epochs: int = 0
    max_epochs: int | None = None
    accuracy: float | None = None
    top5_accuracy: float | None = None
    accuracy_per_epoch: Sequence[float] = ()
    loss_per_epoch: Sequence[float] = ()
    seconds_per_epoch: Sequence[float] = ()
    parameters: int | None = None
    activation_parameters: int | None = None
    pruned_share: float | None = None
    multiply_adds: float | None = None
    inference_share: float | None = None  # of the time that the unpruned network takes
    provenance: dict[str, Any] = field(default_factory=dict)


def read_runs(runs_dir: Path) -> tuple[list[Result], list[str]]:
    """Return every run below a directory, sorted, and what is wrong with those left out.

    Directories of other things, and those that ``restart=true`` moved aside, are passed over.

    Raises:
        RunError: there is no such directory.
    """
    if not runs_dir.is_dir():
        raise RunError(f"--runs {runs_dir} is not a directory.")
    results: dict[tuple[Any, ...], Result] = {}
    problems = []
    for result in _read_all(sorted(_run_directories(str(runs_dir)))):
        if isinstance(result, str):
            problems.append(result)
            continue
        key = (
            result.experiment,
            result.activation,
            result.config_hash or result.directory.parent.name,
            result.pruned_share,
            result.seed,
        )
        if key in results:
            problems.append(f"{result.directory}: is the same run as {results[key].directory}")
        else:
            results[key] = result
    return list(results.values()), problems


Found = tuple[str, frozenset[str]]  # a directory and the names in it
MANY = 1000  # runs from which on all cores read


def _read_all(found: list[Found]) -> Iterator[Result | str]:
    if len(found) < MANY:
        yield from map(_read_or_complain, found)
    else:
        with ProcessPoolExecutor() as pool:
            yield from pool.map(_read_or_complain, found, chunksize=250)


def _read_or_complain(found: Found) -> Result | str:
    """Return what is known of a run, or what is wrong: of thousands none is left out in silence."""
    directory, names = found
    try:
        return _read(Path(directory), names)
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        return f"{directory}: {error}"


def _run_directories(top: str) -> Iterator[Found]:
    """Yield every directory that holds a record or a configuration, and the names in it."""
    pending = [top]
    while pending:
        directory = pending.pop()
        with os.scandir(directory) as entries:
            found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        if "record.json" in found or "config.yaml" in found:
            yield directory, frozenset(found)
        pending += [
            os.path.join(directory, name)
            for name, is_directory in found.items()
            if is_directory and not name.startswith(".") and ".before-" not in name
        ]


def _read(directory: Path, names: frozenset[str]) -> Result:
    if "record.json" in names:
        return _from_record(directory, read_json(directory / "record.json"))
    if "progress.json" in names:
        return _from_progress(directory, read_json(directory / "progress.json"))
    # Interrupted before its first epoch began: its home says what it is.
    experiment, variant, seed = directory.parts[-3:]
    if not (seed.startswith("seed") and seed[4:].isdigit()):
        raise ValueError("holds a config.yaml, but its name is not seed<number>")
    variant, _, share = variant.partition("-pruned")
    activation, _, changed = variant.partition("-")
    return Result(
        directory,
        experiment,
        activation,
        seed=int(seed[4:]),
        status="unfinished",
        changes=None if changed else {},
        pruned_share=float(share or 0) if share or experiment.startswith("prune_") else None,
    )


def _from_progress(directory: Path, progress: dict[str, Any]) -> Result:
    return Result(
        directory,
        experiment=_get(progress, "experiment", str),
        activation=_get(progress, "activation", str),
        seed=_get(progress, "seed", int),
        status="unfinished",
        changes=current_changes(_get(progress, "changes", dict), _get(progress, "activation", str)),
        model=_get(progress, "model", str),
        pruned_share=_optional(progress, "pruned_share", float),
        epochs=_get(progress, "epochs", int),
        max_epochs=_get(progress, "max_epochs", int),
        seconds_per_epoch=_numbers(progress, "wall_seconds_per_epoch"),
    )


def _from_record(directory: Path, record: dict[str, Any]) -> Result:
    status = _get(record, "status", str)
    changes = _optional(record, "changes", dict)
    if changes is not None:
        changes = current_changes(changes, _get(record, "activation", str))
    if status not in ("finished", "diverged"):
        raise ValueError(f"record.json: status {status!r} is neither finished nor diverged")
    result = Result(
        directory,
        experiment=_get(record, "experiment", str),
        activation=_get(record, "activation", str),
        seed=_get(record, "seed", int),
        status=status,
        changes=changes,
        config_hash=_get(record, "config_hash", str),
        model=_get(record, "model", str),
        epochs=_get(record, "epochs", int),
        max_epochs=_get(record, "epochs", int) if status == "finished" else None,
        accuracy=_percent(record, "test_accuracy") if status == "finished" else None,
        top5_accuracy=_percent(record, "test_top5_accuracy", required=False),
        accuracy_per_epoch=_numbers(record, "test_accuracy_per_epoch"),
        loss_per_epoch=_numbers(record, "train_loss_per_epoch"),
        seconds_per_epoch=_numbers(record, "wall_seconds_per_epoch", required=False),
        parameters=_get(record, "parameters", int),
        activation_parameters=_get(record, "activation_parameters", int),
        pruned_share=_optional(record, "pruned_share", float),
        multiply_adds=_optional(record, "multiply_adds", float),
        inference_share=_inference_share(record),
        provenance=_optional(record, "provenance", dict) or {},
    )
    for name in ("accuracy_per_epoch", "loss_per_epoch"):
        if len(getattr(result, name)) != result.epochs:
            raise ValueError(
                f"record.json: {name} has {len(getattr(result, name))} values for "
                f"{result.epochs} epochs"
            )
    return result


def _inference_share(record: dict[str, Any]) -> float | None:
    unpruned = _optional(record, "unpruned", dict)
    if unpruned is None:
        return None
    key = "inference_milliseconds"
    before = _get(unpruned, key, float)
    if not before > 0:
        raise ValueError(f"unpruned: {key} is {before!r}, not above 0")
    return _get(record, key, float) / before


def _optional(record: dict[str, Any], key: str, kind: type) -> Any:
    return _get(record, key, kind) if record.get(key) is not None else None


def _get(record: dict[str, Any], key: str, kind: type) -> Any:
    if key not in record:
        raise ValueError(f"has no {key!r}")
    value = record[key]
    # In Python True is an int, in a record it is a mistake.
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or isinstance(value, bool):
        raise ValueError(f"{key} is {value!r}, not {_KINDS[kind]}")
    return value


_KINDS = {str: "text", int: "a whole number", float: "a number", dict: "a dictionary"}


def _percent(record: dict[str, Any], key: str, required: bool = True) -> float | None:
    if not required and record.get(key) is None:
        return None
    value: float = _get(record, key, float)
    if not 0 <= value <= 100:
        raise ValueError(f"{key} is {value!r}, not from 0 to 100 percent")
    return value


def _numbers(record: dict[str, Any], key: str, required: bool = True) -> Sequence[float]:
    if not required and key not in record:
        return ()
    values = record.get(key)
    if not isinstance(values, list):
        raise ValueError(f"{key} is no list")
    # There can be millions: tests of all at once. What is not finite makes the sum so.
    if not set(map(type, values)) <= {int, float} or not math.isfinite(sum(values)):
        raise ValueError(f"{key} holds what is not a finite number")
    # A tenth of a list's memory, and of the time to hand it to another process.
    return array("d", values)
