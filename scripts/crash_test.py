"""Kill the training process again and again, and compare with runs that were left alone.

    python scripts/crash_test.py [--kills 60] [--epochs 6] [--seed 0]

A run on the digits is started, killed with SIGKILL and started again, until it gets to its end;
then the next one, until there were enough kills. A kill comes after a random time, or as soon as
a checkpoint or one of the files at a run's end is being written. Every final state (weights,
optimizer, history, record) has to equal, bit for bit, that of the same run without a kill, and no
start may find an epoch less than the one before it. Exit status: 0 if so, 1 if not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pade_bench.errors import RunError
from pade_bench.runs.record import Record
from pade_bench.training.checkpoints import read_checkpoint
from pade_bench.training.provenance import device_name

# With a fixed function, with learnable coefficients, and with random draws of their own.
ACTIVATIONS = ("relu", "pau", "rpau", "rrelu")
# The files whose writing is aimed at, and how often, beside a random moment from start to end and
# one while it trains, which is a small part of so short a life.
TARGETS = ("last.ckpt", "activations.png", "record.json")
MOMENTS = (None, *["progress.json"] * 4, *["last.ckpt"] * 3, "activations.png", "record.json")


class Victim:
    """A run in two copies: one is left alone, one is killed."""

    def __init__(self, folder: Path, activation: str, seed: int, epochs: int) -> None:
        self.command = [
            sys.executable, "-m", "pade_bench", f"activation={activation}", f"seed={seed}",
            f"trainer.max_epochs={epochs}", "trainer.accelerator=cpu",
        ]  # fmt: skip
        self.folder = folder
        self.name = f"{activation} seed {seed}"
        began = time.perf_counter()
        self.whole = self._finish("whole")
        self.seconds = time.perf_counter() - began
        self.training_seconds = sum(Record.read(self.whole / "record.json").wall_seconds_per_epoch)

    def start(self, runs_dir: str) -> subprocess.Popen[str]:
        """Start the run's process."""
        return subprocess.Popen(
            [*self.command, f"runs_dir={runs_dir}"], cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _finish(self, runs_dir: str) -> Path:
        process = self.start(runs_dir)
        output, _ = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"{self.name} failed:\n{output}")
        (record,) = (self.folder / runs_dir).rglob(
            f"{self.command[3].partition('=')[2]}-*/{self.command[4].replace('=', '')}/record.json"
        )
        return record.parent

    @property
    def cut(self) -> Path:
        """The home of the copy that is killed."""
        return self.folder / "cut" / self.whole.relative_to(self.folder / "whole")

    def kill_once(self, draw: random.Random) -> str | None:
        """Start, kill, and return what the kill interrupted; ``None`` if the run got to its end."""
        before = {name: self.half_written(name) for name in TARGETS}
        began = written(self.cut / "progress.json")
        process = self.start("cut")
        target = draw.choice(MOMENTS)
        if target is None:
            wait = draw.uniform(0, 1.1 * self.seconds)
        elif target == "progress.json":  # written when training begins
            wait = draw.uniform(0, self.training_seconds)
        else:  # anywhere in the milliseconds that writing, flushing and renaming take
            wait = draw.uniform(0, 0.004)
        while process.poll() is None and target is not None:
            if target in TARGETS:
                if self.half_written(target) - before[target]:
                    break
            elif written(self.cut / target) not in (None, began):
                break
            time.sleep(0.0002)
        end = time.monotonic() + wait
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.0002)
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
        if process.returncode == 0:
            return None
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"{self.name} failed by itself:\n{output}")
        for name in TARGETS:
            if self.half_written(name) - before[name]:
                return f"while {name} was written"
        if target in TARGETS:
            return f"just after {target} was written"
        trains = written(self.cut / "progress.json") != began
        return "in training" if trains else "while starting or resuming"

    def half_written(self, name: str) -> set[Path]:
        """Return the files that are being written under another name, or were when killed."""
        return set(self.cut.glob(f"{name}.*.partial"))

    def epochs_saved(self) -> int:
        """Return the epochs in the newest checkpoint of the copy that is killed; 0 without any."""
        epochs = 0
        for name in ("last.ckpt", "previous.ckpt"):
            if (self.cut / name).exists():
                try:
                    content = read_checkpoint(self.cut / name)
                except RunError as error:
                    raise SystemExit(f"{self.name}: {error}") from error
                epochs = max(epochs, len(content["history"]["train_loss"]))
        return epochs

    def differences(self) -> list[str]:
        """Compare the two copies to the bit; return the names of what differs."""
        states = [read_checkpoint(home / "last.ckpt") for home in (self.whole, self.cut)]
        homes = (self.whole, self.cut)
        records = [json.loads(Record.read(home / "record.json").to_json()) for home in homes]
        for record, state in zip(records, states, strict=True):
            # Times differ, and with them the checksum; the commit may, if files are being edited.
            for key in ("wall_seconds", "wall_seconds_per_epoch", "checksum", "provenance"):
                del record[key]
            del state["history"]["seconds"]
        pairs = itertools.zip_longest(
            leaves({"record": records[0], "state": relevant(states[0])}),
            leaves({"record": records[1], "state": relevant(states[1])}),
        )
        return [a[0] if a else b[0] for a, b in pairs if not (a and b and equal(a, b))]


