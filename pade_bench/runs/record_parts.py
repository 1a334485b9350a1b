"""The parts of a record: on what it was made, what pruning cost, what the data set adds."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from pade_bench.runs.values import Values


@dataclass(frozen=True)
class Provenance:
    """On what a result was made: the dictionary ``provenance`` of a record.

    Attributes:
        pade_bench: the version of this package.
        commit: of its checkout, with ``+changes`` where files were edited; null in a wheel.
        python: its version.
        packages: the version of each package that computes, by name.
        device: the name of the GPU, or of the processor.
        threads: how many of the CPU computed together.
        pade_kernel: what computed the Padé units; null in a network without any.
        pade_numerics: the version of their arithmetic: between versions, bits differ. Null in a
            network without any, and in records of version 1, which do not say.
        gpu: what else changes a result on a GPU: how many trained together, the versions of the
            driver, CUDA and cuDNN, and where TF32 was allowed; null on the CPU. Empty in records of
            0.1, which do not say.
    """

    pade_bench: str | None = None
    commit: str | None = None
    python: str | None = None
    packages: dict[str, str | None] = field(default_factory=dict)
    device: str | None = None
    threads: int | None = None
    pade_kernel: str | None = None
    pade_numerics: int | None = None
    gpu: dict[str, Any] | None = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Values) -> Provenance:
        """Return what a record has of it."""
        texts = ("pade_bench", "commit", "python", "device", "pade_kernel")
        return cls(
            packages=values.optional("packages", dict) or {},
            threads=values.optional("threads", int),
            pade_numerics=values.optional("pade_numerics", int),
            gpu=values.optional("gpu", dict) if "gpu" in values else {},
            **{name: values.optional(name, str) for name in texts},
        )


MOST_INFERENCE_ERROR = 0.1  # with which a ratio of times is shown


@dataclass(frozen=True)
class Costs:
    """What a network costs: its parameters, the multiply-adds of one image, and the time."""

    parameters: int
    multiply_adds: float
    inference_milliseconds: float


@dataclass(frozen=True)
class Pruning:
    """What a run of a pruning experiment adds to the keys of its record.

    Attributes:
        pruned_share: percent of the filters that are missing.
        multiply_adds: of the network, for one image.
        inference_milliseconds: median time for ``inference_images`` images.
        inference_images: how many images are timed together.
        unpruned: ``parameters``, ``multiply_adds`` and ``inference_milliseconds`` of the network
            before any pruning; the two are timed in turns.
        inference_error: by how much the ratio of the two times may be wrong, as a share of it: half
            of its 95 % interval. ``None``: not known, as in 0.1.
    """

    pruned_share: float
    multiply_adds: float
    inference_milliseconds: float
    inference_images: int
    unpruned: Costs
    inference_error: float | None = None

    @classmethod
    def from_values(cls, values: Values) -> Pruning | None:
        """Return what a record has of it, ``None`` for a run of no pruning experiment."""
        if (share := values.optional("pruned_share", float)) is None:
            return None
        before = Values(values.get("unpruned", dict), "unpruned: ")
        return cls(
            share,
            values.positive("multiply_adds"),
            values.positive("inference_milliseconds"),
            values.count("inference_images"),
            Costs(
                before.count("parameters"),
                before.positive("multiply_adds"),
                before.positive("inference_milliseconds"),
            ),
            values.optional("inference_error", float),
        )

    @property
    def inference_share(self) -> float | None:
        """The time as a share of that of the unpruned network, ``None`` if that is not known well.

        A busy machine has been seen to make a network with half of its filters ten times as fast.
        """
        if self.inference_error is None or not self.inference_error <= MOST_INFERENCE_ERROR:
            return None
        return self.inference_milliseconds / self.unpruned.inference_milliseconds


@dataclass(frozen=True)
class Images:
    """What a data set adds to the keys of a record.

    Attributes:
        data_name: what the data set is called, where ``data`` does not say it.
        data_digest: of all its files, where they are anybody's.
        corrupt_images: ``count`` and ``files`` of those that could not be decoded.
    """

    data_name: str | None = None
    data_digest: str | None = None
    corrupt_images: dict[str, Any] | None = None

    def are(self, entries: dict[str, Any]) -> bool:
        """Tell whether the entries of a data set are those of the same images."""
        return self.data_digest in (None, entries.get("data_digest"))

    @classmethod
    def split(cls, entries: dict[str, Any]) -> tuple[Images | None, dict[str, Any]]:
        """Return what is known of the entries of a data set, and the others."""
        known = {f.name: entries[f.name] for f in fields(cls) if f.name in entries}
        others = {key: value for key, value in entries.items() if key not in known}
        return cls(**known) if known else None, others

    @classmethod
    def from_values(cls, values: Values) -> Images | None:
        """Return what a record has of it, ``None`` for a data set that adds nothing."""
        corrupt = values.values.get("corrupt_images")  # file names may be anything
        if corrupt is not None and not isinstance(corrupt, dict):
            raise ValueError("corrupt_images is no dictionary")
        found = cls(values.optional("data_name", str), values.optional("data_digest", str), corrupt)
        return found if found != cls() else None
