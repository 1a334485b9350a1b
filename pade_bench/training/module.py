"""The Lightning module: a network, its loss, and the history of its epochs."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pade_bench.activations.groups import parameter_groups
from pade_bench.data.seeding import epoch_seed
from pade_bench.models.numerics import compiled
from pade_bench.ops import NUMERICS
from pade_bench.training.optimizers import make_optimizer, place_optimizer

# In place of a test loss that is infinite or no number, which a record cannot hold.
LARGEST_LOSS = torch.finfo(torch.float32).max

if TYPE_CHECKING:
    from pade_bench.config.schema import OptimConfig


class Classifier(pl.LightningModule):
    """Trains a network with cross-entropy and measures it on the test set after every epoch.

    ``history`` holds one value per complete epoch: ``train_loss`` (mean over the epoch's images,
    measured while training), ``test_accuracy`` (percent), for data of more than ten classes
    ``test_top5_accuracy`` (percent of images whose label is among the five best guesses), where
    images are set apart ``validation_accuracy`` (percent of these), ``seconds``, ``train_accuracy``
    (percent, measured while training) and ``test_loss``. It travels in the checkpoint, so a resumed
    run has the history of one that was never interrupted. ``learning_rates`` holds those of the
    epoch, ``learning_rate/weights`` and others.

    Args:
        network: maps (N, C, H, W) images to (N, classes) logits.
        activation_type: the class of its activations.
        optim: the optimizer's settings.
        epochs: how many are trained, which schedules of the learning rate may depend on.
        seed: what is random in epoch k depends on (seed, k) alone.
        channels_last: the memory format of images and weights.
        compile_network: run the network through torch.compile.
        top5: measure the top-5 accuracy too.
        validates: measure the accuracy on the images that the data module sets apart.
    """

    def __init__(
        self,
        network: nn.Module,
        activation_type: type[nn.Module],
        optim: OptimConfig,
        epochs: int,
        seed: int,
        channels_last: bool = True,
        compile_network: bool = False,
        top5: bool = False,
        validates: bool = False,
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.memory_format)
        self._compiled = compiled(self.network) if compile_network else None
        self.activation_type = activation_type
        self.optim = optim
        self.epochs = epochs
        self.seed = seed
        self.diverged = False
        self.learning_rates: dict[str, float] = {}
        self.history: dict[str, list[float]] = {
            "train_loss": [],
            "test_accuracy": [],
            "seconds": [],
            "train_accuracy": [],
            "test_loss": [],
        }
        if top5:
            self.history["test_top5_accuracy"] = []
        if validates:
            self.history["validation_accuracy"] = []

    def on_fit_start(self) -> None:
        # Lightning has moved the network to its device by now. The sums lie in the same memory for
        # the whole run, as a CUDA graph adds to them.
        self._loss_sum, self._test_loss_sum = (
            torch.zeros((), dtype=torch.float64, device=self.device) for _ in range(2)
        )
        self._train_correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self._correct = torch.zeros(2, dtype=torch.int64, device=self.device)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, classes) logits."""
        compute = self._compiled or self.network
        return compute(images.contiguous(memory_format=self.memory_format))

    def configure_optimizers(self) -> Any:
        """Return the optimizer with its learning rates stepped once per epoch."""
        optimizer, scheduler = make_optimizer(self.network, self.optim, self.epochs)
        return [optimizer], [{"scheduler": scheduler, "interval": "epoch"}]

    def on_train_start(self) -> None:
        # By now the optimizer has what a checkpoint says of it, which another device may have made.
        (optimizer,) = self.trainer.optimizers
        place_optimizer(optimizer, self.device)

    def on_train_epoch_start(self) -> None:
        # Checkpoints do not hold the global random state. Starting every epoch from its own seed
        # makes what draws from it (RReLU, RPAU) the same after an interruption. Processes that
        # train together have different images, so they need different noise.
        stream = f"noise/{self.global_rank}" if self.global_rank else "noise"
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch, stream))
        self._began = time.perf_counter()
        self._loss_sum.zero_()
        self._train_correct.zero_()
        self._images_seen = 0
        names = [group["name"] for group in parameter_groups(self.network)]
        groups = self.trainer.optimizers[0].param_groups
        self.learning_rates = {
            f"learning_rate/{name}": float(group["lr"])
            for name, group in zip(names, groups, strict=True)
        }

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor | None:
        """Return the mean cross-entropy of a batch, weighted for its share of the step."""
        images, labels = batch
        loss = self.loss(images, labels)
        self._images_seen += len(labels)
        if self.trainer.world_size > 1:
            # DDP averages over processes, whose parts of an epoch's last batch can differ by one.
            loss = loss * (len(labels) * self.trainer.world_size / self._total(len(labels)))
        accumulated = self.trainer.accumulate_grad_batches
        left = self.trainer.num_training_batches - index // accumulated * accumulated
        if left < accumulated:
            # Lightning divides by the full number, also where an epoch ends with fewer batches.
            loss = loss * (accumulated / left)
        return loss

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of a batch, having added it to that of the epoch."""
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        # Summed on the device: reading a value at every step would wait for the GPU.
        self._loss_sum += loss.detach() * len(labels)
        self._train_correct += (logits.detach().argmax(1) == labels).sum()
        return loss

    def on_validation_epoch_start(self) -> None:
        self._correct.zero_()
        self._test_loss_sum.zero_()
        self._images_tested = 0

    def on_validation_batch_start(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        if dataloader_idx == 1 and index == 0:  # the test split is done, images set apart follow
            self._of_test = self._counts()
            self.on_validation_epoch_start()

    def _counts(self) -> tuple[int, Tensor, Tensor]:
        return self._images_tested, self._correct.clone(), self._test_loss_sum.clone()

    def validation_step(
        self, batch: tuple[Tensor, Tensor], _: int, dataloader_idx: int = 0
    ) -> None:
        """Count the correct predictions of a batch."""
        images, labels = batch
        self.count(images, labels)
        self._images_tested += len(labels)

    def count(self, images: Tensor, labels: Tensor) -> None:
        """Add the correct predictions of a batch, and its loss, to those of the epoch."""
        logits = self(images)
        self._correct += count_correct(logits, labels)
        self._test_loss_sum += F.cross_entropy(logits, labels) * len(labels)

    def on_train_epoch_end(self) -> None:
        # Lightning has measured the test accuracy by now: its validation loop is part of the epoch.
        validates = "validation_accuracy" in self.history
        images, correct, test_loss = self._of_test if validates else self._counts()
        seen, tested = (self._total(n).item() for n in (self._images_seen, images))
        loss = self._total(self._loss_sum).item() / seen
        accuracy, top5 = (100 * n / tested for n in self._total(correct).tolist())
        if not math.isfinite(loss):
            self.diverged = True
            self.trainer.should_stop = True
            return
        self.history["train_loss"].append(loss)
        self.history["test_accuracy"].append(accuracy)
        self.history["seconds"].append(time.perf_counter() - self._began)
        loss_of_tests = self._total(test_loss).item() / tested
        also = {
            "train_accuracy": 100 * self._total(self._train_correct).item() / seen,
            "test_loss": loss_of_tests if math.isfinite(loss_of_tests) else LARGEST_LOSS,
        }
        for name, value in also.items():
            if name in self.history:  # not in that of a run which began before it was kept
                self.history[name].append(value)
        metrics = {"loss": loss, "accuracy": accuracy}
        if "test_top5_accuracy" in self.history:
            self.history["test_top5_accuracy"].append(top5)
            metrics["top-5"] = top5
        if validates:
            right, apart = self._total(self._correct)[0], self._total(self._images_tested)
            metrics["validation"] = 100 * right.item() / apart.item()
            self.history["validation_accuracy"].append(metrics["validation"])
        self.log_dict(metrics, prog_bar=True, logger=False, sync_dist=True)

    def _total(self, value: Tensor | int) -> Tensor:
        """Return the sum over all processes that train this run."""
        value = torch.as_tensor(value, device=self.device)
        return self.trainer.strategy.reduce(value, reduce_op="sum")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history
        checkpoint["diverged"] = self.diverged
        checkpoint["threads"] = torch.get_num_threads()
        checkpoint["pade_numerics"] = NUMERICS

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]
        self.diverged = checkpoint["diverged"]


def count_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Count the images whose label is the best guess, and those where it is among the best five.

    Args:
        logits: (N, classes).
        labels: (N,), int64.

    Returns:
        (2,), int64.
    """
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    among_five = (best == labels[:, None]).any(dim=1)
    return torch.stack(((logits.argmax(1) == labels).sum(), among_five.sum()))
