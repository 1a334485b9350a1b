"""The part of the report on certificates: how robust the trained networks provably are."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from pade_bench.report.figures.certified import certified_accuracy
from pade_bench.report.figures.drawing import Plan
from pade_bench.report.groups import Group, in_order, summarize
from pade_bench.report.page import Picture, Section
from pade_bench.report.tables import Cell, Table, no_value
from pade_bench.runs.certificate import FILE, Certificate

_NOTES = [
    "Each pixel may change by ε, of a scale from 0 to 1. Certified: the images that provably no "
    "such change makes the network get wrong, a lower bound. Attacked: those that PGD could not "
    "make it get wrong, an upper bound. Means over seeds ± one sample standard deviation.",
    "Width: of the bounds of an output, the mean over the images that were certified at the next "
    "smaller ε, and over seeds.",
]
_COLUMNS = ("experiment", "activation", "ε", "clean", "attacked", "certified", "width", "images",
            "seeds", "method")  # fmt: skip


@dataclass(frozen=True)
class Certificates:
    """The certificates of a group's runs that were made in the same way, by seed."""

    group: Group
    found: tuple[Certificate, ...]


def section(groups: Sequence[Group], plan: Plan) -> Section | None:
    """Return table and figure; ``None`` where no run has a certificate."""
    certificates = read(groups, plan.problems)
    if not certificates:
        return None
    title = "Provable robustness"
    picture = plan.add(
        Picture("certified", f"{title}: certified accuracy", notes=_NOTES[:1]),
        functools.partial(certified_accuracy, [(c.group, c.found) for c in certificates]),
    )
    return Section(title, [picture, certified_table(certificates)])


def read(groups: Sequence[Group], problems: list[str]) -> list[Certificates]:
    """Read the certificates of groups that have any; add to ``problems`` what is left out."""
    return [c for group in in_order(groups) if (c := _of_group(group, problems))]


def _of_group(group: Group, problems: list[str]) -> Certificates | None:
    """Read the certificates of a group's runs: those made as most of them were made."""
    alike: dict[tuple[object, ...], list[Certificate]] = {}
    for run in group.finished:
        path = run.directory / FILE
        try:
            certificate = Certificate.read(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.append(f"{path}: cannot be read ({error})")
            continue
        if (certificate.config_hash, certificate.seed) != (run.config_hash, run.seed):
            problems.append(f"{path}: is of another run")
            continue
        epsilons = tuple(result.epsilon for result in certificate.results)
        how = certificate.method, certificate.images, epsilons
        alike.setdefault(how, []).append(certificate)
    most = max(alike.values(), key=len, default=[])
    if left := sum(map(len, alike.values())) - len(most):
        problems.append(f"{group.full_label}: {left} certificates were made in another way")
    return Certificates(group, tuple(most)) if most else None


def certified_table(certificates: Sequence[Certificates]) -> Table:
    """Return a row for each group and ε; the data have one for each run."""
    table = Table("certified", "Certified accuracy", [("", name) for name in _COLUMNS])
    for c in certificates:
        first = c.found[0]
        for i, result in enumerate(first.results):
            at = [certificate.results[i] for certificate in c.found]
            accuracies = {
                name: [getattr(r, f"{name}_accuracy") for r in at]
                for name in ("clean", "attacked", "certified")
            }
            # An infinite mean, or none: then there is none over the seeds either.
            widths = [r.mean_width for r in at if r.mean_width is not None]
            width = sum(widths) / len(widths) if len(widths) == len(at) else None
            table.rows.append([
                Cell(c.group.title), Cell(c.group.full_label), Cell(f"{result.epsilon:g}"),
                *(Cell(_mean(values)) for values in accuracies.values()),
                no_value() if width is None else Cell(f"{width:.3g}"),
                Cell(f"{first.images:,}"), Cell(str(len(c.found))), Cell(first.method),
            ])  # fmt: skip
            table.data += [
                {
                    "experiment": c.group.experiment, "activation": c.group.full_label,
                    "seed": certificate.seed, "method": first.method, "images": first.images,
                    **vars(certificate.results[i]),
                }
                for certificate in c.found
            ]  # fmt: skip
    table.notes = _NOTES
    return table


def _mean(values: Sequence[float]) -> str:
    summary = summarize(values)
    assert summary is not None
    spread = "" if summary.std is None else f" ± {summary.std:.1f}"
    return f"{summary.mean:.1f}{spread}"
