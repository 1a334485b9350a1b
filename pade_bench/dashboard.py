"""TensorBoard with means over seeds: ``python -m pade_bench.dashboard [--runs DIR]``.

Runs that differ in the seed alone become one run of TensorBoard, with the mean and the spread of
their curves; the activations of an experiment share a chart, and HParams sorts by final accuracy.
All of it comes from run records (no event file is read, and no torch needed) and lies in a
temporary directory that is brought up to date while runs finish and vanishes with the process:
the runs stay as they are. ``tensorboard --logdir runs`` shows every run by itself.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard import default, program
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.record_writer import RecordWriter

from pade_bench.errors import PadeBenchError
from pade_bench.report.groups import Group, describe, group_runs, read_settings, summarize
from pade_bench.runs.files import write_atomically
from pade_bench.runs.names import file_name
from pade_bench.runs.records import read_runs

SECONDS_BETWEEN_UPDATES = 30
# Where to begin, and without TensorBoard's smoothing: means over seeds are smooth enough.
PAGE = "?smoothing=0#custom_scalars&_smoothingWeight=0"
# By name of a curve, the history of a run that it shows.
CURVES = {"test accuracy": "accuracy_per_epoch", "train loss": "loss_per_epoch"}
FINAL = ("test accuracy", "std", "best", "seeds")
# TensorBoard's runs are folders and their names are what it shows: these may be in them too.
_ALSO = " (),=%"


class Dashboard:
    """A directory of event files on the finished runs of ``runs_dir``, for TensorBoard to show."""

    def __init__(self, runs_dir: Path, log_dir: Path) -> None:
        self.runs_dir = runs_dir
        self.log_dir = log_dir
        self.shown: dict[str, Any] = {}  # by name of a run of TensorBoard, of what it was made

    def update(self) -> list[str]:
        """Bring the directory up to date; return what had to be left out.

        Raises:
            RunError: there is no directory ``runs_dir``.
        """
        runs, problems = read_runs(self.runs_dir)
        groups = [group for group in group_runs(runs) if group.finished]
        changed = sorted({key for g in groups for key, _ in (*g.protocol, *g.variation)})
        charts = sorted({_chart(group) for group in groups})
        names = {f"{_chart(group)}/{_line(group)}": group for group in groups}
        for name in self.shown.keys() - names.keys() - {"layout"}:
            self._remove(name)
            del self.shown[name]
        for name, group in names.items():
            values = _hyperparameters(group, changed)
            if self._is_new(name, (group.finished, values)):
                start = hparams.hparams_pb(values, trial_id=name, start_time_secs=0)
                _write(self.log_dir / name, [_event(start), *_curves(group)])
        if groups and self._is_new("layout", (charts, changed)):
            _write(self.log_dir / "layout", [_event(_layout(charts)), _event(_columns(changed))])
        return problems

    def _remove(self, name: str) -> None:
        """Remove the folder of a run of TensorBoard, which was made here and nowhere else."""
        folder = (self.log_dir / name).resolve()
        if self.log_dir.resolve() in folder.parents:
            shutil.rmtree(folder)

    def _is_new(self, name: str, made_of: Any) -> bool:
        new = self.shown.get(name) != made_of
        self.shown[name] = made_of
        return new


def _chart(group: Group) -> str:
    """Return what the activations in one chart have in common: an experiment and its settings."""
    changes = f" ({describe(group.protocol)})" if group.protocol else ""
    return file_name(f"{group.experiment}{changes}", _ALSO)


def _line(group: Group) -> str:
    return file_name(group.full_label, _ALSO)


def _curves(group: Group) -> Iterator[Event]:
    """Yield the mean over seeds and the spread for every epoch, and what came out of the last."""
    values: dict[str, np.ndarray] = {}
    for name, history in CURVES.items():
        seeds = np.array([getattr(run, history) for run in group.finished])
        mean = seeds.mean(axis=0)
        # One seed has no spread: its band has no width, as a chart wants all three.
        std = seeds.std(axis=0, ddof=1) if len(seeds) > 1 else 0.0
        tag = f"{_chart(group)}/{name}"
        values |= {tag: mean, f"{tag} - std": mean - std, f"{tag} + std": mean + std}
    # The clock of these events starts with the training, so that the axis of time compares.
    seconds = [run.seconds_per_epoch for run in group.finished]
    epochs = len(mean)
    clock = np.zeros(epochs)
    if all(len(one) == epochs for one in seconds):
        clock = np.cumsum(np.mean(seconds, axis=0))
    for i in range(epochs):
        yield _event(_scalars({tag: curve[i] for tag, curve in values.items()}), i + 1, clock[i])
    if summary := summarize(run.accuracy for run in group.finished):
        final = dict(zip(FINAL, (summary.mean, summary.std, summary.best, summary.n), strict=True))
        known = {f"final/{name}": value for name, value in final.items() if value is not None}
        yield _event(_scalars(known), epochs, clock[-1])


def _layout(charts: Sequence[str]) -> Summary:
    """Return the page of custom scalars: a section per experiment, its activations in one chart."""
    layout = layout_pb2.Layout()
    for title in charts:
        section = layout.category.add(title=title)
        for name in CURVES:
            tag = f"{title}/{name}"
            section.chart.add(title=f"{name}, mean").multiline.tag.append(f"{re.escape(tag)}$")
            section.chart.add(title=f"{name}, mean ± std").margin.series.add(
                value=tag, lower=f"{tag} - std", upper=f"{tag} + std"
            )
    tensor = TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString()])
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG, metadata=metadata.create_summary_metadata(), tensor=tensor
    )
    return Summary(value=[value])


def _columns(changed: Sequence[str]) -> Summary:
    """Return the columns of the HParams page; it shows no others."""
    return hparams.hparams_config_pb(
        hparams=[hparams.HParam(name) for name in ("experiment", "activation", *changed)],
        metrics=[hparams.Metric(f"final/{name}", display_name=name) for name in FINAL],
        time_created_secs=0,
    )


def _hyperparameters(group: Group, changed: Sequence[str]) -> dict[str, str | float]:
    """Return what the group is, and its values of all settings in which groups differ."""
    settings = read_settings(group.finished[0].directory) if changed else {}
    settings |= {**dict(group.protocol), **dict(group.variation)}
    values: dict[str, str | float] = {"experiment": group.experiment}
    values["activation"] = group.activation
    for key in settings.keys() & changed:
        try:
            values[key] = float(settings[key])
        except ValueError:
            values[key] = settings[key]
    return values


def _scalars(values: dict[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()])


def _event(summary: Summary, epoch: int = 0, seconds: float = 0.0) -> Event:
    return Event(summary=summary, step=epoch, wall_time=seconds)


def _write(folder: Path, events: Sequence[Event]) -> None:
    """Write an event file that takes the place of those that are in the folder."""
    content = io.BytesIO()
    writer = RecordWriter(content)
    # When a session starts, TensorBoard forgets what it has read of the older files. It reads by
    # name, each to its end: the newer comes later, and the older stay.
    start = Event(session_log=SessionLog(status=SessionLog.START))
    for event in (Event(file_version="brain.Event:2"), start, *events):
        writer.write(event.SerializeToString())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{time.time_ns()}"
    write_atomically(path, content.getvalue(), durable=False)


def main(arguments: list[str] | None = None) -> int:
    """Show the dashboard until the process is interrupted; return 0, or 2 without runs to show."""
    parser = argparse.ArgumentParser(
        prog="python -m pade_bench.dashboard",
        description="Start TensorBoard with the mean and spread over seeds of all finished runs.",
        epilog="Other arguments are TensorBoard's: --port 6007, --bind_all. By default it can be "
        "reached from this machine only.",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    options, others = parser.parse_known_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="pade_bench_dashboard_") as log_dir:
        dashboard = Dashboard(options.runs, Path(log_dir))
        try:
            named = _complain(dashboard.update(), set())
            print(f"{serve(log_dir, others)}{PAGE}", flush=True)
            while True:
                time.sleep(SECONDS_BETWEEN_UPDATES)
                named = _complain(dashboard.update(), named)
        except (PadeBenchError, program.TensorBoardServerException) as error:
            print(f"pade_bench.dashboard: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 0


def serve(log_dir: str, arguments: Sequence[str]) -> str:
    """Start TensorBoard in a thread of this process; return its address."""
    server = program.TensorBoard(default.get_plugins())
    server.configure(argv=["", "--logdir", log_dir, *arguments])
    return str(server.launch())


def _complain(problems: Sequence[str], named: set[str]) -> set[str]:
    """Print the problems that were not named before; return all that were."""
    for problem in problems:
        if problem not in named:
            print(f"left out: {problem}", file=sys.stderr)
    return named | set(problems)


if __name__ == "__main__":
    sys.exit(main())
