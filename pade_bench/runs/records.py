"""Reading what many runs have left behind: records, and the runs that have none yet."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pade_bench.config.history import historic
from pade_bench.errors import RunError, printable
from pade_bench.runs.config_file import read_config
from pade_bench.runs.files import MOST_BYTES_OF_JSON, digest, read_file
from pade_bench.runs.home import shaping_settings
from pade_bench.runs.names import HomeName
from pade_bench.runs.record import FINISHED, Progress, Provenance, Record


@dataclass(frozen=True)
class Result:
    """What is known of one run. Accuracies are in percent of the test set.

    ``status`` is ``finished``, ``diverged`` or ``unfinished``; an unfinished run has no record, and
    what is known of it comes from ``progress.json`` or, before its first epoch, from its home's
    name. ``changes`` holds the settings in which the run differs from its experiment's, ``None``
    where that is not recorded; ``settings`` all those that shape its result, ``None`` where its
    record is old and its ``config.yaml`` missing or damaged.
    """

    directory: Path
    experiment: str
    activation: str
    seed: int
    status: str
    changes: dict[str, Any] | None = None
    config_hash: str = ""
    settings: dict[str, Any] | None = None
    model: str = ""
    epochs: int = 0
    max_epochs: int | None = None
    seconds_per_epoch: Sequence[float] = ()
    pruned_share: float | None = None
    record: Record | None = None

    @property
    def accuracy(self) -> float | None:
        return self.record.test_accuracy if self.record else None

    @property
    def top5_accuracy(self) -> float | None:
        return self.record.test_top5_accuracy if self.record else None

    @property
    def accuracy_per_epoch(self) -> Sequence[float]:
        return self.record.test_accuracy_per_epoch if self.record else ()

    @property
    def loss_per_epoch(self) -> Sequence[float]:
        return self.record.train_loss_per_epoch if self.record else ()

    @property
    def train_accuracy_per_epoch(self) -> Sequence[float]:
        return (self.record.train_accuracy_per_epoch if self.record else None) or ()

    @property
    def test_loss_per_epoch(self) -> Sequence[float]:
        return (self.record.test_loss_per_epoch if self.record else None) or ()

    @property
    def parameters(self) -> int | None:
        return self.record.parameters if self.record else None

    @property
    def activation_parameters(self) -> int | None:
        return self.record.activation_parameters if self.record else None

    @property
    def multiply_adds(self) -> float | None:
        return self.record.pruning.multiply_adds if self.record and self.record.pruning else None

    @property
    def inference_share(self) -> float | None:
        """The time of inference as a share of the unpruned network's."""
        return self.record.pruning.inference_share if self.record and self.record.pruning else None

    @property
    def provenance(self) -> Provenance:
        return (self.record.provenance if self.record else None) or Provenance()

    @property
    def is_unverified(self) -> bool:
        """Whether its record has no checksum, so that nobody knows if it is what was written."""
        return self.record is not None and not self.record.verified


def read_runs(runs_dir: Path) -> tuple[list[Result], list[str]]:
    """Return every run below a directory, sorted, and what is wrong with those left out.

    Directories of other things, and those that ``restart=true`` moved aside, are passed over.

    Raises:
        RunError: there is no such directory.
    """
    if not runs_dir.is_dir():
        raise RunError(f"--runs {runs_dir} is not a directory.")
    results: dict[tuple[Any, ...], Result] = {}
    problems: list[str] = []
    directories = sorted(_run_directories(str(runs_dir), problems))
    for result, complaints in _read_all(directories):
        problems += complaints
        if result is None:
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


def unverified(results: Iterable[Result]) -> list[str]:
    """Say which records have no checksum, in one sentence; nothing if all have."""
    homes = [str(result.directory) for result in results if result.is_unverified]
    if not homes:
        return []
    more = f" and {len(homes) - 3:,} more" if len(homes) > 3 else ""
    return [f"Unverified, as the record has no checksum: {', '.join(homes[:3])}{more}."]


