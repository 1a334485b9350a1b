"""The report's tables: their structure here, one module for each subject, the forms apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

BEST, SECOND, MISSING = "best", "second", "missing"


@dataclass
class Cell:
    """A cell's text, and whether it is the best of its column, second, or missing."""

    text: str
    mark: str = ""


def no_value(text: str = "–") -> Cell:
    """Return a cell that says that there is no value, or why."""
    return Cell(text, MISSING)


@dataclass
class Table:
    """A table of text.

    Columns have two levels: ``(group, name)``; neighbors of one group share its heading. A row
    of a single cell is a heading within the table. ``data`` holds the same numbers unrounded,
    a dictionary per line of the CSV.
    """

    key: str
    title: str
    columns: list[tuple[str, str]]
    rows: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    empty: bool = False  # nothing in it is ours yet


def spans(columns: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """Return the column groups in order with the number of columns of each."""
    found: list[tuple[str, int]] = []
    for group, _ in columns:
        if found and found[-1][0] == group:
            found[-1] = (group, found[-1][1] + 1)
        else:
            found.append((group, 1))
    return found


def rank(cells: Sequence[tuple[Cell, float | None]], digits: int = 2) -> None:
    """Mark the best and second of a column; what is printed the same is ranked the same."""
    values = sorted({round(v, digits) for _, v in cells if v is not None}, reverse=True)
    if len(values) < 2:
        return
    for cell, value in cells:
        if value is not None and round(value, digits) in values[:2]:
            cell.mark = BEST if round(value, digits) == values[0] else SECOND


def signed(difference: float, digits: int = 2) -> str:
    """Return ``+0.12``, ``−0.12`` or ``0.00``."""
    text = f"{difference:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")
