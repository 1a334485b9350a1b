"""Typed values from a dictionary that somebody else may have written, or a broken disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

LONGEST_NAME = 200  # characters
LONGEST_TEXT = 2_000
_KINDS = {str: "text", int: "a whole number", float: "a number", dict: "a dictionary"}


class Values:
    """The values of a record, each checked when it is asked for.

    Args:
        values: by name.
        where: put before the names in messages.

    Raises:
        ValueError: from all methods, for a value that is missing or impossible.
    """

    def __init__(self, values: dict[str, Any], where: str = "") -> None:
        self.values = values
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def get(self, key: str, kind: type) -> Any:
        """Return a value of a type; finite, printable and of ordinary size."""
        if key not in self.values:
            raise ValueError(f"{self.where}has no {key!r}")
        value = self.values[key]
        # In Python True is an int, in a record it is a mistake.
        allowed = (int, float) if kind is float else kind
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise self._impossible(key, f"not {_KINDS[kind]}")
        check(value, f"{self.where}{key}")
        return value

    def optional(self, key: str, kind: type) -> Any:
        """Return the same, or ``None`` where that is the value or there is none."""
        return self.get(key, kind) if self.values.get(key) is not None else None

    def name(self, key: str) -> str:
        """Return a text that is shown in tables and figures and may become part of a path."""
        value: str = self.get(key, str)
        if not 0 < len(value) <= LONGEST_NAME:
            raise ValueError(f"{self.where}{key} has {len(value):,} characters")
        return value

    def count(self, key: str, most: int | None = None) -> int:
        """Return a whole number that counts something."""
        value: int = self.get(key, int)
        if value < 0 or (most is not None and value > most):
            limit = "" if most is None else f" to {most:,}"
            raise self._impossible(key, f"not from 0{limit}")
        return value

    def percent(self, key: str) -> float:
        """Return a number from 0 to 100."""
        value: float = self.get(key, float)
        if not 0 <= value <= 100:
            raise self._impossible(key, "not from 0 to 100 percent")
        return value

    def positive(self, key: str) -> float:
        """Return a number above 0."""
        value: float = self.get(key, float)
        if not value > 0:
            raise self._impossible(key, "not above 0")
        return value

    def numbers(self, key: str, length: int, percent: bool = False) -> Sequence[float]:
        """Return a list of finite numbers, one for each of ``length`` epochs."""
        values = self.values.get(key)
        if not isinstance(values, list):
            raise ValueError(f"{self.where}{key} is no list")
        if len(values) != length:
            raise ValueError(f"{self.where}{key} is of length {len(values):,}, epochs {length:,}")
        # There can be millions: tests of all at once. What is not finite makes the sum so.
        if not set(map(type, values)) <= {int, float} or not math.isfinite(sum(values)):
            raise ValueError(f"{self.where}{key} holds what is not a finite number")
        if percent and values and not 0 <= min(values) <= max(values) <= 100:
            raise ValueError(f"{self.where}{key} holds what is not from 0 to 100 percent")
        return values

    def _impossible(self, key: str, what: str) -> ValueError:
        return ValueError(f"{self.where}{key} is {shortened(self.values[key])}, {what}")


def check(value: Any, where: str) -> None:
    """Raise :class:`ValueError` for what cannot be printed, is not finite, or is out of all bounds.

    Args:
        value: a number, a text, or lists and dictionaries of them.
        where: what it is called in the message.
    """
    if isinstance(value, str):
        if not value.isprintable():
            raise ValueError(f"{where} is {shortened(value)}, which cannot be printed")
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"{where} has {len(value):,} characters")
    elif isinstance(value, int):
        if not -(2**64) < value < 2**64:
            raise ValueError(f"{where} is {shortened(value)}, out of all bounds")
    elif isinstance(value, float):
        if not abs(value) < 1e100:  # nor is NaN, nor may a sum of them be infinite
            raise ValueError(f"{where} is {value}, not a finite number")
    elif isinstance(value, dict):
        for key, item in value.items():
            check(key, f"a name in {where}")
            check(item, f"{where}.{key}")
    elif isinstance(value, list):
        for item in value:
            check(item, where)
    elif value is not None:
        raise ValueError(f"{where} is a {type(value).__name__}")


def shortened(value: Any) -> str:
    """Return a value as Python writes it, its middle left out where it is long."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 2**64 else "a huge number"
    return text if len(text) <= 80 else f"{text[:60]} … {text[-15:]}"
