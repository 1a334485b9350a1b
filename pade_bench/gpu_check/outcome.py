"""What the parts of the check find, and how it is told: progress, a Markdown report, JSON."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch


class Check(NamedTuple):
    """Something that must hold."""

    name: str
    detail: str
    holds: bool


@dataclass
class Outcome:
    """What a part has found so far: checks that must hold, and rows of a table of figures.

    ``error`` is why it ended early, and ``seconds`` how long it took.
    """

    checks: list[Check] = field(default_factory=list)
    table: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0

    def check(self, name: str, detail: str, holds: bool) -> None:
        """Add a check."""
        self.checks.append(Check(name, detail, bool(holds)))

    @property
    def sound(self) -> bool:
        """Tell whether every check holds and the part came to its end."""
        return self.error is None and all(check.holds for check in self.checks)


Part = Callable[[Outcome], None]


def run(
    parts: Mapping[str, Part], say: Callable[[str], None], limit: float | None = None
) -> dict[str, Outcome]:
    """Run parts one after another; one that fails keeps what it has found and stops no other.

    Ctrl-C ends the check with what has been found by then.

    Args:
        parts: by title.
        say: is told the progress.
        limit: seconds after which no further part begins.
    """
    began = time.perf_counter()
    outcomes: dict[str, Outcome] = {}
    for number, (title, part) in enumerate(parts.items(), 1):
        outcome = outcomes[title] = Outcome()
        started = time.perf_counter()
        if limit is not None and started - began > limit:
            outcome.error = f"not begun: {limit:.0f} s were over. --full has no such limit."
            say(f"[{started - began:4.0f} s] {title}: {outcome.error}")
            continue
        say(f"[{started - began:4.0f} s] {number}/{len(parts)} {title} …")
        try:
            part(outcome)
        except KeyboardInterrupt:
            outcome.error = "interrupted"
        except Exception as error:
            outcome.error = f"{type(error).__name__}: {str(error).strip() or 'no reason given'}"
            say(f"         failed: {outcome.error.splitlines()[0]}")
        outcome.seconds = time.perf_counter() - started
        for check in outcome.checks:
            if not check.holds:
                say(f"         does not hold: {check.name} {check.detail}")
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the next part may need the memory
        if outcome.error == "interrupted":
            break
    say(f"[{time.perf_counter() - began:4.0f} s] done")
    return outcomes


def markdown(title: str, machine: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> str:
    """Return the report."""
    lines = [f"# {title}", "", ", ".join(f"{name} {value}" for name, value in machine.items())]
    for name, outcome in outcomes.items():
        lines += ["", f"## {name}", ""]
        if outcome.error is not None:
            lines += [f"**Ended early**: {' '.join(outcome.error.split())}", ""]
        if outcome.checks:
            rows = [
                {"check": c.name, "": c.detail, "holds": "yes" if c.holds else "**NO**"}
                for c in outcome.checks
            ]
            lines += [*_table(rows), ""]
        if outcome.table:
            lines += [*_table(outcome.table), ""]
        lines += [*outcome.notes, f"{outcome.seconds:.0f} s"]
    return "\n".join(lines) + "\n"


def plain(machine: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Return the report as JSON has it."""
    return {
        "machine": dict(machine),
        "parts": {
            name: {
                "seconds": round(outcome.seconds, 1),
                "error": outcome.error,
                "checks": [check._asdict() for check in outcome.checks],
                "table": outcome.table,
                "notes": outcome.notes,
            }
            for name, outcome in outcomes.items()
        },
    }


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in rows),
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
