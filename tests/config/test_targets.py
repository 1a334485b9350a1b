"""What a configuration may name, and that nothing else is called or even imported."""

import sys

import pytest
from stored_run import forge_config
from torch import nn

from pade_bench import load_run
from pade_bench.activations.factory import activation_factory
from pade_bench.config.targets import locate
from pade_bench.data import ImageDataModule
from pade_bench.errors import ConfigurationError
from pade_bench.evaluate import main
from pade_bench.training import fit

BASES = {"activation": nn.Module, "model": nn.Module, "data": ImageDataModule}


@pytest.mark.parametrize(
    ("group", "target", "complaint"),
    [
        ("activation", "os.system", "is not a class of torch.nn.Module."),
        ("activation", "subprocess.Popen", "is not a class of torch.nn.Module."),
        ("model", "subprocess.Popen", "or a function that returns one"),
        ("model", "builtins.exec", "or a function that returns one"),
        ("data", "subprocess.Popen", "is not a class of pade_bench.data.ImageDataModule."),
        ("data", "pade_bench.models.LeNet", "is not a class of pade_bench.data.ImageDataModule."),
        ("data", "torch.nn.ReLU", "is not a class of pade_bench.data.ImageDataModule."),
    ],
)
def test_only_modules_and_data_modules_are_called(group, target, complaint):
    with pytest.raises(ConfigurationError, match=f"{group}._target_={target} ") as error:
        locate(group, target, BASES[group])
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("group", "target", "complaint"),
    [
        ("activation", "pade_bench.activations.PUA", "does not exist. Did you mean 'PAU'?"),
        ("activation", "nowhere.Sine", "cannot import 'nowhere'"),
        ("model", "pade_bench.models.LeeNet", "does not exist. Did you mean 'LeNet'?"),
        ("data", "pade_bench.dta.MNIST", "cannot import 'pade_bench.dta'"),
    ],
)
def test_what_does_not_exist_is_named(group, target, complaint):
    with pytest.raises(ConfigurationError) as error:
        locate(group, target, BASES[group])
    assert str(error.value).startswith(f"{group}._target_={target}")
    assert complaint in str(error.value)


def test_the_kinds_that_are_meant_are_found():
    for group, target in (
        ("activation", "torch.nn.ReLU"),
        ("model", "pade_bench.models.LeNet"),
        ("model", "pade_bench.models.vgg8"),
        ("data", "pade_bench.data.Digits"),
    ):
        assert locate(group, target, BASES[group]).__name__ == target.rpartition(".")[2]


def test_what_was_found_must_come_from_where_the_name_says(monkeypatch):
    monkeypatch.setattr(
        nn, "Loaded", type("Loaded", (nn.Module,), {"__module__": "elsewhere"}), False
    )
    assert locate("activation", "torch.nn.Loaded", nn.Module)
    with pytest.raises(ConfigurationError, match=r"elsewhere\.Loaded.*is to run code of"):
        locate("activation", "torch.nn.Loaded", nn.Module, trust=())


@pytest.fixture
def foreign(tiny_run, tmp_path, monkeypatch):
    """Return a finished run and a module beside it that makes a file when it is imported."""
    run = tiny_run("activation=relu", "trainer.max_epochs=1")
    fit(run)
    (tmp_path / "foreign.py").write_text(
        f"import torch\nopen({str(tmp_path / 'was_imported')!r}, 'w').close()\n"
        "class Activation(torch.nn.ReLU):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield run.directory
    sys.modules.pop("foreign", None)


@pytest.mark.parametrize("group", ["activation", "model", "data"])
def test_a_run_that_names_other_code_is_refused_before_that_is_imported(
    group, foreign, tmp_path, capsys
):
    forge_config(foreign, lambda config: config[group].update(_target_="foreign.Activation"))
    with pytest.raises(ConfigurationError, match="to load this run is to run code of 'foreign'"):
        load_run(foreign)
    assert main([str(foreign)]) == 2
    assert "--trust foreign" in capsys.readouterr().err
    assert not (tmp_path / "was_imported").exists()


def test_code_that_is_trusted_is_run(foreign, tmp_path):
    forge_config(foreign, lambda config: config["activation"].update(_target_="foreign.Activation"))
    assert load_run(foreign, trust=["foreign"]).activation_type.__module__ == "foreign"
    assert (tmp_path / "was_imported").exists()


def test_a_name_that_only_begins_like_a_trusted_package_is_refused(foreign):
    forge_config(foreign, lambda config: config["activation"].update(_target_="pade_bench_evil.A"))
    with pytest.raises(ConfigurationError, match="pade_bench_evil"):
        load_run(foreign)


def test_what_a_user_names_in_a_configuration_of_their_own_is_imported(tmp_path, monkeypatch):
    (tmp_path / "own_code.py").write_text("import torch\nclass Own(torch.nn.ReLU):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert type(activation_factory({"_target_": "own_code.Own"})()).__name__ == "Own"
