"""Synthetic run directories, as training leaves them, without training."""

import dataclasses
import json

import numpy as np
import yaml

from pade_bench.config.history import historic
from pade_bench.report.grouping import group_runs
from pade_bench.runs.config_file import with_digest
from pade_bench.runs.curves import LayerCurve, dump_curves
from pade_bench.runs.files import digest
from pade_bench.runs.home import shaping_settings
from pade_bench.runs.names import HomeName
from pade_bench.runs.record import Progress, Record
from pade_bench.runs.record_parts import Costs, Provenance, Pruning
from pade_bench.runs.records import read_runs

QUALITY = {"relu": 98.0, "swish": 98.4, "pau": 98.9, "rpau": 98.8, "elu": 97.5, "slaf": 96.0}
MADE_ON = Provenance(commit="0123abc", device="a CPU", threads=1, pade_kernel="cpu", gpu=None)


def write_record(home, record):
    """Write a dictionary as a record, with its checksum."""
    content = {key: value for key, value in record.items() if key != "checksum"}
    text = json.dumps({**content, "checksum": digest(content)})
    (home / "record.json").write_text(text)


def settings(experiment, activation, changes):
    """Return a configuration as ``config.yaml`` holds it."""
    data, _, model = experiment.rpartition("_")
    config = {
        "data": {"_target_": data, "root": "data", "batch_size": 256},
        "model": {"_target_": model},
        "activation": {"_target_": activation},
        "optim": {"optimizer": "adam", "weights": {"lr": 0.002}},
        "trainer": {"max_epochs": 10, "accelerator": "auto"},
    }
    if activation in ("pau", "rpau"):
        config["activation"] |= {"degrees": [5, 4], "form": "abs_of_sum"}
    for key, value in changes.items():
        *path, last = key.split(".")
        node = config
        for name in path:
            node = node.setdefault(name, {})
        node[last] = value
    return config


def curves(noise=0.0, layers=4):
    x = np.linspace(-3, 3, 401, dtype=np.float32)
    edges = np.linspace(-3, 3, 61)
    density = np.exp(-(edges[:-1] ** 2))
    found = []
    for i in range(layers):
        y = np.where(x > 0, x, 0.2 * (i + 1) * np.abs(x))
        found.append(
            LayerCurve(
                f"{i + 1}: 6×28×28", x, y, np.where(x > 0, x, 0.01 * x), edges,
                density / density.sum() / np.diff(edges), y - noise, y + noise,
            )
        )  # fmt: skip
    return found


def facts(experiment, activation, seed, changes, config_changes=None):
    """Return what a run is."""
    data, _, model = experiment.rpartition("_")
    config = settings(experiment, activation, {**changes, **(config_changes or {})})
    shaping = shaping_settings(config)
    return {
        "experiment": experiment, "data": data or experiment, "model": model,
        "activation": activation, "seed": seed, "changes": changes, "settings": shaping,
        "config_hash": digest(historic(shaping)),
    }  # fmt: skip


def make_record(
    experiment, activation, seed, accuracy=None, changes=None, config_changes=None,
    status="finished", epochs=10, pruned_share=None, multiply_adds=400_000,
    inference_milliseconds=1.0, **more,
):  # fmt: skip
    """Return the record of a run; ``more`` are further attributes of it."""
    random = np.random.default_rng([seed, *map(ord, experiment + activation)])
    if accuracy is None:
        accuracy = QUALITY.get(activation, 98.0) + random.normal(0, 0.15)
    epoch = np.arange(1, epochs + 1)
    approach = np.exp(-epoch / 2.0) * 60 + random.normal(0, 0.1, epochs)
    accuracies = np.clip(accuracy - approach, 0, 100)
    accuracies[-1] = accuracy
    losses = 2 * np.exp(-epoch / 3) + 0.01 + random.uniform(0, 0.02, epochs)
    parameters, added = (9_224_458, 50) if experiment.endswith("vgg8") else (61_706, 40)
    added *= activation in ("pau", "rpau")
    pruning = None
    if pruned_share is not None:
        pruning = Pruning(
            pruned_share, multiply_adds, inference_milliseconds, inference_images=256,
            unpruned=Costs(61_706, 400_000, 5.0), inference_error=0.01,
        )  # fmt: skip
    record = Record(
        **facts(experiment, activation, seed, changes or {}, config_changes),
        status=status,
        epochs=epochs,
        test_accuracy=float(accuracy) if status == "finished" else None,
        test_accuracy_per_epoch=accuracies,
        train_loss_per_epoch=losses,
        train_accuracy_per_epoch=np.clip(accuracies + 0.5, 0, 100),
        test_loss_per_epoch=1.1 * losses,
        parameters=parameters + added,
        activation_parameters=added,
        activation_layers=5 if experiment.endswith("vgg8") else 4,
        wall_seconds=2.0 * epochs,
        wall_seconds_per_epoch=[2.0] * epochs,
        provenance=MADE_ON,
        pruning=pruning,
    )
    return dataclasses.replace(record, **more)


