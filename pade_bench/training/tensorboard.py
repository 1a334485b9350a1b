"""TensorBoard: curves, hyper-parameters with the final metrics, and the learned activations."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from pade_bench.activations import PAU
from pade_bench.report.figures.worker import draw_beside
from pade_bench.runs.files import writing_to
from pade_bench.runs.home import Run, identity
from pade_bench.training.learned import learnable_activations, measure

# TensorBoard sorts by name: these come first, before the activations and their parameters.
CURVES = {
    "test_accuracy": "accuracy/test",
    "test_top5_accuracy": "accuracy/test_top5",
    "validation_accuracy": "accuracy/validation",
    "train_accuracy": "accuracy/train",
    "test_loss": "loss/test",
    "train_loss": "loss/train",
}
# The columns of the HParams page.
METRICS = ("test_accuracy", "test_top5_accuracy", "validation_accuracy", "train_loss")
FIGURES_PER_RUN = 20
IMAGES_FOR_FIGURES = 64  # whose inputs to each activation they show
_TYPES = {
    bool: api_pb2.DATA_TYPE_BOOL,
    int: api_pb2.DATA_TYPE_FLOAT64,
    float: api_pb2.DATA_TYPE_FLOAT64,
    str: api_pb2.DATA_TYPE_STRING,
}


class TensorBoard(Checkpoint):
    """Write a run's events, with epochs as steps: 0 before training, k after the k-th epoch.

    It is a :class:`Checkpoint` because these are called after the module's own hook, which
    completes the history of the epoch; in the list of callbacks it comes before
    :class:`SaveLast`, so that no saved epoch lacks its events.
    """

    def __init__(self, run: Run, initial: nn.Module) -> None:
        self.run = run
        self.initial = initial
        self.figures: list[tuple[int, Future[bytes]]] = []  # of which epoch, oldest first

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        done = len(pl_module.history["train_loss"])
        with writing_to(self.run.directory):
            # An interrupted epoch may have left events: TensorBoard drops those after this step.
            self.writer = SummaryWriter(str(self.run.directory), purge_step=done + 1)
            if done == 0:
                self._write_hyperparameters(pl_module)
                self._write_activations(trainer, pl_module, step=0)
            self.writer.flush()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if pl_module.diverged:
            return
        step = trainer.current_epoch + 1
        self.run.require_lock()
        with writing_to(self.run.directory):
            curves = self._curves(pl_module).items()
            values = {curve: pl_module.history[name][-1] for name, curve in curves}
            self._add_scalars(values | pl_module.learning_rates, step)
            self._write_activations(trainer, pl_module, step)
            self._write_figures(wait=False)
            self.writer.flush()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        status = api_pb2.STATUS_FAILURE if pl_module.diverged else api_pb2.STATUS_SUCCESS
        end = HParamsPluginData(session_end_info=SessionEndInfo(status=status))
        self.run.require_lock()
        with writing_to(self.run.directory):
            self._write_figures(wait=True)
            self._add(_summary(metadata.SESSION_END_INFO_TAG, end))
            self.writer.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        for _, figure in self.figures:
            figure.cancel()

    def _curves(self, pl_module: Any) -> dict[str, str]:
        return {name: curve for name, curve in CURVES.items() if name in pl_module.history}

    def _write_hyperparameters(self, pl_module: Any) -> None:
        settings = {
            **self.run.names,
            "seed": self.run.config.seed,
            **{k: v for k, v in identity(self.run.config).items() if not k.endswith("_target_")},
        }
        values = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in settings.items()
        }
        # The page has columns for what is named here, and shows five settings at first: those in
        # which runs differ come before the others. A metric is the last value of its curve.
        differing = {"experiment", "activation", "seed", *self.run.changes}
        columns = [
            api_pb2.HParamInfo(name=key, type=_TYPES[type(value)], differs=key in differing)
            for key, value in values.items()
        ]
        metrics = [
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag))
            for name, tag in self._curves(pl_module).items()
            if name in METRICS
        ]
        experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics)
        self._add(_summary(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)))
        _, start, _ = hparams(values, {})
        self._add(start)

    def _add(self, summary: Any, step: int | None = None) -> None:
        self.writer._get_file_writer().add_summary(summary, step)

    def _add_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add values by their tags, in one event: a deep network has a thousand coefficients."""
        self._add(
            Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]),
            step,
        )

    def _write_activations(self, trainer: Any, pl_module: Any, step: int) -> None:
        layers = learnable_activations(pl_module.network, pl_module.activation_type)
        if not layers:
            return
        self._add_scalars(
            {
                f"parameters_of_layer_{i + 1}/{name}": value
                for i, layer in enumerate(layers)
                for name, value in named_values(layer)
            },
            step,
        )
        every = max(1, trainer.max_epochs // FIGURES_PER_RUN)
        if step % every == 0 or step == trainer.max_epochs:
            images = trainer.datamodule.sample_images()[:IMAGES_FOR_FIGURES]
            curves = measure(pl_module, self.initial, images)
            # A card is as high as wide, so are the panels together.
            columns = math.ceil(math.sqrt(len(curves)))
            activation, title = self.run.names["activation"], f"after epoch {step}"
            self.figures.append((step, draw_beside(curves, activation, title, columns)))

    def _write_figures(self, wait: bool) -> None:
        """Write the figures that have been drawn by now, or all."""
        while self.figures and (wait or self.figures[0][1].done()):
            step, figure = self.figures.pop(0)
            content = figure.result()
            width, height = struct.unpack(">II", content[16:24])
            picture = Summary.Image(
                encoded_image_string=content, width=width, height=height, colorspace=4
            )
            self._add(Summary(value=[Summary.Value(tag="activations", image=picture)]), step)


def _summary(tag: str, content: HParamsPluginData) -> Summary:
    """Return a message to the HParams page; the functions that torch has for it say less."""
    value = Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR
    )
    return Summary(value=[value])


def named_values(activation: nn.Module) -> Iterator[tuple[str, float]]:
    """Yield every parameter value of an activation; Padé coefficients as a0 … am and b1 … bn."""
    for name, parameter in activation.named_parameters():
        letter, first = f"{name}_", 0
        if isinstance(activation, PAU):
            letter, first = {"numerator": ("a", 0), "denominator": ("b", 1)}[name]
        for i, value in enumerate(parameter.detach().flatten().tolist(), start=first):
            yield f"{letter}{i}", value
