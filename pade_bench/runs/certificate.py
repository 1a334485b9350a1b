"""What ``python -m pade_bench.certify`` found out about a run, in ``certificate.json``."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pade_bench.runs.files import MOST_BYTES_OF_JSON, digest, parse_json, read_file

FILE = "certificate.json"
METHODS = ("crown", "ibp")


@dataclass(frozen=True)
class Certified:
    """What is known of the images when each pixel may change by ``epsilon``.

    Attributes:
        epsilon: in units of the pixels' scale, 0 to 1.
        clean_accuracy: in percent of the images, as they are.
        attacked_accuracy: those that an attack could not change the class of; an upper bound.
        certified_accuracy: those that provably nothing can change the class of; a lower bound.
        bounded_images: images whose outputs were bounded: those certified at the next smaller
            epsilon.
        mean_width: of the bounds of an output, over these images; ``None`` if it is infinite or
            there are none.
        median_width: over these images, of the mean over the outputs.
        bound_seconds: what the bounds took.
        attack_seconds: what the attack took.
    """

    epsilon: float
    clean_accuracy: float
    attacked_accuracy: float
    certified_accuracy: float
    bounded_images: int
    mean_width: float | None
    median_width: float | None
    bound_seconds: float
    attack_seconds: float


@dataclass(frozen=True)
class Certificate:
    """A certificate as the report reads it.

    Attributes:
        config_hash: that of the run's record.
        seed: of the run.
        method: one of ``METHODS``.
        images: how many, the first of the test set.
        results: one for each epsilon, in ascending order.
    """

    config_hash: str
    seed: int
    method: str
    images: int
    results: tuple[Certified, ...]

    @classmethod
    def read(cls, path: Path) -> Certificate:
        """Return the certificate in a file.

        Raises:
            OSError: it cannot be read.
            ValueError: it holds no certificate, or does not have its checksum.
        """
        found = read_values(path)
        try:
            certificate = cls(
                config_hash=found["config_hash"],
                seed=found["seed"],
                method=found["method"],
                images=found["images"],
                results=tuple(_result(entry) for entry in found["results"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path.name} is no certificate: {error!r}") from error
        if certificate.method not in METHODS or not isinstance(certificate.images, int):
            raise ValueError(f"{path.name} is no certificate: its method or images are wrong")
        if not isinstance(certificate.config_hash, str) or not isinstance(certificate.seed, int):
            raise ValueError(f"{path.name} is no certificate: it does not say of which run")
        return certificate


def read_values(path: Path) -> dict[str, Any]:
    """Return the values of a certificate, its checksum verified and left out.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or does not have its checksum.
    """
    found = parse_json(read_file(path, MOST_BYTES_OF_JSON), path.name)
    checksum = found.pop("checksum", None)
    if checksum != digest(found):
        raise ValueError(f"{path.name} does not have its checksum: it was changed afterwards")
    return found


def to_json(values: dict[str, Any]) -> str:
    """Return the content of ``certificate.json``, with its checksum."""
    return json.dumps({**values, "checksum": digest(values)}, indent=2, allow_nan=False) + "\n"


def _result(entry: dict[str, Any]) -> Certified:
    result = Certified(**entry)
    for name, value in entry.items():
        may_be_none = name in ("mean_width", "median_width")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (value is None and may_be_none) and not (number and math.isfinite(value)):
            raise ValueError(f"{name} is not a number: {value!r}")
        if name.endswith("_accuracy") and not 0 <= value <= 100:
            raise ValueError(f"{name} is not a percentage: {value!r}")
    return result