class Runs:
    """Writes run directories below ``root``."""

    def __init__(self, root):
        self.root = root
        root.mkdir(exist_ok=True)

    def directory(self, experiment, activation, seed, changes=None):
        shares = (changes or {}).get("prune.shares") or [0.0]
        changed = digest(changes)[:8] if changes else ""
        return self.root / HomeName(experiment, activation, seed, changed, shares[-1]).path()

    def start(self, experiment, activation, seed, changes=None, config_changes=None):
        """Write a run that was interrupted before its first epoch began; return its home."""
        home = self.directory(experiment, activation, seed, changes)
        home.mkdir(parents=True)
        config = settings(experiment, activation, {**(changes or {}), **(config_changes or {})})
        text = yaml.safe_dump({**config, "seed": seed}, sort_keys=False)
        (home / "config.yaml").write_bytes(with_digest(text))
        (home / "lock").write_text("process 1 on somewhere")
        return home

    def progress(
        self, experiment, activation, seed, epochs, of=10, changes=None, pruned_share=None
    ):
        """Write an unfinished run."""
        home = self.start(experiment, activation, seed, changes)
        progress = Progress(
            **facts(experiment, activation, seed, changes or {}),
            pruned_share=pruned_share,
            epochs=epochs,
            max_epochs=of,
            wall_seconds_per_epoch=[2.0] * epochs,
        )
        (home / "progress.json").write_text(progress.to_json())
        return home

    def finish(
        self, experiment, activation, seed, accuracy=None, changes=None, config_changes=None,
        learned=False, **more,
    ):  # fmt: skip
        """Write a finished or diverged run; see :func:`make_record`."""
        home = self.start(experiment, activation, seed, changes, config_changes)
        record = make_record(
            experiment, activation, seed, accuracy, changes, config_changes, **more
        )
        (home / "record.json").write_text(record.to_json())
        if learned:
            layers = curves(0.2 if activation == "rpau" else 0.0)
            (home / "activations.npz").write_bytes(dump_curves(layers))
        return home

    def sweep(self, experiment, activations, seeds=5, **more):
        for activation in activations:
            for seed in range(seeds):
                self.finish(experiment, activation, seed, **more)

    def groups(self):
        results, problems = read_runs(self.root)
        assert problems == []
        return group_runs(results)


def fill(runs):
    """Write runs with everything that occurs: complete, lacking, diverged, changed, broken."""
    short = {"trainer.max_epochs": 5}
    runs.sweep("fashion_mnist_lenet", ["relu", "swish", "pau", "rpau", "elu"], learned=True)
    runs.sweep("mnist_lenet", ["relu", "swish", "pau", "rpau"], learned=True)
    for seed in range(5):
        status = "diverged" if seed < 3 else "finished"
        runs.finish(
            "fashion_mnist_lenet", "slaf", seed, status=status, epochs=10 if seed > 2 else 4
        )
    runs.sweep("mnist_vgg8", ["relu", "pau"], seeds=2)
    runs.progress("mnist_vgg8", "pau", 2, epochs=4)
    runs.start("mnist_vgg8", "pau", 3)
    runs.sweep("mnist_lenet", ["relu", "pau"], seeds=3, changes=short, epochs=5)
    runs.sweep("mnist_lenet", ["pau"], seeds=3, changes={"activation.form": "sum_of_abs"})
    runs.sweep("digits_lenet", [*QUALITY, "gelu", "mine"], seeds=3, learned=True)
    runs.finish("digits_lenet", "relu", 9).joinpath("record.json").write_text("{broken")
    for share in (0, 10, 30, 60):
        for activation in ("pau", "relu"):
            for seed in range(2):
                runs.finish(
                    "prune_mnist_lenet", activation, seed, 98.0 - share / 20,
                    changes={"prune.shares": [share] if share else []}, pruned_share=share,
                    multiply_adds=400_000 * (1 - share / 100),
                )  # fmt: skip
