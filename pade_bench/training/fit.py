"""From the description of a run to its record."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pade_bench.activations import PAU, RPAU, check_activation
from pade_bench.activations.factory import ActivationFactory, activation_factory
from pade_bench.config.components import make
from pade_bench.data import ImageDataModule
from pade_bench.errors import DamagedError, DataError, PadeBenchError, RunError
from pade_bench.models.configured import configured_network
from pade_bench.models.filters import count_parameters
from pade_bench.ops import NUMERICS
from pade_bench.report.figures.worker import draw_beside
from pade_bench.report.names import count
from pade_bench.runs.curves import dump_curves
from pade_bench.runs.files import set_aside, writing_to
from pade_bench.runs.home import Run, identity
from pade_bench.runs.record import DIVERGED, FINISHED, Record
from pade_bench.runs.record_parts import Images, Pruning
from pade_bench.training.checkpoint_content import check_origin, check_progress, check_weights
from pade_bench.training.checkpoints import SaveLast, newest_checkpoint
from pade_bench.training.console import print_start, print_summary
from pade_bench.training.graphed import GraphedClassifier
from pade_bench.training.learned import measure
from pade_bench.training.module import Classifier
from pade_bench.training.provenance import provenance
from pade_bench.training.pruned import Pruned, costs, prune, read_filters, write_filters
from pade_bench.training.trainer import (
    accelerator,
    autocast,
    check_devices,
    describe_device,
    make_trainer,
    rank,
    set_numerics,
    uses_graphs,
)

MOST_CLASSES_WITHOUT_TOP5 = 10  # of as few, five guesses say little


def fit(run: Run, pruned: Pruned | None = None) -> Record:
    """Train a run to its end and return its record; resume it where it was interrupted.

    A finished run is not touched: its record is returned. A damaged checkpoint or record is kept
    under another name, and the run goes on from the newest good checkpoint.

    Args:
        run: what to train, and where it lives.
        pruned: what the run takes from the one before it, in a pruning experiment.

    Raises:
        ConfigurationError: a class of the configuration does not exist or does not fit.
        DataError: the data set is missing or damaged.
        RunError: the run's directory is held, unreadable, unwritable or has other settings.
    """
    if not run.config.restart and (record := run.sound_record()) is not None:
        _check_images(run, record)
        if rank(run) == 0:
            print(f"{run.directory} is {record.status}:")
            print_summary(run, record)
            if run.config.logger:
                print(f"logger={','.join(run.config.logger)} has nothing to log: no epoch was left")
        return record
    # All that can be refused is refused before the run's directory exists.
    check_devices(run.config)
    classifier = make_classifier(run, pruned, graphed=uses_graphs(run.config))
    data = make_data(run)
    data.prepare_data()
    initial = copy.deepcopy(classifier.network)
    if rank(run) > 0:
        # The first process holds the run, and alone writes what is kept of it.
        classifier = _train(run, classifier, initial, data, pruned)
        return make_record(run, classifier, data)
    with run.claim():
        # Another process may have finished the run before this one got hold of it.
        record = run.record()
        if record is None:
            if pruned:
                write_filters(run, pruned.filters)
            print_start(run, count_parameters(classifier.network), describe_device(run.config))
            classifier = _train(run, classifier, initial, data, pruned)
            record = _write_results(run, classifier, initial, data)
    print_summary(run, record)
    return record


def _check_images(run: Run, record: Record) -> None:
    """Raise :class:`RunError` if a folder of images is not the one that a finished run had."""
    if record.images is None or record.images.data_digest is None:
        return
    data = make_data(run)
    try:
        data.prepare_data()
    except DataError:
        return  # it is gone: its runs stay what they are
    if not record.images.are(data.record_entries()):
        raise RunError(
            f"{run.directory} is {record.status}, and was trained on other images than those in "
            f"{run.config.data.arguments.get('root')}. Give these a data.name or a runs_dir of "
            "their own, or restart=true to move the run aside."
        )


def make_data(run: Run) -> ImageDataModule:
    """Return the configured data module, with the run's seed."""
    config = run.config
    data = make("data", config.data, ImageDataModule, run.trust, seed=config.seed)
    data.set_apart(config.data.validation)
    return data


