"""Damage and forge run folders at random, read them, and count what should never happen.

    python scripts/attack.py [--cases 10000] [--resumes 20] [--seed 0] [--only CASE]

A finished, an interrupted and a pruned run on the digits are made. In each case one of their files
is changed: bits are flipped, bytes cut off or written over, the file is replaced by a link, a pipe
or a folder, or the structure of its JSON, YAML or weights is changed, with or without the digests
that somebody who means it would forge. Then all that reads such a file reads it, and a few of the
damaged interrupted runs are resumed. Counted are

    tracebacks  exceptions that are none of ours, or messages of more than a line
    hangs       more than five seconds (a hundred for resuming, which trains)
    canaries    code of the run's folder that ran
    sentinels   files outside of the run that changed
    beliefs     results, settings or weights that damage has changed, taken for what was written

docs/security.md says what is promised. Exit status: 0 if all are 0, else 1.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from damage import CANARY, damaged

from pade_bench import compare, evaluate, load_run, status
from pade_bench.errors import PadeBenchError
from pade_bench.report.dashboard import Dashboard
from pade_bench.runs import records
from pade_bench.runs.config_file import read_config
from pade_bench.runs.curves import load_curves
from pade_bench.runs.record import Record

SECONDS, SECONDS_TO_RESUME = 5, 100
COMMAND = [sys.executable, "-m", "pade_bench", "activation=pau", "trainer.accelerator=cpu"]
EPOCHS = {"finished": 2, "interrupted": 3, "pruned": 1}
FAULTS = ("tracebacks", "hangs", "canaries", "sentinels", "beliefs")


class Hang(BaseException):
    """A reader took too long."""


class Victims:
    """The runs, what is known of them, and the tree beside them that must not change."""

    def __init__(self, folder: Path) -> None:
        self.runs, self.folder = folder / "runs", folder
        self.sentinels = folder / "sentinels"
        self.sentinels.mkdir()
        for name in ("precious", "config.yaml", "last.ckpt", "record.json"):
            (self.sentinels / name).write_text("precious", encoding="utf-8")
        self.homes = {name: self._train(name, epochs) for name, epochs in EPOCHS.items()}
        code = f"open({str(folder / CANARY)!r}, 'w').close()\n\nclass X:\n    pass\n"
        for place in (folder, *self.homes.values()):
            (place / "evil.py").write_text(code, encoding="utf-8")
        self.originals = {
            name: {p.name: p.read_bytes() for p in home.iterdir()}
            for name, home in self.homes.items()
        }
        self.weights = {n: load_run(h).state_dict() for n, h in self.homes.items()}
        self.configs = {n: read_config(h / "config.yaml") for n, h in self.homes.items()}
        self.record = Record.read(self.homes["finished"] / "record.json")
        self.tree = self._digest()

    def _train(self, name: str, epochs: int) -> Path:
        command = [*COMMAND, f"trainer.max_epochs={epochs}"]
        if name == "pruned":  # after one that is not
            command.append("prune.shares=[50]")
        if name == "interrupted":
            # What the run should come to, and the run itself, killed after its first epoch.
            whole = [*command, f"runs_dir={self.folder / 'whole'}"]
            subprocess.run(whole, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
            (path,) = (self.folder / "whole").glob("*/*/seed0/record.json")
            self.losses = list(Record.read(path).train_loss_per_epoch)
        before = set(self.runs.glob("*/*/seed0"))
        with subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            for line in run.stdout:
                if name == "interrupted" and line.startswith("epoch 2/"):
                    run.kill()
        return max(set(self.runs.glob("*/*/seed0")) - before, key=lambda home: len(str(home)))

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for path in sorted(self.sentinels.rglob("*")):
            digest.update(f"{path} {path.lstat()[:7]} {path.lstat().st_mtime_ns}".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def restore(self, name: str) -> None:
        """Put the files of a run back as they were."""
        home = self.homes[name]
        for path in list(home.iterdir()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.is_symlink() or self.originals[name].get(path.name) is None:
                path.unlink()
        for file, content in self.originals[name].items():
            path = home / file
            same = path.is_file() and path.stat().st_size == len(content)
            if same and path.read_bytes() == content:
                continue
            path.unlink(missing_ok=True)
            path.write_bytes(content)

    def what_changed(self) -> Iterator[str]:
        """Yield ``canaries`` and ``sentinels`` where code ran or a file outside changed."""
        if (self.folder / CANARY).exists():
            (self.folder / CANARY).unlink()
            yield "canaries"
        if self._digest() != self.tree:
            self.tree = self._digest()
            yield "sentinels"


def read_all(victims: Victims, name: str, file: str, forged: bool, slow: bool) -> Iterator[str]:
    """Read a run with all that reads ``file``; yield every fault."""
    home = victims.homes[name]
    records._known_settings.clear()
    found, _ = records.read_runs(victims.runs)
    for result in found:
        if result.record is not None and result.directory == victims.homes["finished"]:
            same = result.record == victims.record
            if not (same or forged or result.is_unverified):
                yield "beliefs"
    if file == "config.yaml":
        with contextlib.suppress(OSError, ValueError):
            if read_config(home / file) != victims.configs[name] and not forged:
                yield "beliefs"
    if file in ("config.yaml", "last.ckpt", "filters.json"):
        with contextlib.suppress(PadeBenchError):
            weights = load_run(home).state_dict()
            same = all(torch.equal(weights.get(k, v[:0]), v) for k, v in
                       victims.weights[name].items())  # fmt: skip
            if not (same or forged):
                yield "beliefs"
    if file == "activations.npz":
        # Whatever the exception, the report names the file: see Plan.
        with contextlib.suppress(Exception):
            load_curves(home / file)
    if file == "activations.png" or slow:
        with tempfile.TemporaryDirectory() as log_dir:
            Dashboard(victims.runs, Path(log_dir)).update()
    if slow:
        for command in (status.main, compare.main):
            yield from run(command, ["--runs", str(victims.runs)])
        yield from run(evaluate.main, [str(home)])


def run(command: Callable[[list[str]], int], arguments: list[str]) -> Iterator[str]:
    """Run a command in this process; yield a fault if it ends otherwise than its help says."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = command(arguments)
    if code not in (0, 1, 2) or "Traceback" in errors.getvalue():
        yield "tracebacks"


