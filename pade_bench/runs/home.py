"""Where a run lives, what belongs to it, and whether it is finished.

    runs_dir/experiment/activation[-changes][-pruned<percent>]/seed<seed>/
        config.yaml     the resolved configuration, written before training starts
        filters.json    which filters a pruned network has, by convolution
        last.ckpt       the state after the last complete epoch
        previous.ckpt   the one before it, until the run is finished, should last.ckpt be damaged
        events.out.*    TensorBoard's events
        progress.json   what is trained and how far, written when an epoch is complete
        record.json     the result and its checksum, once the run is finished or has diverged
        traceback.txt   of the exception that ended the run, where there was one
        lock            held by the process that trains, which it names

``changes`` is a hash of the settings in which a run differs from its experiment's, so every
run has one home, the same from a sweep as from a single command. This module does without
torch: records are read where torch is not installed.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pade_bench.config.fields import declared, flatten, to_plain
from pade_bench.config.history import completed, current, historic
from pade_bench.config.schema import Config
from pade_bench.errors import ConfigurationError, DamagedError, RunError
from pade_bench.runs import locks
from pade_bench.runs.config_file import parse, read_config, with_digest
from pade_bench.runs.files import (
    digest,
    remove_partial,
    set_aside,
    time_stamp,
    unused,
    write_atomically,
    writing_to,
)
from pade_bench.runs.names import HomeName
from pade_bench.runs.record import Progress, Record

if TYPE_CHECKING:
    from pade_bench.config.compose import Composed

# Settings that say where and on what a run is made, not which run it is; of the data's arguments,
# which are known only to its class, those of these names.
PLACE_SETTINGS = (
    *(key for key, field in declared(Config) if field.metadata["place"]),
    "data.root",
    "data.workers",
)
_NOT_SHAPING = ("hydra.", *(f"{key}." for key in PLACE_SETTINGS))  # loggers have settings


@dataclass(frozen=True)
class Run:
    """One training run: what it is, the directory that is its home, what it changes."""

    directory: Path
    names: dict[str, str]
    config: Config = field(repr=False)
    changes: dict[str, Any] = field(default_factory=dict)
    trust: tuple[str, ...] | None = None  # of a stored configuration: see config.targets.locate
    # The options and overrides that described it, as they were typed.
    command: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, composed: Composed) -> Run:
        """Return the run that a composed configuration describes."""
        config, names = composed.config, composed.names
        settings, standard = identity(config), identity(composed.unchanged)
        changes = _differences(settings, standard)
        home = HomeName(
            names["experiment"],
            names["activation"],
            config.seed,
            digest(_differences(historic(settings), historic(standard)))[:8] if changes else "",
            _pruned_share(config) or 0.0,
        )
        return cls(
            Path(config.runs_dir) / home.path(), names, config, changes, command=composed.command
        )

    @property
    def pruned_share(self) -> float | None:
        """The share of filters that are missing, in percent; ``None`` if that is not the point."""
        return _pruned_share(self.config)

    @property
    def config_hash(self) -> str:
        """A hash of every setting that shapes the result, the same for all seeds."""
        return digest(historic(identity(self.config)))

    @property
    def identifier(self) -> dict[str, Any]:
        """What a file of the run says of whose it is."""
        return {"config_hash": self.config_hash, "seed": self.config.seed}

    @property
    def checkpoint(self) -> Path:
        return self.directory / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        return self.directory / "previous.ckpt"

    def record(self) -> Record | None:
        """Return the record of a finished or diverged run, ``None`` where there is none yet.

        Raises:
            DamagedError: the record is not what was written.
            RunError: it cannot be read, or belongs to a run with other settings.
        """
        path = self.directory / "record.json"
        try:
            record = Record.read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise DamagedError(path, error) from error
        if {"config_hash": record.config_hash, "seed": record.seed} != self.identifier:
            self._refuse_other_settings()
        return record

    def sound_record(self) -> Record | None:
        """Return the record, ``None`` also for a damaged one, which :meth:`claim` sets aside."""
        try:
            return self.record()
        except DamagedError:
            return None

    def write(
        self, name: str, content: bytes, durable: bool = True, keep_as: Path | None = None
    ) -> None:
        """Write a file of the run whole or not at all; see :func:`write_atomically`.

        Raises:
            RunError: another process could have the run's lock by now: nothing is written.
            OSError: it cannot be written.
        """
        self.require_lock()
        write_atomically(self.directory / name, content, durable, keep_as)

    def require_lock(self) -> None:
        """Raise :class:`RunError` if another process could have the lock that this one took."""
        locks.require(self.directory / "lock")

    def write_progress(self, seconds_per_epoch: list[float]) -> None:
        """Write how far the run is, for whoever follows it."""
        facts: dict[str, Any] = {**self.names, **self.identifier}
        progress = Progress(
            **facts,
            changes=self.changes,
            settings=identity(self.config),
            pruned_share=self.pruned_share,
            epochs=len(seconds_per_epoch),
            max_epochs=self.config.trainer.max_epochs,
            wall_seconds_per_epoch=seconds_per_epoch,
        )
        self.write("progress.json", progress.to_json().encode(), durable=False)

    def write_record(self, record: Record) -> None:
        """Write ``record.json`` whole or not at all."""
        self.write("record.json", record.to_json().encode())

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the run's directory while training; the lock ends with the process.

        With ``restart=true`` the directory's content is first moved aside; otherwise a damaged
        record is, and nothing else. An exception that ends the training leaves its traceback in
        ``traceback.txt``.

        Raises:
            RunHeldError: another process holds the run.
            RunError: the directory cannot be written, or it holds a run with other settings.
        """
        with contextlib.ExitStack() as stack:
            with writing_to(self.directory):
                self._make_directory()
                stack.enter_context(locks.hold(self.directory / "lock"))
                remove_partial(self.directory)
                if self.config.restart:
                    self._move_aside()
                self._write_config()
                try:
                    self.record()
                except DamagedError as error:
                    set_aside(error)
                (self.directory / "traceback.txt").unlink(missing_ok=True)
            try:
                yield
            except Exception:
                # What ended the run matters more than a disk too full to note it.
                with contextlib.suppress(OSError, RunError):
                    self.write("traceback.txt", traceback.format_exc().encode(errors="replace"))
                raise

    def _make_directory(self) -> None:
        """Make the home, unless a link leads from ``runs_dir`` to somewhere else."""
        top = Path(self.config.runs_dir)
        for folder in (self.directory, *self.directory.parents):
            if folder == top:
                break
            if folder.is_symlink():
                raise RunError(
                    f"{folder} is a symbolic link. Only runs_dir itself may be one: what lies "
                    "behind another is neither written nor reported."
                )
        self.directory.mkdir(parents=True, exist_ok=True)

    def stored_settings(self) -> dict[str, Any]:
        """Return the settings that ``config.yaml`` has: those of :func:`identity`, and the seed.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        config = read_config(self.directory / "config.yaml")
        return {**shaping_settings(config), "seed": config.get("seed")}

    def _settings(self) -> dict[str, Any]:
        return {**identity(self.config), "seed": self.config.seed}

    def _write_config(self) -> None:
        path = self.directory / "config.yaml"
        if os.path.lexists(path):
            try:
                same = self.stored_settings() == self._settings()
            except (OSError, ValueError) as error:
                raise RunError(
                    f"{path} cannot be read: {error}. It is left as it is; restart=true moves it "
                    "aside and starts the run anew."
                ) from error
            if not same:
                self._refuse_other_settings()
        else:
            self._check_that_settings_can_be_stored()
            text = yaml.safe_dump(to_plain(self.config), sort_keys=False, allow_unicode=True)
            self.write("config.yaml", with_digest(text))

    def _check_that_settings_can_be_stored(self) -> None:
        for key, value in flatten(to_plain(self.config)).items():
            try:
                parse(yaml.safe_dump({key: value}).encode())
            except (ValueError, yaml.YAMLError) as error:
                reason = str(error).partition("holds ")[2]
                raise ConfigurationError(f"{key}={value}: cannot be stored: {reason}.") from error

    def _refuse_other_settings(self) -> None:
        differences = "its config.yaml is missing or damaged"
        with contextlib.suppress(OSError, ValueError):
            there, here = self.stored_settings(), self._settings()
            differences = ", ".join(
                f"{key} was {there.get(key)}, is {here.get(key)}"
                for key in sorted(there.keys() | here.keys())
                if there.get(key) != here.get(key)
            )
        raise RunError(
            f"{self.directory} holds a run with other settings: {differences}. It is left as it "
            "is: choose another runs_dir, or restart=true to move it aside and start anew."
        )

    def _move_aside(self) -> None:
        """Move everything but the lock to a directory beside this one; delete nothing."""
        # The record goes first and the checkpoint next: whatever an interruption leaves behind
        # is then an unfinished run, never a finished one without its weights.
        names = [p.name for p in self.directory.iterdir() if p.name != "lock"]
        names.sort(key=lambda name: (name != "record.json", name != "last.ckpt", name))
        if not names:
            return
        aside = unused(self.directory.with_name(f"{self.directory.name}.before-{time_stamp()}"))
        aside.mkdir()
        for name in names:
            (self.directory / name).rename(aside / name)


def _pruned_share(config: Config) -> float | None:
    shares = config.prune.shares
    return None if shares is None else shares[-1] if shares else 0.0


def identity(config: Config) -> dict[str, Any]:
    """Return the settings that shape a run's result, seed excepted, as ``{"a.b": value}``."""
    return shaping_settings(to_plain(config))


def shaping_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same of a stored configuration, as nested dictionaries, of any version.

    A setting that is missing because 0.1 did not have it counts as its default.
    """
    settings = completed(flatten(current(config)))
    if settings.get("prune.shares") is None:
        settings = {k: v for k, v in settings.items() if not k.startswith("prune.")}
    return {
        key: value
        for key, value in settings.items()
        if key not in PLACE_SETTINGS and key != "seed" and not key.startswith(_NOT_SHAPING)
    }


def _differences(settings: dict[str, Any], standard: dict[str, Any]) -> dict[str, Any]:
    return {
        key: settings.get(key)
        for key in sorted(settings.keys() | standard.keys())
        if settings.get(key) != standard.get(key)
    }