def make_network(run: Run, activation: ActivationFactory, data: ImageDataModule) -> nn.Module:
    """Return the configured network, unpruned, for images of the data set."""
    return configured_network(
        run.config.model,
        activation,
        data.in_channels,
        data.num_classes,
        data.image_size,
        run.trust,
    )


def make_classifier(run: Run, pruned: Pruned | None = None, graphed: bool = False) -> Classifier:
    """Return the configured network with initial weights that depend on the seed alone.

    Args:
        run: what to train.
        pruned: what it takes from the run before it; by default the filters noted in its directory.
        graphed: whether it is trained with CUDA graphs.
    """
    config = run.config
    if pruned is None and run.pruned_share and (filters := read_filters(run)):
        pruned = Pruned(filters)
    factory = activation_factory(config.activation, run.trust)
    sample = factory()
    check_activation(sample)
    data = make_data(run)
    torch.manual_seed(config.seed)
    network = make_network(run, factory, data)
    if pruned is not None:
        prune(network, type(sample), data, run, pruned)
    arguments = (
        network,
        type(sample),
        config.optim,
        config.trainer.max_epochs,
        config.seed,
        config.trainer.channels_last,
        config.trainer.compile,
        data.num_classes > MOST_CLASSES_WITHOUT_TOP5,
        config.data.validation > 0,
    )
    if not graphed:
        return Classifier(*arguments)
    return GraphedClassifier(
        *arguments,
        accumulate=config.trainer.accumulate_batches,
        autocast=lambda device: autocast(config.trainer, device.type),
    )


