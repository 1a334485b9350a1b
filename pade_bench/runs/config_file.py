"""``config.yaml``: the settings of a run as plain data, with a digest of them in its last line.

A run folder may be somebody else's, or damaged. So the file is read strictly: what training writes
is complete and resolved, and whatever it never writes (interpolations, aliases, tags, dates) is
refused. Thus what is checked is what is used. 0.1 wrote no digest; such a file is read too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pade_bench.runs.files import read_file

MOST_BYTES = 1 << 20
DEEPEST = 20
_DIGEST = b"# sha256 of the lines above: "
# So a file whose end was cut off is not taken for one of 0.1.
_HEADER = b"# Changed by hand it is not read any more: its last line has the sha256 of all above.\n"
# libyaml is ten times as fast, where PyYAML was built with it.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RULES = yaml.SafeLoader("")  # knows for what a text without quotes stands
_SCALARS = {
    "tag:yaml.org,2002:null": _RULES.construct_yaml_null,
    "tag:yaml.org,2002:bool": _RULES.construct_yaml_bool,
    "tag:yaml.org,2002:int": _RULES.construct_yaml_int,
    "tag:yaml.org,2002:float": _RULES.construct_yaml_float,
    "tag:yaml.org,2002:str": _RULES.construct_yaml_str,
}
_LONGEST_NUMBER = 40  # characters


def with_digest(text: str) -> bytes:
    """Return the content of ``config.yaml`` for settings in YAML."""
    content = _HEADER + text.encode()
    return content + _DIGEST + hashlib.sha256(content).hexdigest().encode() + b"\n"


def read_config(path: Path) -> dict[str, Any]:
    """Return the settings in a ``config.yaml``.

    Raises:
        OSError: it cannot be read.
        ValueError: it does not have its digest, or holds what training never writes.
    """
    content = read_file(path, MOST_BYTES)
    settings, found, digest = content.rpartition(_DIGEST)
    if not found and b"sha256" not in content:
        settings = content
    elif digest != hashlib.sha256(settings).hexdigest().encode() + b"\n":
        raise ValueError(f"{path.name} does not have its digest: it was changed after the run")
    try:
        return parse(settings)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path.name}: {' '.join(str(error).split())}") from error


def parse(content: bytes) -> dict[str, Any]:
    """Return the settings that YAML holds, as nested dictionaries, lists and scalars.

    Raises:
        ValueError, yaml.YAMLError: it holds something else.
    """
    settings = _Document(yaml.parse(content.decode(), Loader=_PARSER)).read()
    if not isinstance(settings, dict):
        raise ValueError("it holds no settings")
    return settings


class _Document:
    """Builds plain data from the events of YAML's parser."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events

    def read(self) -> Any:
        next(self.events)  # the start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self.events), DEEPEST)
        next(self.events)  # the end of the document
        if not isinstance(next(self.events), yaml.StreamEndEvent):
            raise ValueError("it holds several documents")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        def refuse(what: str) -> ValueError:
            return ValueError(f"line {event.start_mark.line + 1} holds {what}")

        if isinstance(event, yaml.AliasEvent) or event.anchor:
            raise refuse("an alias, which a run's settings never do")
        if event.tag:
            raise refuse(f"the tag {event.tag}, which a run's settings never do")
        if depth == 0:
            raise refuse("settings that are nested too deeply")
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(item, depth - 1) for item in self._until(yaml.SequenceEndEvent)]
        if isinstance(event, yaml.MappingStartEvent):
            found: dict[str, Any] = {}
            for item in self._until(yaml.MappingEndEvent):
                key = self._value(item, 1)
                if not isinstance(key, str) or key in found:
                    raise refuse(f"the key {key!r}, which is no name or is there twice")
                found[key] = self._value(next(self.events), depth - 1)
            return found
        kind = _RULES.resolve(yaml.ScalarNode, event.value, event.implicit)
        if kind not in _SCALARS:
            raise refuse(f"{event.value!r}, which is no number, text, truth value or null")
        is_number = kind.endswith(("int", "float"))
        if is_number and len(event.value) > _LONGEST_NUMBER:
            raise refuse(f"a number of {len(event.value):,} digits")
        value = _SCALARS[kind](yaml.ScalarNode(kind, event.value))
        if isinstance(value, float) and not math.isfinite(value):
            raise refuse(f"{value}, which is not a finite number")
        if isinstance(value, str) and ("${" in value or value == "???"):
            raise refuse(f"{value!r}, where a stored setting stands for nothing but itself")
        if isinstance(value, str) and not value.isprintable():
            raise refuse(f"{value!r}, which cannot be printed")
        return value

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self.events), end):
            yield event
