"""A trained network comes back from its run directory alone."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stored_run import forge_checkpoint, forge_config

from pade_bench import load_run
from pade_bench.errors import ConfigurationError, DataError, RunError
from pade_bench.evaluate import evaluate, main
from pade_bench.runs.records import read_runs
from pade_bench.training import fit
from pade_bench.training.reload import prepare_test_data


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the directory of a run with Padé units, trained for one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-m", "pade_bench", "activation=rpau", "trainer.max_epochs=1"]
    subprocess.run([*command, "trainer.accelerator=cpu"], cwd=folder, check=True)
    (home,) = folder.glob("runs/digits_lenet/rpau-*/seed0")
    return home


@pytest.fixture
def copy(trained, tmp_path):
    """Return a copy of the trained run in another place."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    for name in ("config.yaml", "last.ckpt", "record.json"):
        (home / name).write_bytes((trained / name).read_bytes())
    return home


def test_the_network_is_rebuilt_from_configuration_and_checkpoint_alone(copy):
    (copy / "record.json").unlink()
    classifier = load_run(copy)
    weights = torch.load(copy / "last.ckpt", weights_only=True)["state_dict"]
    assert classifier.state_dict().keys() == weights.keys()
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert not classifier.training
    assert len(classifier.history["test_accuracy"]) == 1


def test_it_gets_the_recorded_accuracy(trained, capsys):
    now, recorded, images = evaluate(trained)
    assert images == 360
    assert now.keys() == {"test_accuracy"}
    assert now == pytest.approx(recorded)
    assert main([str(trained)]) == 0
    assert "the same" in capsys.readouterr().out


def test_missing_data_is_asked_for_by_the_option_that_these_commands_have(make_run, tmp_path):
    run = make_run("experiment=imagenet_mobilenetv2")
    with pytest.raises(DataError, match="--data DIR") as error:
        prepare_test_data(run, str(tmp_path))
    assert "data.root" not in str(error.value)


def test_other_weights_are_noticed(copy, capsys):
    forge_checkpoint(
        copy / "last.ckpt", lambda checkpoint: next(iter(checkpoint["state_dict"].values())).zero_()
    )
    assert main([str(copy)]) == 1
    assert "not the same" in capsys.readouterr().out


def test_loading_changes_nothing_that_a_caller_draws(trained):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load_run(trained)
    assert torch.equal(torch.rand(1), expected)


class Evil:
    """Would make a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_code_is_refused_unrun(copy, tmp_path):
    torch.save({"state_dict": {}, "evil": Evil(tmp_path / "was_here")}, copy / "last.ckpt")
    with pytest.raises(RunError, match="damaged"):
        load_run(copy)
    assert not (tmp_path / "was_here").exists()


def test_what_cannot_be_loaded_is_named(copy, tmp_path):
    with pytest.raises(RunError, match=r"nowhere is no run directory: it has no config\.yaml"):
        load_run(tmp_path / "nowhere")
    forge_config(
        copy, lambda config: config["activation"].update(_target_="pade_bench.activations.PUA")
    )
    with pytest.raises(ConfigurationError, match="Did you mean 'PAU'"):
        load_run(copy)
    forge_config(copy, lambda config: config.update(activation={"_target_": "torch.nn.ReLU"}))
    with pytest.raises(RunError, match="does not fit the network"):
        load_run(copy)
    (copy / "last.ckpt").unlink()
    with pytest.raises(RunError, match="no complete epoch yet"):
        load_run(copy)
    (copy / "config.yaml").write_text("a: [")
    with pytest.raises(RunError, match="cannot be read"):
        load_run(copy)


def test_a_run_of_a_version_with_fewer_settings_is_loaded_and_scored(copy):
    forge_config(copy, lambda config: config["trainer"].pop("progress_bar"))
    assert load_run(copy)
    accuracy, recorded, _ = evaluate(copy)
    assert accuracy == pytest.approx(recorded)
    forge_config(copy, lambda config: config["trainer"].update(chanels_last=True))
    with pytest.raises(RunError, match=r"of another version of pade_bench.*chanels_last"):
        load_run(copy)


def test_a_run_whose_form_was_still_called_denominator_is_loaded_and_scored(copy):
    forge_config(
        copy,
        lambda config: config["activation"].update(denominator=config["activation"].pop("form")),
    )
    assert {m.form for m in load_run(copy).modules() if hasattr(m, "form")} == {"abs_of_sum"}
    accuracy, recorded, _ = evaluate(copy)
    assert accuracy == pytest.approx(recorded)


def test_a_run_without_a_result_cannot_be_scored(copy, capsys):
    (copy / "record.json").unlink()
    assert main([str(copy)]) == 2
    assert "the run is not finished" in capsys.readouterr().err


def test_the_report_reads_what_training_writes(tiny_run):
    run = tiny_run("activation=rpau", "trainer.max_epochs=1", "activation.noise=0.1")
    fit(run)
    (result,), problems = read_runs(Path(run.config.runs_dir))
    assert problems == []
    assert (result.status, result.activation, result.model) == ("finished", "rpau", "lenet")
    assert result.changes == {"trainer.max_epochs": 1, "activation.noise": 0.1}
    (run.directory / "record.json").unlink()
    (result,), _ = read_runs(Path(run.config.runs_dir))
    assert (result.status, result.epochs, result.max_epochs) == ("unfinished", 1, 1)
    assert result.changes == {"trainer.max_epochs": 1, "activation.noise": 0.1}


def test_what_ends_a_run_leaves_its_traceback_until_it_goes_on(tiny_run, monkeypatch):
    run = tiny_run("activation=relu", "trainer.max_epochs=1")
    with monkeypatch.context() as patch:
        module = importlib.import_module("pade_bench.training.fit")
        patch.setattr(module, "make_record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit(run)
    assert "ZeroDivisionError" in (run.directory / "traceback.txt").read_text()
    fit(run)
    assert not (run.directory / "traceback.txt").exists()