Found = tuple[str, frozenset[str]]  # a directory and the names in it
Read = tuple[Result | None, list[str]]  # a run, and what is wrong with it
MANY = 1000  # runs from which on all cores read


def _read_all(found: list[Found]) -> Iterator[Read]:
    if len(found) < MANY:
        yield from map(_read_or_complain, found)
    else:
        with ProcessPoolExecutor() as pool:
            yield from pool.map(_read_or_complain, found, chunksize=250)


def _read_or_complain(found: Found) -> Read:
    """Return what is known of a run, and what is wrong: of thousands none is left out silently."""
    directory, names = found
    problems: list[str] = []
    try:
        if not directory.isprintable():
            raise ValueError("its path cannot be printed")
        return _read(Path(directory), names, problems), problems
    except (OSError, ValueError) as error:
        complaint = f"{directory}: {error}"
    except Exception as error:  # one run in thousands must not end the report on all others
        complaint = f"{directory}: {type(error).__name__}: {error}"
    return None, [printable(complaint)]


def _run_directories(top: str, problems: list[str]) -> Iterator[Found]:
    """Yield every directory that holds a record or a configuration, and the names in it."""
    pending = [top]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError as error:
            problems.append(printable(f"{directory}: cannot be read: {error.strerror}"))
            continue
        if "record.json" in found or "config.yaml" in found:
            yield directory, frozenset(found)
        pending += [
            os.path.join(directory, name)
            for name, is_directory in found.items()
            if is_directory and not name.startswith(".") and ".before-" not in name
        ]


def _read(directory: Path, names: frozenset[str], problems: list[str]) -> Result:
    if "record.json" in names:
        record = Record.read(directory / "record.json")
        settings = _settings(directory, record, problems)
        record = dataclasses.replace(record, settings=settings)
        return Result(
            directory,
            record.experiment,
            record.activation,
            record.seed,
            record.status,
            record.changes,
            record.config_hash,
            settings,
            record.model,
            record.epochs,
            record.epochs if record.status == FINISHED else None,
            record.wall_seconds_per_epoch,
            record.pruning.pruned_share if record.pruning else None,
            record,
        )
    if "progress.json" in names:
        content = read_file(directory / "progress.json", MOST_BYTES_OF_JSON)
        progress = Progress.from_json(content)
        return Result(
            directory,
            progress.experiment,
            progress.activation,
            progress.seed,
            "unfinished",
            progress.changes,
            "",
            _settings(directory, progress, problems),
            progress.model,
            progress.epochs,
            progress.max_epochs,
            progress.wall_seconds_per_epoch,
            progress.pruned_share,
        )
    # Interrupted before its first epoch began: its home says what it is.
    home = HomeName.parse(directory)
    is_pruning = bool(home.pruned_share) or home.experiment.startswith("prune_")
    return Result(
        directory,
        home.experiment,
        home.activation,
        home.seed,
        "unfinished",
        changes=None if home.changes else {},
        settings=_settings(directory, None, problems),
        pruned_share=home.pruned_share if is_pruning else None,
    )


# Runs that differ in the seed alone have the same settings: read once, and kept once.
_known_settings: dict[str, dict[str, Any]] = {}


def _settings(
    directory: Path, said: Record | Progress | None, problems: list[str]
) -> dict[str, Any] | None:
    """Return a run's settings, ``None`` without any; those of 0.1 are in ``config.yaml`` alone."""
    config_hash = said.config_hash if said else ""
    known = _known_settings.get(config_hash)
    settings = said.settings if said else None
    if known is not None and settings in (None, known):
        return known
    try:
        if settings is None:
            settings = shaping_settings(read_config(directory / "config.yaml"))
        if config_hash and config_hash != digest(historic(settings)):
            raise ValueError("its settings are not those that were trained: their hash is another")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        problems.append(printable(f"{directory}: its settings are not compared: {error}"))
        return None
    return _known_settings.setdefault(config_hash, settings) if config_hash else settings
