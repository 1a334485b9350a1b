"""The accuracy on images that are set apart, beside that on the test split."""

import json

import pytest
import torch

from pade_bench.errors import ConfigurationError
from pade_bench.runs.record import Record
from pade_bench.training import fit
from pade_bench.training.fit import make_classifier, make_data

DIVIDED = ("activation=relu", "data.validation=437", "data.batch_size=200")


def accuracy(network, loader):
    network.eval()
    with torch.no_grad():
        right = [(network(images).argmax(1) == labels).float() for images, labels in loader]
    return 100 * torch.cat(right).mean().item()


def test_a_run_measures_both_and_no_more_than_a_setting_of_its_own(tiny_run, capsys):
    run = tiny_run(*DIVIDED)
    record = fit(run)
    assert f"validation {record.validation_accuracy:.2f} %" in capsys.readouterr().out
    data = make_data(run)
    data.setup()
    classifier = make_classifier(run)
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    classifier.load_state_dict(checkpoint["state_dict"])
    test, validation = data.val_dataloader()
    assert record.test_accuracy == pytest.approx(accuracy(classifier, test))
    assert record.validation_accuracy == pytest.approx(accuracy(classifier, validation))
    assert record.validation_accuracy_per_epoch[-1] == record.validation_accuracy
    assert Record.read(run.directory / "record.json") == record
    stored = json.loads((run.directory / "record.json").read_text())
    assert stored["changes"]["data.validation"] == 437


def test_an_interrupted_run_goes_on_to_the_same_bits(tiny_run, fit_until):
    run = tiny_run(*DIVIDED)
    fit_until(run, 1, 1)
    record = fit(run)
    again = tiny_run(*DIVIDED, f"runs_dir={run.directory.parents[2]}/again")
    assert list(fit(again).validation_accuracy_per_epoch) == list(
        record.validation_accuracy_per_epoch
    )


def test_a_run_without_has_none_and_its_old_hash(tiny_run):
    run = tiny_run("activation=relu", "data.batch_size=512")
    assert run.config_hash == tiny_run("data.validation=0", "activation=relu",
                                       "data.batch_size=512").config_hash  # fmt: skip
    assert fit(run).validation_accuracy is None
    assert "validation_accuracy" not in json.loads((run.directory / "record.json").read_text())


@pytest.mark.parametrize("value", ["-1", "many", "1.5", "true"])
def test_another_number_is_refused(value, make_run):
    with pytest.raises(ConfigurationError, match=r"data\.validation=.* must be a whole number of"):
        make_run(f"data.validation={value}")
