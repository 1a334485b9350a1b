"""A run on CIFAR-10 in its real format: trained, resumed to the same bits, scored again."""

import pytest
import torch
from cifar_files import CIFARFiles

from pade_bench.evaluate import evaluate
from pade_bench.training import fit


def test_vgg8_trains_resumes_to_the_same_bits_and_is_scored_again(
    make_run, tmp_path, monkeypatch, fit_until
):
    CIFARFiles.official(monkeypatch).write(tmp_path / "data" / "cifar-10-batches-py")
    whole, cut = (
        make_run(
            "experiment=cifar10_vgg8", "activation=pau", "trainer.max_epochs=2",
            f"data.root={tmp_path / 'data'}", f"runs_dir={tmp_path / name}",
        )
        for name in ("whole", "cut")
    )  # fmt: skip
    record = fit(whole)
    assert record.status == "finished"
    assert (record.parameters, record.activation_layers) == (3_918_908, 5)
    assert record.test_top5_accuracy is None
    assert record.images is None
    fit_until(cut, epoch=1, step=1)
    assert fit(cut).train_loss_per_epoch == record.train_loss_per_epoch
    weights = [torch.load(run.checkpoint, weights_only=True)["state_dict"] for run in (whole, cut)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    now, recorded, images = evaluate(cut.directory)
    assert images == 20
    assert now == pytest.approx(recorded)
