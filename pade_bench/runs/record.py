"""What a run leaves in ``record.json`` when it ends, and in ``progress.json`` while it trains."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pade_bench.config.history import completed, current_changes
from pade_bench.runs.files import MOST_BYTES_OF_JSON, digest, parse_json, read_file
from pade_bench.runs.record_parts import Images, Provenance, Pruning
from pade_bench.runs.values import Values, shortened

MOST_EPOCHS = 100_000
FINISHED, DIVERGED = "finished", "diverged"


@dataclass(frozen=True, kw_only=True)
class Record:
    """The result of a run, in ``record.json``.

    Each attribute is a key of the file, but for ``pruning`` and ``images``, whose attributes are.
    Accuracies are in percent of the test set.

    Attributes:
        experiment: the chosen experiment, such as ``mnist_lenet``.
        data: the chosen data set.
        model: the chosen network.
        activation: the chosen activation.
        seed: of everything random in the run.
        status: ``finished``, or ``diverged`` if the loss became NaN or infinite.
        epochs: how many are complete.
        test_accuracy: after the last epoch; null if the run diverged.
        test_accuracy_per_epoch: one value per complete epoch.
        train_loss_per_epoch: mean over the images of the epoch, measured while training.
        train_accuracy_per_epoch: in percent of them, measured while training.
        test_loss_per_epoch: mean over the test images; 3.4e38 where that is no finite number.
        test_top5_accuracy: as ``test_accuracy``, of data of more than ten classes.
        test_top5_accuracy_per_epoch: one value per complete epoch, of such data.
        validation_accuracy: after the last epoch, in percent of the training images that
            ``data.validation`` sets apart; for choices.
        validation_accuracy_per_epoch: one value per complete epoch, of these.
        parameters: how many the network has.
        activation_parameters: how many of them belong to activations.
        activation_layers: how many activations the network has.
        wall_seconds: of training and testing.
        wall_seconds_per_epoch: one value per complete epoch.
        config_hash: of every setting but the seed: runs with the same hash may be averaged.
        changes: the settings in which the run differs from its experiment's.
        settings: every setting that shapes the result, such as ``{"optim.weights.lr": 0.002}``.
        provenance: code, versions, device and kernel: see :class:`Provenance`.
        pruning: of a pruning experiment: see :class:`Pruning`.
        images: what the data set adds: see :class:`Images`.
        others: keys that are not known here, such as those of a data set of your own.
        verified: not a key: whether the record had a checksum when it was read. Its key is
            ``checksum``, so that damage does not pass for a result.
    """

    experiment: str
    data: str | None = None
    model: str
    activation: str
    seed: int
    status: str
    epochs: int
    test_accuracy: float | None
    test_accuracy_per_epoch: Sequence[float]  # in memory an array
    train_loss_per_epoch: Sequence[float]
    train_accuracy_per_epoch: Sequence[float] | None = None
    test_loss_per_epoch: Sequence[float] | None = None
    test_top5_accuracy: float | None = None
    test_top5_accuracy_per_epoch: Sequence[float] | None = None
    validation_accuracy: float | None = None
    validation_accuracy_per_epoch: Sequence[float] | None = None
    parameters: int
    activation_parameters: int
    activation_layers: int | None = None
    wall_seconds: float | None = None
    wall_seconds_per_epoch: Sequence[float] = ()
    config_hash: str
    changes: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    provenance: Provenance | None = None
    pruning: Pruning | None = None
    images: Images | None = None
    others: dict[str, Any] = field(default_factory=dict)
    verified: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        # A tenth of a list's memory, and of the time to hand it to another process.
        for name in _PER_EPOCH:
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, array("d", values))

    def to_json(self) -> str:
        """Return the content of ``record.json``, with its checksum."""
        found: dict[str, Any] = {}
        for key, value in vars(self).items():
            if isinstance(value, (Pruning, Images)):
                found |= _without_none(asdict(value))
            elif isinstance(value, Provenance):
                found[key] = asdict(value)
            elif key not in _NOT_KEYS:
                found[key] = value.tolist() if isinstance(value, array) else value
        found = {k: v for k, v in found.items() if v is not None or k == "test_accuracy"}
        found |= self.others
        return json.dumps({**found, "checksum": digest(found)}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, content: bytes | str) -> Record:
        """Return the record that ``record.json`` holds.

        Raises:
            ValueError: it does not have its checksum, or a value is missing or impossible.
        """
        found = parse_json(content, "record.json")
        checksum = found.pop("checksum", None)
        try:
            if checksum is not None and checksum != digest(found):
                raise ValueError("it does not have its checksum: it was changed after the run")
            others = {key: found[key] for key in found.keys() - _KEYS}
            if checksum is None and others:
                # Only old records have none, and they have no keys that are not known.
                raise ValueError(f"it has no checksum, and the unknown key {min(others)!r}")
            return cls._from_values(Values(found), others, checksum is not None)
        except (ValueError, RecursionError, OverflowError) as error:
            raise ValueError(f"record.json: {error}") from error

    @classmethod
    def read(cls, path: Path) -> Record:
        """Return the record in a file.

        Raises:
            OSError: it cannot be read.
            ValueError: it holds no record, see :meth:`from_json`.
        """
        return cls.from_json(read_file(path, MOST_BYTES_OF_JSON))

    @classmethod
    def _from_values(cls, values: Values, others: dict[str, Any], verified: bool) -> Record:
        status, epochs = values.get("status", str), values.count("epochs", MOST_EPOCHS)
        if status not in (FINISHED, DIVERGED):
            raise ValueError(f"status {shortened(status)} is neither finished nor diverged")
        accuracies = values.numbers("test_accuracy_per_epoch", epochs, percent=True)
        accuracy = values.percent("test_accuracy") if status == FINISHED else None
        if accuracy is not None and (not epochs or accuracy != accuracies[-1]):
            raise ValueError(f"test_accuracy {accuracy} is not that of the last epoch")
        has_top5 = values.optional("test_top5_accuracy", float) is not None
        has_validation = values.optional("validation_accuracy", float) is not None
        activation = values.name("activation")
        provenance = values.optional("provenance", dict)
        return cls(
            **_what_ran(values),
            status=status,
            epochs=epochs,
            test_accuracy=accuracy,
            test_accuracy_per_epoch=accuracies,
            train_loss_per_epoch=values.numbers("train_loss_per_epoch", epochs),
            train_accuracy_per_epoch=_numbers(values, "train_accuracy_per_epoch", epochs),
            test_loss_per_epoch=_numbers(values, "test_loss_per_epoch", epochs),
            test_top5_accuracy=values.percent("test_top5_accuracy") if has_top5 else None,
            test_top5_accuracy_per_epoch=_numbers(values, "test_top5_accuracy_per_epoch", epochs),
            validation_accuracy=values.percent("validation_accuracy") if has_validation else None,
            validation_accuracy_per_epoch=_numbers(values, "validation_accuracy_per_epoch", epochs),
            parameters=values.count("parameters"),
            activation_parameters=values.count("activation_parameters"),
            activation_layers=values.optional("activation_layers", int),
            wall_seconds=values.optional("wall_seconds", float),
            wall_seconds_per_epoch=_numbers(values, "wall_seconds_per_epoch", epochs) or (),
            config_hash=values.name("config_hash"),
            changes=_by_todays_names(values, "changes", activation),
            settings=_by_todays_names(values, "settings", activation),
            provenance=None if provenance is None
            else Provenance.from_values(Values(provenance, "provenance: ")),
            pruning=Pruning.from_values(values),
            images=Images.from_values(values),
            others=others,
            verified=verified,
        )  # fmt: skip


_PER_EPOCH = [f.name for f in fields(Record) if f.name.endswith("_per_epoch")]
_NOT_KEYS = {"pruning", "images", "others", "verified"}
_KEYS = {f.name for kind in (Record, Pruning, Images) for f in fields(kind)} - _NOT_KEYS


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, in ``progress.json``; nothing resumes from it.

    ``max_epochs`` is how many the run will have; the other attributes are as in :class:`Record`.
    """

    experiment: str
    data: str | None = None
    model: str
    activation: str
    seed: int
    changes: dict[str, Any]
    pruned_share: float | None = None
    epochs: int
    max_epochs: int
    wall_seconds_per_epoch: Sequence[float]
    config_hash: str = ""
    settings: dict[str, Any] | None = None

    def to_json(self) -> str:
        """Return the content of ``progress.json``."""
        seconds = list(self.wall_seconds_per_epoch)
        return json.dumps({**vars(self), "wall_seconds_per_epoch": seconds}, allow_nan=False)

    @classmethod
    def from_json(cls, content: bytes | str) -> Progress:
        """Return what ``progress.json`` holds.

        Raises:
            ValueError: a value is missing or impossible.
        """
        values = Values(parse_json(content, "progress.json"))
        activation, epochs = values.name("activation"), values.count("epochs", MOST_EPOCHS)
        values.get("changes", dict)
        return cls(
            **_what_ran(values),
            changes=_by_todays_names(values, "changes", activation) or {},
            pruned_share=values.optional("pruned_share", float),
            epochs=epochs,
            max_epochs=values.count("max_epochs"),
            wall_seconds_per_epoch=values.numbers("wall_seconds_per_epoch", epochs),
            config_hash=values.name("config_hash") if "config_hash" in values else "",
            settings=_by_todays_names(values, "settings", activation),
        )


def _what_ran(values: Values) -> dict[str, Any]:
    """Return what every file about a run says of which run it is."""
    return {
        "experiment": values.name("experiment"),
        "data": values.name("data") if "data" in values else None,
        "model": values.name("model"),
        "activation": values.name("activation"),
        "seed": values.count("seed"),
    }


def _numbers(values: Values, key: str, epochs: int) -> Sequence[float] | None:
    return values.numbers(key, epochs, percent="accuracy" in key) if key in values else None


def _by_todays_names(values: Values, key: str, activation: str) -> dict[str, Any] | None:
    if (found := values.optional(key, dict)) is None:
        return None
    found = current_changes(found, activation)
    return completed(found) if key == "settings" else found


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
