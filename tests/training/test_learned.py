"""What is saved of learned activations."""

import numpy as np
import pytest
import torch

from pade_bench.runs.curves import dump_curves, load_curves
from pade_bench.training import fit
from pade_bench.training.fit import make_classifier
from pade_bench.training.learned import measure


def curves(run, noise=None):
    classifier = make_classifier(run)
    images = torch.rand(8, 1, 32, 32)
    return measure(classifier, make_classifier(run).network, images)


def test_the_noise_band_surrounds_the_randomized_unit_only(tiny_run):
    for layer in curves(tiny_run("activation=pau")):
        assert np.array_equal(layer.low, layer.y)
        assert np.array_equal(layer.high, layer.y)
    for layer in curves(tiny_run("activation=rpau", "activation.noise=0.2")):
        assert (layer.low <= layer.y).mean() > 0.95
        assert (layer.high >= layer.y).mean() > 0.95
        assert (layer.high - layer.low).max() > 0.05


def test_looking_does_not_change_what_training_draws(tiny_run):
    torch.manual_seed(0)
    expected = torch.rand(1)
    classifier = make_classifier(tiny_run("activation=rpau"))
    images = torch.rand(8, 1, 32, 32)
    torch.manual_seed(0)
    measure(classifier, classifier.network, images)
    assert torch.equal(torch.rand(1), expected)


def test_curves_survive_the_file(tiny_run, tmp_path):
    saved = curves(tiny_run("activation=rpau"))
    (tmp_path / "a.npz").write_bytes(dump_curves(saved))
    loaded = load_curves(tmp_path / "a.npz")
    for a, b in zip(saved, loaded, strict=True):
        assert a.name == b.name
        for name in ("x", "y", "start", "edges", "density", "low", "high"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_a_run_leaves_curves_that_the_report_can_read(tiny_run):
    run = tiny_run("activation=pau", "trainer.max_epochs=1")
    fit(run)
    assert [layer.name.partition(":")[0] for layer in load_curves(run.directory / "activations.npz")
            ] == ["1", "2", "3", "4"]  # fmt: skip


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(Exception, match=r"(?i)zip"):
        load_curves(tmp_path / "a.npz")
