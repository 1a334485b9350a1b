"""Certifying a run: ``python -m pade_bench.certify``."""

import json
import shutil

import pytest
import torch
from stored_run import forge_checkpoint, forge_config, forge_record

from pade_bench import certify
from pade_bench.bounds import robustness
from pade_bench.bounds.network import BoundedNetwork
from pade_bench.certify import main
from pade_bench.runs.certificate import Certificate
from pade_bench.training import fit

EPSILONS = "0.0001,0.001,0.02"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the home of a LeNet with Padé units, trained on the digits for two epochs."""
    from hydra import initialize_config_module

    from pade_bench.config.compose import compose, register
    from pade_bench.runs.chain import chain

    register()
    with initialize_config_module("pade_bench.configs", version_base="1.3"):
        run = chain(
            compose(
                [
                    "experiment=digits_lenet",
                    "activation=pau",
                    "trainer.max_epochs=2",
                    f"runs_dir={tmp_path_factory.mktemp('runs')}",
                ]
            )
        )[-1]
    fit(run)
    return run.directory


@pytest.fixture
def home(trained, tmp_path):
    """Return a copy of that run."""
    return shutil.copytree(trained, tmp_path / "seed0")


def certified(home, *options):
    assert main([str(home), "--images", "12", "--epsilon", EPSILONS, *options]) == 0
    return json.loads((home / "certificate.json").read_text())


@pytest.mark.parametrize("method", ["crown", "ibp"])
def test_a_run_is_certified_and_the_certificate_kept_in_its_home(home, method, capsys):
    found = certified(home, "--method", method)
    record = json.loads((home / "record.json").read_text())
    assert found["config_hash"] == record["config_hash"]
    assert (found["method"], found["images"]) == (method, 12)
    assert [result["epsilon"] for result in found["results"]] == [0.0001, 0.001, 0.02]
    for result in found["results"]:
        assert result["certified_accuracy"] <= result["attacked_accuracy"]
        assert result["attacked_accuracy"] <= result["clean_accuracy"]
    assert found["results"][0]["bounded_images"] == round(
        12 * found["results"][0]["clean_accuracy"] / 100
    )
    assert found["results"][0]["certified_accuracy"] > 0
    # What was not certified for one epsilon is not looked at for a larger one.
    counts = [round(12 * result["certified_accuracy"] / 100) for result in found["results"]]
    assert [result["bounded_images"] for result in found["results"][1:]] == counts[:-1]
    assert found["results"][0]["mean_width"] < found["results"][1]["mean_width"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].split()[0] == "0.0001"
    read = Certificate.read(home / "certificate.json")
    assert read.results[0].certified_accuracy == found["results"][0]["certified_accuracy"]


def test_the_same_certificate_is_not_made_again_and_another_one_keeps_it(home, capsys):
    first = certified(home, "--method", "ibp")
    capsys.readouterr()
    assert certified(home, "--method", "ibp") == first
    assert "holds this already" in capsys.readouterr().out
    certified(home, "--method", "ibp", "--images", "13")
    (kept,) = home.glob("certificate.before-*.json")
    assert json.loads(kept.read_text()) == first


def test_a_certificate_is_the_same_when_it_is_made_again(home):
    first = certified(home)
    (home / "certificate.json").unlink()
    again = certified(home)
    for result in first["results"] + again["results"]:
        del result["bound_seconds"], result["attack_seconds"]
    assert first["results"] == again["results"]


def test_an_attack_that_breaks_a_certificate_is_an_error(home, monkeypatch):
    def certify_all(self, lower, upper, rows, method):
        return torch.ones(len(lower), rows.shape[1], dtype=torch.float64)

    monkeypatch.setattr(BoundedNetwork, "lower_bounds", certify_all)
    monkeypatch.setattr(robustness, "attack", lambda *a, **_: torch.ones(len(a[3]), dtype=bool))
    with pytest.raises(RuntimeError, match="the attack broke an image that had been certified"):
        certify.certify(home, [0.01], images=4)
    assert not (home / "certificate.json").exists()


def refusal(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("pade_bench.certify: ")
    return error


@pytest.mark.parametrize("epsilon", ["-0.1", "nan", "inf", "1.5", "small", "0.1,", "", "0,01"])
def test_what_is_no_epsilon_is_refused(home, epsilon, capsys):
    error = refusal(capsys, home, f"--epsilon={epsilon}")
    assert "is not a number from 0 to 1" in error


@pytest.mark.parametrize(("images", "message"), [("0", "not a positive"), ("9999", "test images")])
def test_images_that_there_are_not_are_refused(home, images, message, capsys):
    assert message in refusal(capsys, home, "--images", images)


def test_a_run_that_has_diverged_is_refused(home, capsys):
    forge_record(home, lambda record: record.update(status="diverged", test_accuracy=None))
    assert "diverged: there is nothing to certify" in refusal(capsys, home)


def test_a_run_that_is_not_finished_is_refused(home, capsys):
    (home / "record.json").unlink()
    assert "the run is not finished" in refusal(capsys, home)


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert "no run directory" in refusal(capsys, tmp_path)


def test_a_network_with_an_activation_without_bounds_is_refused_with_its_place(home, capsys):
    def change(config):
        config["activation"] = {"_target_": "torch.nn.Hardtanh"}

    forge_config(home, change)

    def without_units(checkpoint):
        state = checkpoint["state_dict"]
        for key in [key for key in state if "numerator" in key or "denominator" in key]:
            del state[key]

    forge_checkpoint(home / "last.ckpt", without_units)
    assert main([str(home), "--images", "2"]) == 2
    assert "1 (Hardtanh): Hardtanh has no bounds" in capsys.readouterr().err


def test_coefficients_that_are_not_finite_are_refused(home, capsys):
    def break_unit(checkpoint):
        key = next(key for key in checkpoint["state_dict"] if key.endswith("numerator"))
        checkpoint["state_dict"][key][0] = torch.nan

    forge_checkpoint(home / "last.ckpt", break_unit)
    assert main([str(home), "--images", "2"]) == 2
    assert "numerator holds values that are not finite" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", "no JSON", '{"results": 3, "checksum": "0"}'])
def test_what_is_no_certificate_is_not_read_as_one(tmp_path, text):
    (tmp_path / "certificate.json").write_text(text)
    with pytest.raises(ValueError, match=r"certificate\.json"):
        Certificate.read(tmp_path / "certificate.json")
