"""Precision, compilation, accumulation and several devices."""

import subprocess
import sys

import pytest
import torch

from pade_bench import PAU
from pade_bench.errors import ConfigurationError
from pade_bench.training import fit
from pade_bench.training.fit import make_classifier

SHORT = ("activation=pau", "optim=sgd", "trainer.accelerator=cpu")


def weights(run):
    return torch.load(run.checkpoint, weights_only=True)["state_dict"]


def assert_same_weights(a, b, **tolerance):
    found, expected = weights(a), weights(b)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name, **tolerance)


def test_accumulated_batches_train_like_one_batch_of_their_size(tiny_run):
    together = tiny_run(*SHORT, "data.batch_size=128")
    # 1,437 images: the last step has one small batch where the others have two.
    in_parts = tiny_run(*SHORT, "data.batch_size=64", "trainer.accumulate_batches=2")
    fit(together)
    fit(in_parts)
    assert_same_weights(in_parts, together, rtol=1e-4, atol=1e-6)


def test_autocast_trains_float32_weights_to_about_the_same_loss(tiny_run):
    runs = [tiny_run("activation=pau", f"trainer.precision={p}") for p in ("fp32", "bf16")]
    losses = [fit(run).train_loss_per_epoch[-1] for run in runs]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert {value.dtype for value in weights(runs[1]).values()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_a_pade_unit_computes_in_float32(dtype):
    unit = PAU()
    x = torch.linspace(-4, 4, 1000).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype):
        y = unit(x)
    y.float().sum().backward()
    x32 = x.detach().float().requires_grad_()
    exact = PAU()
    expected = exact(x32)
    expected.sum().backward()
    assert y.dtype == dtype
    assert torch.equal(y, expected.to(dtype))
    assert torch.equal(x.grad, x32.grad.to(dtype))
    assert torch.equal(unit.numerator.grad, exact.numerator.grad)
    assert torch.equal(unit.denominator.grad, exact.denominator.grad)


def test_compiling_keeps_the_names_of_the_weights(tiny_run):
    compiled = make_classifier(tiny_run("trainer.compile=true"))
    plain = make_classifier(tiny_run())
    assert compiled.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.slow
def test_a_compiled_network_trains_like_an_eager_one(tiny_run):
    eager, compiled = tiny_run(*SHORT), tiny_run(*SHORT, "trainer.compile=true")
    fit(eager)
    fit(compiled)
    assert_same_weights(compiled, eager, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("trainer.accelerator=cuda", "no CUDA device"),
        ("trainer.precision=fp16", r"trainer\.precision=fp16: float16 is for CUDA devices"),
    ],
)
def test_what_the_machine_cannot_do_is_refused_before_the_home_exists(setting, complaint, tiny_run):
    run = tiny_run(setting)
    with pytest.raises(ConfigurationError, match=complaint):
        fit(run)
    assert not run.directory.exists()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("trainer.devices=2", "trainer=ddp"),
        ("trainer.devices=0", r"trainer\.devices=0: must be"),
        ("trainer.precision=bf17", "Did you mean 'bf16'"),
        ("trainer.strategy=dpd", "Did you mean 'ddp'"),
        ("trainer.accumulate_batches=0", r"trainer\.accumulate_batches=0: must be"),
    ],
)
def test_impossible_settings_are_refused_when_the_configuration_is_composed(
    setting, complaint, make_run
):
    with pytest.raises(ConfigurationError, match=complaint):
        make_run(setting)


def command_line(run, *overrides):
    arguments = [*overrides, "trainer.max_epochs=2", f"runs_dir={run.config.runs_dir}"]
    command = [sys.executable, "-m", "pade_bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_two_processes_train_the_same_network_as_one_with_the_doubled_batch(tiny_run):
    alone = tiny_run(*SHORT, "data.batch_size=64")
    fit(alone)
    settings = (*SHORT, "data.batch_size=32", "trainer=ddp", "trainer.devices=2")
    together = tiny_run(*settings)
    result = command_line(together, *settings)
    assert result.returncode == 0, result.stderr
    assert_same_weights(together, alone, rtol=1e-4, atol=1e-6)
    records = [run.record() for run in (together, alone)]
    for name in ("train_loss_per_epoch", "test_accuracy_per_epoch"):
        assert getattr(records[0], name) == pytest.approx(getattr(records[1], name), rel=1e-4)
    assert result.stdout.count("epoch 1/2") == 1


def test_a_sweep_of_runs_on_several_devices_is_refused_with_the_command_to_use(tmp_path):
    command = [sys.executable, "-m", "pade_bench", "-m", "trainer=ddp", "seed=1,2"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "python -m pade_bench trainer=ddp seed=1" in result.stderr
    assert not list(tmp_path.glob("runs/digits_lenet/*"))
