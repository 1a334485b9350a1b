"""Loggers beside TensorBoard: where a run logs to is not part of what it is."""

import csv
import os
import sys
from typing import ClassVar

import pytest
from pytorch_lightning.loggers import Logger

from pade_bench.errors import ConfigurationError
from pade_bench.training import fit
from pade_bench.training.loggers import CSVLogger, make_loggers
from pade_bench.training.preflight import check

SHORT = ("activation=pau", "data.batch_size=512")


def rows(run):
    with open(run.directory / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_logger_makes_no_other_home_and_no_other_hash(tiny_run):
    plain, logged = tiny_run(), tiny_run("logger=[csv,wandb]", "logger.wandb.project=mine")
    assert logged.directory == plain.directory
    assert logged.config_hash == plain.config_hash
    assert logged.changes == plain.changes == {"trainer.max_epochs": 2}


def test_the_table_of_an_interrupted_run_is_that_of_one_that_was_not(tiny_run, fit_until):
    run = tiny_run("logger=csv", *SHORT)
    fit_until(run, 1, 1)
    assert [row["epoch"] for row in rows(run)] == ["1"]
    record = fit(run)
    assert [row["epoch"] for row in rows(run)] == ["1", "2"]
    losses, accuracies = record.train_loss_per_epoch, record.test_accuracy_per_epoch
    for row, loss, accuracy, rate in zip(rows(run), losses, accuracies, (1, 0.9), strict=True):
        assert float(row["train_loss"]) == loss
        assert float(row["test_accuracy"]) == accuracy
        assert float(row["learning_rate/weights"]) == pytest.approx(0.002 * rate)
        assert float(row["learning_rate/pade_coefficients"]) == pytest.approx(0.002 * rate)


def test_rows_of_epochs_that_are_trained_again_are_replaced(tmp_path):
    logger = CSVLogger(str(tmp_path))
    for epoch, loss in ((1, 0.5), (2, 0.4), (3, 0.3), (2, 0.25)):
        logger.log_metrics({"train_loss": loss}, epoch)
    assert logger.path.read_text() == "epoch,train_loss\n1,0.5\n2,0.25\n"


@pytest.mark.parametrize(
    "damage",
    [
        b"epoch,train_loss\n1,0.5,7\n",  # more values than names
        b"epoch,train_loss\n1\n",
        b"train_loss\n0.5\n",
        b"epoch,train_loss\none,0.5\n",
        b"epoch,train_loss\n" + b"9" * 5000 + b",0.5\n",
        b'epoch,train_loss\n1,"0.5\n',
        b"\xff\x00",
        None,  # a pipe, for which nobody writes
    ],
)
def test_a_damaged_table_is_set_aside_and_training_goes_on(tmp_path, damage, capsys):
    logger = CSVLogger(str(tmp_path))
    if damage is None:
        os.mkfifo(logger.path)
    else:
        logger.path.write_bytes(damage)
    logger.log_metrics({"train_loss": 0.25}, 2)
    assert logger.path.read_text() == "epoch,train_loss\n2,0.25\n"
    (aside,) = tmp_path.glob("metrics.csv.damaged-*")
    assert damage is None or aside.read_bytes() == damage
    assert f"it is kept as {aside.name}" in capsys.readouterr().out


class Remembering(Logger):
    """A logger from outside of the package."""

    made: ClassVar = []

    def __init__(self, save_dir: str, id: str, name: str, color: str = "red"):
        super().__init__()
        self.arguments, self.events = (save_dir, id, name, color), []
        self.made.append(self)

    name = version = property(lambda self: "")

    def log_hyperparams(self, settings):
        self.events.append(settings["activation._target_"])

    def log_metrics(self, metrics, step):
        self.events.append(step)

    def finalize(self, status):
        self.events.append(status)


def test_any_logger_of_lightnings_kind_is_told_of_every_epoch_and_the_end(
    tiny_run, fit_until, monkeypatch
):
    monkeypatch.setattr(Remembering, "made", [])
    target = f"{Remembering.__module__}.Remembering"
    run = tiny_run(f"+logger.mine._target_={target}", "+logger.mine.color=blue", *SHORT)
    monkeypatch.setitem(sys.modules, Remembering.__module__, sys.modules[__name__])
    fit_until(run, 1, 1)
    fit(run)
    first, second = Remembering.made
    home = run.directory
    assert first.arguments == second.arguments  # the same run of the service
    assert first.arguments[::2] == (str(home), "digits_lenet/" + "/".join(home.parts[-2:]))
    assert first.arguments[3] == "blue"
    assert first.events == ["pade_bench.activations.PAU", 1, "failed"]
    assert second.events == ["pade_bench.activations.PAU", 2, "success"]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["+logger.mine._target_=torch.nn.ReLU"], "is not a class of pytorch_lightning.loggers"),
        (["+logger.mine.project=x"], "logger.mine: it names no class (_target_)."),
        (["logger=csv", "+logger.csv.name=x"], "logger.csv.name: pade_bench.training.loggers.CSV"),
        (["logger=wandb", "logger.wandb.offline=perhaps"], "logger.wandb.offline='perhaps': must"),
        (["logger=wandb", "+logger.wandb.id=x"], "logger.wandb.id: pade_bench sets this argument"),
    ],
)
def test_a_logger_that_cannot_be_is_refused_before_training(overrides, complaint, tiny_run):
    run = tiny_run(*overrides)
    with pytest.raises(ConfigurationError) as error:
        check([[run]])
    assert complaint in str(error.value)
    assert not run.directory.exists()


def test_a_service_that_does_not_let_one_in_is_one_sentence(tiny_run, monkeypatch):
    def refuse(*_):
        raise RuntimeError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(CSVLogger, "log_hyperparams", refuse)
    with pytest.raises(ConfigurationError, match="logger=csv cannot begin: No API key configured"):
        fit(tiny_run("logger=csv", *SHORT))


def test_a_finished_run_says_that_there_is_nothing_to_log(tiny_run, capsys):
    fit(tiny_run(*SHORT))
    fit(tiny_run("logger=csv", *SHORT))
    assert "logger=csv has nothing to log: no epoch was left" in capsys.readouterr().out


def test_a_missing_package_is_named(tiny_run, monkeypatch):
    monkeypatch.setattr("pytorch_lightning.loggers.wandb._WANDB_AVAILABLE", False)
    with pytest.raises(ConfigurationError, match=r"pip install 'pade_bench\[wandb\]'"):
        check([[tiny_run("logger=wandb")]])


def test_weights_and_biases_offline_has_the_curves_of_a_resumed_run(
    tiny_run, fit_until, monkeypatch, tmp_path
):
    pytest.importorskip("wandb")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb"))
    run = tiny_run("logger=wandb", "logger.wandb.offline=true", *SHORT)
    fit_until(run, 1, 1)
    fit(run)
    (identifier,) = {path.stem for path in run.directory.glob("wandb/offline-run-*/run-*.wandb")}
    assert identifier == "run-" + (run.directory / "logger_id.txt").read_text()
    logged = b"".join(
        path.read_bytes() for path in run.directory.glob("wandb/offline-run-*/run-*.wandb")
    )
    for name in (
        b"test_accuracy",
        b"train_loss",
        b"learning_rate/pade_coefficients",
        b"digits_lenet",
    ):
        assert name in logged
    assert [logger.name for logger in make_loggers(run, dry=True)] == ["pade_bench"]
