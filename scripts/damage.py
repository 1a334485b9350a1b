"""Damaging a file of a run at random, or forging it: see ``attack.py``."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from pade_bench.config.history import historic
from pade_bench.runs.config_file import parse, with_digest
from pade_bench.runs.files import digest
from pade_bench.runs.home import shaping_settings
from pade_bench.training.checkpoints import add_digest

CANARY = "canary"  # what code of a run's folder would leave
NASTY: list[Any] = [
    None, True, -1, 0, 10**400, -(2**63), 1e308, float("nan"), float("inf"), "", ".", "..",
    "../../sentinels/precious", "/etc/passwd", "a/b", "-rf", "\0", "\x1b[2J", "\ud800", "x" * 5000,
    "$\\frac{1$", "=1+1", "<script>", "${oc.env:HOME}", "${oc.select:runs_dir,torch.nn}.evil.X",
    "evil.X", "os.system", "torch.hub.load", "torch.nn.init.ones_", "torch.nn.Module", "???",
    [], {}, [[]], [1, "a", None], ["x"] * 1000, {"_target_": "evil.X"}, {"a": {"b": {}}}, "1e9",
    "2001-01-01",
]  # fmt: skip


def damaged(home: Path, draw: random.Random, sentinels: Path) -> tuple[str, str, bool]:
    """Change a file of a run.

    Returns:
        what was done, in words; the name of the file; and whether it has its digests all the same,
        so that nobody can know that it is not what was written.
    """
    files = sorted(p.name for p in home.iterdir() if not p.name.startswith(("evil", "events")))
    # What is most worth attacking more often.
    file = draw.choice([*files, *{"record.json", "config.yaml", "last.ckpt"} & set(files)])
    path = home / file
    kinds: list[Callable[..., Any]] = [_flip, _flip, _flip, _cut, _overwrite, _replace]
    if file.endswith((".json", ".yaml", ".ckpt")):
        kinds += [_restructure] * 4
    kind = draw.choice(kinds)
    if kind is _replace:
        return f"{file} replaced by {_replace(path, draw, sentinels)}", file, False
    if kind is _restructure:
        forged = draw.random() < 0.5
        _restructure(path, draw, forged)
        return f"structure of {file} changed{', forged' * forged}", file, forged
    content = bytearray(path.read_bytes())
    words = kind(content, draw)
    path.write_bytes(content)
    return f"{words} {file}", file, False


def _flip(content: bytearray, draw: random.Random) -> str:
    for _ in range(draw.choice([1, 1, 1, 2, 20])):
        if content:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return "bits flipped in"


def _cut(content: bytearray, draw: random.Random) -> str:
    start = draw.randrange(len(content) + 1)
    del content[start : draw.choice([start + 1, len(content)])]
    return "bytes cut from"


def _overwrite(content: bytearray, draw: random.Random) -> str:
    start = draw.randrange(len(content) + 1)
    content[start : start + 8] = draw.choice(
        [bytes(8), draw.randbytes(8), b"*a0: &a0 ", b"[" * 9999]
    )
    return "bytes written into"


def _replace(path: Path, draw: random.Random, sentinels: Path) -> str:
    path.unlink()
    kind = draw.choice(["a link", "a link to /dev/zero", "a pipe", "a folder", "a sparse file"])
    if kind == "a link":
        path.symlink_to(sentinels / draw.choice(["precious", "missing"]))
    elif kind == "a link to /dev/zero":
        path.symlink_to("/dev/zero")
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(10**12)
    return kind


def _restructure(path: Path, draw: random.Random, forged: bool) -> None:
    """Change the structure of what a file holds; ``forged``: with digests that are right again."""
    if path.suffix == ".json":
        values = json.loads(path.read_bytes())
        checksum = values.pop("checksum", None)
        change(values, draw)
        if checksum is not None:
            values["checksum"] = _digest(values) if forged else checksum
        path.write_text(json.dumps(values), encoding="utf-8")
    elif path.suffix == ".yaml":
        before = path.read_bytes()
        settings = parse(before)
        change(settings, draw)
        text = yaml.safe_dump(settings, sort_keys=False)
        if not forged:
            text += before.decode()[before.rindex(b"# sha256") :]
            path.write_text(text, encoding="utf-8")
            return
        path.write_bytes(with_digest(text))
        _let_the_checkpoint_agree(path.parent, settings)
    else:
        checkpoint = torch.load(path, weights_only=True)
        change(checkpoint, draw)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        if forged:
            add_digest(content)
            path.write_bytes(content.getvalue())
        else:
            # The digest that it had stays at its end.
            with zipfile.ZipFile(path) as archive:
                comment = archive.comment
            with zipfile.ZipFile(content, "a") as archive:
                archive.comment = comment
            path.write_bytes(content.getvalue())


def _let_the_checkpoint_agree(home: Path, settings: dict[str, Any]) -> None:
    """Say in the checkpoint that it was trained with these settings, where that can be said."""
    try:
        of = {"config_hash": digest(historic(shaping_settings(settings))), "seed": settings["seed"]}
        checkpoint = torch.load(home / "last.ckpt", weights_only=True)
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        return
    content = io.BytesIO()
    torch.save({**checkpoint, "run": of}, content)
    add_digest(content)
    (home / "last.ckpt").write_bytes(content.getvalue())


def _digest(values: dict[str, Any]) -> str:
    try:
        return digest(values)
    except ValueError:  # of a number with too many digits
        return "0" * 64


def change(node: Any, draw: random.Random) -> None:
    """Change one place in nested dictionaries and lists."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = draw.choice(keys)
        if isinstance(node[key], (dict, list)) and node[key] and draw.random() < 0.8:
            node = node[key]
            continue
        break
    kind = draw.choice(["value", "value", "remove", "twin", "key"])
    if kind == "remove":
        del node[key]
    elif kind == "value":
        node[key] = draw.choice(NASTY)
    elif kind == "twin":
        other = copy.deepcopy(node[draw.choice(keys)])
        node[key] = [other, other]
    elif isinstance(node, dict):
        node[draw.choice([n for n in NASTY if isinstance(n, str)])] = node.pop(key)
    else:
        node.insert(0, draw.choice(NASTY))