def written(path: Path) -> int | None:
    """Return when a file was written, ``None`` if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def relevant(state: dict[str, Any]) -> dict[str, Any]:
    """Return what a run is made of: weights, optimizer, schedule, history."""
    names = ("state_dict", "optimizer_states", "lr_schedulers", "history", "epoch", "global_step")
    return {name: state[name] for name in names}


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested dictionaries and lists with its path."""
    if isinstance(node, dict):
        for key in sorted(node, key=str):
            yield from leaves(node[key], f"{path}/{key}")
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from leaves(value, f"{path}/{i}")
    else:
        yield path, node


def equal(a: tuple[str, Any], b: tuple[str, Any]) -> bool:
    """Tell whether two leaves have the same path and the same bits."""
    if a[0] != b[0] or type(a[1]) is not type(b[1]):
        return False
    if isinstance(a[1], torch.Tensor):
        return a[1].dtype == b[1].dtype and torch.equal(a[1], b[1])
    return json.dumps(a[1]) == json.dumps(b[1])


def main() -> int:
    """Kill, compare, and print what was found as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=60, help="at least so many; default: 60")
    parser.add_argument("--epochs", type=int, default=6, help="of each run; default: 6")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: 0")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    kills: Counter[str] = Counter()
    runs = lost = different = 0
    with tempfile.TemporaryDirectory(prefix="crash-test-") as folder:
        while kills.total() < options.kills:
            victim = Victim(
                Path(folder), ACTIVATIONS[runs % len(ACTIVATIONS)], runs // len(ACTIVATIONS),
                options.epochs,
            )  # fmt: skip
            runs += 1
            saved = 0
            while (interrupted := victim.kill_once(draw)) is not None:
                kills[interrupted] += 1
                now = victim.epochs_saved()
                lost += now < saved
                saved = now
                print(f"{kills.total():3}  {victim.name}: {interrupted}, epoch {saved}", flush=True)
                if (victim.cut / "record.json").exists():
                    break  # killed between its record and its end
            damaged = list(victim.cut.glob("*.damaged-*"))
            found = [*victim.differences(), *map(str, damaged)]
            different += bool(found)
            print(f"     {victim.name}: {'; '.join(found) or 'the same bits'}", flush=True)
    print(f"\n| {kills.total()} kills of {runs} runs | n |\n|---|---|")
    for moment, n in sorted(kills.items(), key=lambda item: -item[1]):
        print(f"| {moment} | {n} |")
    print(f"\nEpochs lost: {lost}. Runs with another final state: {different} of {runs}.")
    print(
        f"{options.epochs} epochs each, on {os.cpu_count()} × {device_name(torch.device('cpu'))}, "
        f"torch {torch.__version__}, seed {options.seed}."
    )
    return 1 if lost or different else 0


if __name__ == "__main__":
    sys.exit(main())
