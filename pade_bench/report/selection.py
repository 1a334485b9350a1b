"""Which runs a command is about: ``--runs DIR --experiment … --activation … --set key=value``."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pade_bench.errors import ConfigurationError
from pade_bench.report.grouping import group_runs, settings_of
from pade_bench.report.groups import Group
from pade_bench.runs.files import user_path
from pade_bench.runs.records import read_runs


def add_arguments(parser: argparse.ArgumentParser, published: Path | None = None) -> None:
    """Add the options to a command line, with ``--published`` for a directory of published runs."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--runs", type=user_path, default=Path("runs"), help="default: runs")
    if published:
        where.add_argument(
            "--published", dest="runs", action="store_const", const=published,
            help="of the runs behind docs/results.md, which come with the package",
        )  # fmt: skip
    parser.add_argument(
        "--experiment", action="append", default=[], metavar="NAME[,NAME]",
        help="only these, * and ? stand for anything",
    )  # fmt: skip
    parser.add_argument(
        "--activation", action="append", default=[], metavar="NAME[,NAME]", help="only these"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="only runs with this setting: --set trainer.max_epochs=5",
    )  # fmt: skip


def read_groups(options: argparse.Namespace) -> tuple[list[Group], list[str]]:
    """Return the groups of runs that the options ask for, and which runs had to be left out.

    Raises:
        RunError: there is no such directory.
        ConfigurationError: no run has what an option names.
    """
    runs, problems = read_runs(options.runs)
    groups = group_runs(runs)
    if groups:
        for name in ("experiment", "activation"):
            groups = _with_name(groups, name, getattr(options, name))
        for setting in options.set:
            groups = _with_setting(groups, setting)
    return groups, problems


def _with_name(groups: Sequence[Group], option: str, values: Iterable[str]) -> list[Group]:
    wanted = [name for value in values for name in value.split(",")]
    if not wanted:
        return list(groups)
    # By what was asked for and by what really ran, where these differ.
    names = [{getattr(g, option), getattr(g.runs[0], option)} for g in groups]
    for pattern in wanted:
        known = set().union(*names)
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ConfigurationError(
                f"--{option} {pattern}: no run has it.{_nearest(pattern, known)}"
            )
    return [
        g
        for g, mine in zip(groups, names, strict=True)
        if any(fnmatchcase(name, pattern) for name in mine for pattern in wanted)
    ]


def _with_setting(groups: Sequence[Group], setting: str) -> list[Group]:
    key, equals, value = setting.partition("=")
    if not equals:
        raise ConfigurationError(f"--set {setting}: write it as key=value.")
    values = [_settings(g).get(key) for g in groups]
    if not any(v is not None for v in values):
        known = {k for g in groups for k in _settings(g)}
        raise ConfigurationError(f"--set {setting}: no run has {key}.{_nearest(key, known)}")
    found = [g for g, v in zip(groups, values, strict=True) if v == value.replace(" ", "")]
    if not found:
        there = ", ".join(sorted({v for v in values if v is not None})[:10])
        raise ConfigurationError(f"--set {setting}: no run has that value, but {there}.")
    return found


def _settings(group: Group) -> dict[str, str]:
    settings = settings_of(group.runs[0])
    settings |= {**dict(group.protocol), **dict(group.variation)}
    return {key: value.replace(" ", "") for key, value in settings.items()}


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    return f" Did you mean {near[0]}?" if near else f" There are: {', '.join(sorted(known)[:10])}."