def _train(
    run: Run,
    classifier: Classifier,
    initial: nn.Module,
    data: ImageDataModule,
    pruned: Pruned | None,
) -> Classifier:
    """Train to the end, from the newest checkpoint that one can go on from; return the result."""
    path = _resume(run, classifier)
    set_numerics(run.config.trainer)
    graphed = isinstance(classifier, GraphedClassifier)
    trainer = make_trainer(run, initial, graphed)
    if graphed:
        data.hand_over_chunks()
    (saving,) = (c for c in trainer.callbacks if isinstance(c, SaveLast))  # type: ignore[attr-defined]
    try:
        trainer.fit(classifier, data, ckpt_path=path, weights_only=True)
    except SystemExit:
        # Lightning ends the whole process on Ctrl-C; a caller may have other plans.
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    except (PadeBenchError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if path is None or saving.began or run.config.trainer.strategy != "single":
            raise
        # It has passed every check, and yet cannot be restored.
        damaged = DamagedError(path, f"{type(error).__name__}: {error}")
    else:
        # Lightning leaves the network on the CPU. What follows is said of the device that trained.
        return classifier.to(trainer.strategy.root_device)
    with writing_to(run.directory):
        set_aside(damaged)
    return _train(run, make_classifier(run, pruned, graphed), initial, data, pruned)


def _resume(run: Run, classifier: Classifier) -> Path | None:
    """Return the checkpoint to go on from, having taken the number of threads it was made with.

    The convolutions of torch on the CPU sum in an order that depends on that number.
    """

    def check(checkpoint: dict[str, Any]) -> None:
        check_origin(checkpoint, run.identifier)
        check_weights(checkpoint.get("state_dict"), classifier.state_dict())
        check_progress(checkpoint, classifier, run.config.trainer.max_epochs)

    first = rank(run) == 0
    if run.config.restart and not first:
        return None  # the first process may still be moving aside what is there
    if (newest := newest_checkpoint(run, check, keep_damaged=first)) is None:
        return None
    path, checkpoint = newest
    _check_numerics(run, classifier, checkpoint)
    torch.set_num_threads(checkpoint.get("threads", torch.get_num_threads()))
    return path


def _check_numerics(run: Run, classifier: Classifier, checkpoint: dict[str, Any]) -> None:
    """Raise :class:`RunError` if a version with other arithmetic has begun the run.

    From 1, which wrote no number, to 2 changed what RPAU draws, and what PAU computes on a GPU.
    """
    found = checkpoint.get("pade_numerics", 1)
    unit = classifier.activation_type
    on_cpu = accelerator(run.config.trainer) == "cpu"
    unchanged = not issubclass(unit, PAU) or (on_cpu and not issubclass(unit, RPAU))
    if found == NUMERICS or (unchanged and found == 1):
        return
    raise RunError(
        f"{run.directory} was begun with version {found} of the Padé units' arithmetic, and this "
        f"is version {NUMERICS}: going on would give a result that neither gives. It is left as it "
        "is: end it with the pade_bench that began it, or restart=true to move it aside and start "
        "anew."
    )


def _write_results(
    run: Run, classifier: Classifier, initial: nn.Module, data: ImageDataModule
) -> Record:
    """Write the learned activations and the record, which is returned."""
    images = data.sample_images()
    layers = measure(classifier, initial, images)
    picture = draw_beside(layers, run.names["activation"], dpi=150) if layers else None
    pruning = None
    if run.pruned_share is not None:
        unpruned = make_classifier(run, Pruned({}))
        with autocast(run.config.trainer, classifier.device.type):
            pruning = costs(classifier, unpruned, images.to(classifier.device), run.pruned_share)
    record = make_record(run, classifier, data, pruning)
    with writing_to(run.directory):
        if picture is not None:
            run.write("activations.npz", dump_curves(layers))
            run.write("activations.png", picture.result())
        run.require_lock()
        run.previous_checkpoint.unlink(missing_ok=True)
        # The record comes last: it is what says that the run is finished.
        run.write_record(record)
    return record


def make_record(
    run: Run, classifier: Classifier, data: ImageDataModule, pruning: Pruning | None = None
) -> Record:
    """Return the record of a run that has been trained.

    Raises:
        RunError: training ended too early, and the loss was finite: nothing is recorded.
    """
    history = classifier.history
    activations = [m for m in classifier.network.modules() if type(m) is classifier.activation_type]
    finished = not classifier.diverged
    if finished and len(history["train_loss"]) != run.config.trainer.max_epochs:
        raise RunError(
            f"{run.directory}: training ended after {len(history['train_loss'])} of "
            f"{count(run.config.trainer.max_epochs, 'epoch')}. The same command resumes."
        )
    top5, validation = (history.get(n) for n in ("test_top5_accuracy", "validation_accuracy"))
    images, others = Images.split(data.record_entries())
    facts: dict[str, Any] = {**run.names, **run.identifier}
    return Record(
        **facts,
        status=FINISHED if finished else DIVERGED,
        epochs=len(history["train_loss"]),
        test_accuracy=history["test_accuracy"][-1] if finished else None,
        test_accuracy_per_epoch=history["test_accuracy"],
        train_loss_per_epoch=history["train_loss"],
        train_accuracy_per_epoch=history.get("train_accuracy"),
        test_loss_per_epoch=history.get("test_loss"),
        test_top5_accuracy=top5[-1] if top5 and finished else None,
        test_top5_accuracy_per_epoch=top5,
        validation_accuracy=validation[-1] if validation and finished else None,
        validation_accuracy_per_epoch=validation,
        parameters=count_parameters(classifier.network),
        activation_parameters=sum(count_parameters(m) for m in activations),
        activation_layers=len(activations),
        wall_seconds=sum(history["seconds"]),
        wall_seconds_per_epoch=history["seconds"],
        changes=run.changes,
        settings=identity(run.config),
        provenance=provenance(classifier.device, issubclass(classifier.activation_type, PAU)),
        pruning=pruning,
        images=images,
        others=others,
    )