def resume(victims: Victims, forged: bool) -> Iterator[str]:
    """Resume the interrupted run in a process of its own; yield every fault."""
    command = [*COMMAND, f"trainer.max_epochs={EPOCHS['interrupted']}"]
    try:
        done = subprocess.run(
            command, cwd=victims.folder, capture_output=True, text=True, check=False,
            timeout=SECONDS_TO_RESUME,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        yield "hangs"
        return
    if done.returncode not in (0, 2, 3) or "Traceback" in done.stderr:
        yield "tracebacks"
    if done.returncode == 0 and not forged:
        record = Record.read(victims.homes["interrupted"] / "record.json")
        if list(record.train_loss_per_epoch) != victims.losses:
            yield "beliefs"


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise :class:`Hang` in the block after so many seconds."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attack(victims: Victims, seed: int, case: int, resumed: bool) -> tuple[str, list[str]]:
    """Make one case; return what was done, and the faults."""
    draw = random.Random(f"{seed} {case}")
    name = "interrupted" if resumed else draw.choice(list(EPOCHS))
    what, file, forged = damaged(victims.homes[name], draw, victims.sentinels)
    faults: list[str] = []
    try:
        if resumed:
            faults += resume(victims, forged)
        else:
            with time_limit(SECONDS), contextlib.redirect_stdout(io.StringIO()):
                faults += read_all(victims, name, file, forged, slow=case % 50 == 0)
    except Hang:
        faults.append("hangs")
    except Exception as error:
        print(f"case {case}: {type(error).__name__}: {error}", flush=True)
        faults.append("tracebacks")
    faults += victims.what_changed()
    victims.restore(name)
    return what, faults


def main() -> int:
    """Attack, and print what was found as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000, help="that are read; default: 10000")
    parser.add_argument("--resumes", type=int, default=20, help="that are resumed; default: 20")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--only", type=int, help="make this case alone, as a report names it")
    options = parser.parse_args()
    total = options.cases + options.resumes
    cases = range(total) if options.only is None else [options.only]
    done: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        victims = Victims(Path(folder))
        os.chdir(folder)
        sys.path.insert(0, folder)
        began = time.perf_counter()
        for case in cases:
            what, found = attack(victims, options.seed, case, case >= options.cases)
            done[f"resumed after: {what}" if case >= options.cases else what] += 1
            faults.update(found)
            if found:
                print(f"case {case}: {what}: {', '.join(found)}", flush=True)
        os.chdir("/")
    print(f"\n| {done.total():,} cases | n |\n|---|--:|")
    for what, n in sorted(done.items()):
        print(f"| {what} | {n:,} |")
    print(f"\n{', '.join(f'{faults[name]} {name}' for name in FAULTS)}.")
    print(
        f"{time.perf_counter() - began:.0f} s, seed {options.seed}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, {platform.system()}."
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
