"""The Lightning module whose steps are replayed as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from pade_bench.data.loader import Chunk
from pade_bench.ops.graph import CudaCapture, Replayed
from pade_bench.training.module import Classifier


class GraphedClassifier(Classifier):
    """Trains and tests as :class:`Classifier` does, to the same bits, by replaying CUDA graphs.

    One graph holds a whole step: forward and backward of all batches that it accumulates, clipping
    and the optimizer; another the test of a batch. Lightning comes back after each chunk of
    batches only, which takes it longer than the GPU needs for a step of a small network. What it
    does around a step for :class:`Classifier`, this module does itself.

    Args:
        arguments: as :class:`Classifier`.
        accumulate: batches whose gradients make one step.
        autocast: returns the context in which the network computes on a device.
        named: as :class:`Classifier`.
    """

    def __init__(
        self,
        *arguments: Any,
        accumulate: int = 1,
        autocast: Callable[[torch.device], AbstractContextManager[Any]] = nullcontext,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.automatic_optimization = False
        self.accumulate = accumulate
        self.autocast = autocast

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and the learning rates that :meth:`training_step` steps."""
        optimizers, schedulers = super().configure_optimizers()
        return optimizers, [{"scheduler": entry["scheduler"]} for entry in schedulers]

    def on_train_start(self) -> None:
        super().on_train_start()
        (self._optimizer,) = self.trainer.optimizers
        capture = CudaCapture(self.device)
        self._train = Replayed(
            self._step, "trainer.cuda_graph: a training step", self._changed_by_step, capture
        )
        tested = [self._correct, self._test_loss_sum]
        self._test = Replayed(
            self._count, "trainer.cuda_graph: the test of a batch", lambda: tested, capture
        )
        self._left: list[tuple[Tensor, Tensor]] = []  # batches of the step that is not complete yet
        loop = self.trainer.fit_loop.epoch_loop
        # A run may have been begun without graphs; each way of training has a counter of its own.
        loop.manual_optimization.optim_step_progress.load_state_dict(
            loop.automatic_optimization.optim_progress.optimizer.step.state_dict()
        )

    def on_train_end(self) -> None:
        # The graphs read and write memory that Lightning is about to move.
        del self._train, self._test

    def training_step(self, batch: Chunk | tuple[Tensor, Tensor], index: int) -> None:
        """Make the steps of a chunk, or of one batch."""
        self._left += _batches(batch)
        self._train.decided = [
            {name: value for name, value in group.items() if name != "params"}
            for group in self._optimizer.param_groups
        ]
        n, steps = self.accumulate, 0
        is_last = self.trainer.is_last_batch
        while len(self._left) >= n or (self._left and is_last):
            window, self._left = self._left[:n], self._left[n:]
            self._train(*(tensor for pair in window for tensor in pair))
            self._images_seen += sum(len(labels) for _, labels in window)
            steps += 1
        self._count_steps(steps)
        if is_last:
            for entry in self.trainer.lr_scheduler_configs:
                self.lr_scheduler_step(entry.scheduler, None)

    def validation_step(
        self, batch: Chunk | tuple[Tensor, Tensor], _: int, dataloader_idx: int = 0
    ) -> None:
        """Count the correct predictions of a chunk, or of one batch."""
        for images, labels in _batches(batch):
            self._test(images, labels)
            self._images_tested += len(labels)

    def _step(self, *window: Tensor) -> None:
        """Make one step of the optimizer with images and labels of a batch, of another, ….

        Args:
            window: (B, C, H, W) and (B,) in turn.
        """
        self._optimizer.zero_grad()
        batches = list(zip(window[::2], window[1::2], strict=True))
        for images, labels in batches:
            with self.autocast(self.device):
                loss = self.loss(images, labels)
            if self.accumulate > 1:
                # In the words, and to the bits, of Classifier and Lightning.
                if len(batches) < self.accumulate:
                    loss = loss * (self.accumulate / len(batches))
                loss = loss / self.accumulate
            loss.backward()
        if (norm := self.optim.gradient_clip_norm) is not None:
            clip_grad_norm_(self._parameters_of_optimizer(), norm)
        self._optimizer.step()

    def _count(self, images: Tensor, labels: Tensor) -> None:
        with self.autocast(self.device):
            self.count(images, labels)

    def _parameters_of_optimizer(self) -> Iterator[Tensor]:
        for group in self._optimizer.param_groups:
            yield from group["params"]

    def _changed_by_step(self) -> Iterator[Tensor]:
        yield from self.network.parameters()
        yield from self.network.buffers()
        for state in self._optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))
        yield from (self._loss_sum, self._train_correct)

    def _count_steps(self, number: int) -> None:
        """Count steps as Lightning does, which sees none of them, for its ``global_step``."""
        loop = self.trainer.fit_loop.epoch_loop
        for progress in (
            loop.manual_optimization.optim_step_progress,
            loop.automatic_optimization.optim_progress.optimizer.step,
        ):
            for counter in (progress.total, progress.current):
                counter.ready += number
                counter.completed += number


def _batches(batch: Chunk | tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    return batch.batches if isinstance(batch, Chunk) else [batch]
