"""Event files for TensorBoard with means over seeds.

Runs that differ in the seed alone become one run of TensorBoard, with the mean and the spread of
their curves; the activations of an experiment share a chart, and HParams sorts by final accuracy.
All of it comes from run records (no event file is read, and no torch needed) and lies in a
temporary directory that is brought up to date while runs finish and vanishes with the process:
the runs stay as they are. ``tensorboard --logdir runs`` shows every run by itself.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.record_writer import RecordWriter

from pade_bench.report.grouping import group_runs, settings_of
from pade_bench.report.groups import Group
from pade_bench.runs.files import read_file, write_atomically
from pade_bench.runs.names import file_name
from pade_bench.runs.records import read_runs

# By name of a curve, the history of a run that it shows.
CURVES = {
    "test accuracy": "accuracy_per_epoch",
    "train accuracy": "train_accuracy_per_epoch",
    "test loss": "test_loss_per_epoch",
    "train loss": "loss_per_epoch",
}
FINAL = ("test accuracy", "std", "best", "seeds")
FINAL_TAG = "final/"
BOUNDS = (" - std", " + std")  # how the names of the series end that bound the bands
# TensorBoard's runs are folders and their names are what it shows: these may be in them too. A
# chart draws no line whose tag has a bracket: it takes what is between brackets for the run.
_ALSO = " ,=%"
_MOST_BYTES_OF_PICTURE = 16 << 20


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
        charts: dict[str, list[str]] = {}
        for group in sorted(groups, key=_chart):
            charts[_chart(group)] = [name for name in CURVES if name in
                                     {*charts.get(_chart(group), ()), *_known(group)}]  # fmt: skip
        names = {f"{_chart(group)}/{_line(group)}": group for group in groups}
        for name in self.shown.keys() - names.keys() - {"layout"}:
            self._remove(name)
            del self.shown[name]
        for name, group in names.items():
            values = _hyperparameters(group, changed)
            if self._is_new(name, (group.finished, values)):
                start = hparams.hparams_pb(values, trial_id=name, start_time_secs=0)
                _write(self.log_dir / name, [_event(start), *_curves(group), *_picture(group)])
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
    changes = f", {group.settings}" if group.protocol else ""
    return file_name(f"{group.experiment}{changes}", _ALSO)


def _line(group: Group) -> str:
    return file_name(group.full_label, f"{_ALSO}()")


def _known(group: Group) -> list[str]:
    """Return the curves that all its runs have; those of 0.1 have two."""
    return [name for name, history in CURVES.items()
            if all(getattr(run, history) for run in group.finished)]  # fmt: skip


def _curves(group: Group) -> Iterator[Event]:
    """Yield the mean over seeds and the spread for every epoch, and what came out of the last."""
    values: dict[str, np.ndarray] = {}
    for name in _known(group):
        seeds = group.curves(CURVES[name])
        mean = seeds.mean(axis=0)
        # One seed has no spread: its band has no width, as a chart wants all three.
        std = seeds.std(axis=0, ddof=1) if len(seeds) > 1 else 0.0
        tag = f"{_chart(group)}/{name}"
        values |= {tag: mean, f"{tag}{BOUNDS[0]}": mean - std, f"{tag}{BOUNDS[1]}": mean + std}
    # The clock of these events starts with the training, so that the axis of time compares.
    seconds = [run.seconds_per_epoch for run in group.finished]
    epochs = min(run.epochs for run in group.finished)
    clock = np.zeros(epochs)
    if all(len(one) == epochs for one in seconds):
        clock = np.cumsum(np.mean(seconds, axis=0))
    for i in range(epochs):
        yield _event(_scalars({tag: curve[i] for tag, curve in values.items()}), i + 1, clock[i])
    if summary := group.summary():
        final = dict(zip(FINAL, (summary.mean, summary.std, summary.best, summary.n), strict=True))
        known = {f"{FINAL_TAG}{name}": value for name, value in final.items() if value is not None}
        yield _event(_scalars(known), epochs, clock[-1])


def _picture(group: Group) -> Iterator[Event]:
    """Yield the picture of the learned functions that a run of the group has left."""
    for run in group.finished:
        try:
            png = read_file(run.directory / "activations.png", _MOST_BYTES_OF_PICTURE)
        except (OSError, ValueError):
            continue
        if not png.startswith(b"\x89PNG\r\n\x1a\n"):
            continue
        width, height = (int.from_bytes(png[i : i + 4]) for i in (16, 20))
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        tag = f"{_chart(group)}/learned functions"
        yield _event(Summary(value=[Summary.Value(tag=tag, image=image)]), run.epochs)
        return


def _layout(charts: Mapping[str, Sequence[str]]) -> Summary:
    """Return the page of custom scalars: a section per experiment, its activations in one chart."""
    layout = layout_pb2.Layout()
    for title, curves in charts.items():
        section = layout.category.add(title=title)
        for name in curves:
            tag = f"{title}/{name}"
            section.chart.add(title=f"{name}, mean ± std").margin.series.add(
                value=tag, lower=f"{tag}{BOUNDS[0]}", upper=f"{tag}{BOUNDS[1]}"
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
        metrics=[hparams.Metric(f"{FINAL_TAG}{name}", display_name=name) for name in FINAL],
        time_created_secs=0,
    )


def _hyperparameters(group: Group, changed: Sequence[str]) -> dict[str, str | float]:
    """Return what the group is, and its values of all settings in which groups differ."""
    settings = settings_of(group.finished[0]) if changed else {}
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
