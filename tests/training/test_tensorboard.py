"""What TensorBoard finds in a run."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from torch.nn import functional as F

from pade_bench import PAU, build_model, load_run
from pade_bench.report.figures.style import look
from pade_bench.training import fit
from pade_bench.training.fit import make_data
from pade_bench.training.module import Classifier
from pade_bench.training.tensorboard import named_values


def events(run):
    accumulator = EventAccumulator(str(run.directory), size_guidance={"images": 0, "scalars": 0})
    return accumulator.Reload()


def test_curves_coefficients_figures_and_hyperparameters_are_written(tiny_run):
    run = tiny_run("activation=pau")
    record = fit(run)
    found = events(run)
    accuracy = [(e.step, e.value) for e in found.Scalars("accuracy/test")]
    assert accuracy == [
        (i + 1, pytest.approx(v)) for i, v in enumerate(record.test_accuracy_per_epoch)
    ]
    assert [e.step for e in found.Scalars("loss/train")] == [1, 2]
    coefficients = [t for t in found.Tags()["scalars"] if t.startswith("parameters_of_layer_")]
    assert len(coefficients) == 40
    a0 = found.Scalars("parameters_of_layer_1/a0")
    assert [e.step for e in a0] == [0, 1, 2]
    assert a0[0].value == pytest.approx(PAU().numerator[0].item())
    images = found.Images("activations")
    assert [e.step for e in images] == [0, 1, 2]
    # Four panels in two columns; the card needs the size.
    assert {(image.width, image.height) for image in images} == {(520, 550)}
    assert images[0].encoded_image_string != images[2].encoded_image_string

    plugin = found.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(plugin).session_start_info.hparams
    assert settings["activation"].string_value == "pau"
    assert settings["optim.weights.lr"].number_value == 0.002
    plugin = found.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(plugin).experiment
    assert {m.name.tag for m in experiment.metric_infos} == {"accuracy/test", "loss/train"}
    # The page shows these first: among them what the run changes.
    assert {info.name for info in experiment.hparam_infos if info.differs} == {
        "experiment", "activation", "seed", "trainer.max_epochs",
    }  # fmt: skip
    assert status(found) == "STATUS_SUCCESS"


def test_rates_and_what_else_an_epoch_shows_are_written(tiny_run):
    run = tiny_run("activation=pau", "optim.weights.lr_decay=0.5")
    fit(run)
    found = events(run)
    curves = {
        name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]
    }
    # The rate by which an epoch was trained, not that of the next.
    assert curves["learning_rate/weights"] == [(1, pytest.approx(2e-3)), (2, pytest.approx(1e-3))]
    assert curves["learning_rate/pade_coefficients"][1][1] == pytest.approx(1.8e-3)
    assert 0 < curves["accuracy/train"][0][1] < curves["accuracy/train"][1][1] <= 100
    # The loss of the network that is left, on the test set as it is.
    data, trained = make_data(run), load_run(run.directory)
    data.prepare_data()
    data.setup("fit")
    with torch.no_grad():
        losses = [
            (F.cross_entropy(trained(x), y, reduction="sum").item(), len(y))
            for x, y in data.val_dataloader()
        ]
    expected = sum(loss for loss, _ in losses) / sum(n for _, n in losses)
    assert curves["loss/test"][1] == (2, pytest.approx(expected, rel=1e-5))


@pytest.mark.parametrize("activation", ["pau", "prelu"])
def test_the_pictures_of_a_run_have_the_color_of_its_activation(activation, tiny_run):
    run = tiny_run(f"activation={activation}", "trainer.max_epochs=1")
    fit(run)
    pictures = [image.encoded_image_string for image in events(run).Images("activations")]
    pictures.append((run.directory / "activations.png").read_bytes())
    for picture in pictures:
        pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
        for other in ("pau", "prelu"):
            color = ImageColor.getrgb(look(other).color)
            assert (pixels == color).all(axis=-1).any() == (other == activation)


def status(found):
    """Return how a run ended, as the HParams page knows it."""
    plugin = found.summary_metadata[metadata.SESSION_END_INFO_TAG].plugin_data.content
    info = plugin_data_pb2.HParamsPluginData.FromString(plugin).session_end_info
    return api_pb2.Status.Name(info.status)


def test_a_diverged_run_is_a_failure_in_the_hyperparameters(tiny_run):
    run = tiny_run("activation=slaf", "optim.weights.lr=1000")
    assert fit(run).status == "diverged"
    assert status(events(run)) == "STATUS_FAILURE"


def test_fixed_activations_have_no_figures(tiny_run):
    run = tiny_run("activation=relu", "trainer.max_epochs=1")
    fit(run)
    assert set(events(run).Tags()["scalars"]) == {
        "accuracy/test", "accuracy/train", "loss/test", "loss/train", "learning_rate/weights",
    }  # fmt: skip
    assert not events(run).Tags()["images"]
    assert not (run.directory / "activations.png").exists()


def test_an_interrupted_epoch_leaves_no_event_twice(tiny_run, monkeypatch):
    run = tiny_run("activation=pau")
    save = Classifier.on_save_checkpoint

    def dies_after_the_events(self, checkpoint):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        save(self, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "on_save_checkpoint", dies_after_the_events)
        with pytest.raises(KeyboardInterrupt):
            fit(run)
    fit(run)
    assert [e.step for e in events(run).Scalars("accuracy/test")] == [1, 2]
    assert [e.step for e in events(run).Scalars("parameters_of_layer_4/b4")] == [0, 1, 2]


def test_coefficients_carry_the_papers_names():
    unit = PAU()
    names = dict(named_values(unit))
    assert list(names) == ["a0", "a1", "a2", "a3", "a4", "a5", "b1", "b2", "b3", "b4"]
    assert names["b2"] == unit.denominator[1].item()
    prelu = build_model("lenet", "prelu")[1]
    assert dict(named_values(prelu)) == {"weight_0": 0.25}


def test_the_saved_arrays_are_the_functions_of_the_trained_network(tiny_run):
    run = tiny_run("activation=pau")
    fit(run)
    arrays = np.load(run.directory / "activations.npz")
    assert sum(key.endswith("/y") for key in arrays) == 4
    for i in range(4):
        x, y, start = (arrays[f"{i}/{name}"] for name in ("x", "y", "start"))
        assert x.shape == y.shape == start.shape
        width = np.diff(arrays[f"{i}/edges"])
        assert math.isclose((arrays[f"{i}/density"] * width).sum(), 1, rel_tol=1e-6)
        assert not np.allclose(y, start)
        a = PAU()
        expected = np.polyval(a.numerator.detach().numpy()[::-1], x) / (
            1 + abs(np.polyval([*a.denominator.detach().numpy()[::-1], 0], x))
        )
        np.testing.assert_allclose(start, expected, rtol=1e-4, atol=1e-5)
