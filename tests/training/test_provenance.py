"""What a record says of the device is true of the device that trained."""

import ctypes
import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy

from pade_bench.config.compose import parse
from pade_bench.config.fields import to_plain
from pade_bench.errors import ConfigurationError
from pade_bench.evaluate import evaluate
from pade_bench.training import fit, provenance
from pade_bench.training.pruning import fit_chain

FIT = sys.modules["pade_bench.training.fit"]  # the package has a function of this name
# Lightning's teardown leaves the network on the CPU, without a number: another device than this.
TRAINED = torch.device("cpu", 0)


@pytest.fixture
def asked(monkeypatch):
    """Train on ``cpu:0``; return the devices that were asked after the training, and for what."""
    found = {}

    def watch(name, device_of):
        function = getattr(FIT, name)

        def watched(*arguments):
            found.setdefault(name, []).append(device_of(*arguments))
            return function(*arguments)

        monkeypatch.setattr(FIT, name, watched)

    watch("measure", lambda classifier, *_: classifier.device)
    watch("costs", lambda classifier, *_: classifier.device)
    watch("provenance", lambda device, _: device)
    monkeypatch.setattr(SingleDeviceStrategy, "root_device", TRAINED)
    return found


def test_what_follows_the_training_asks_the_device_that_trained(make_runs, asked):
    settings = ("experiment=prune_digits_lenet", "trainer.max_epochs=1", "prune.shares=[30]")
    fit_chain(make_runs(*settings))
    assert asked == {name: [TRAINED] * 2 for name in ("measure", "costs", "provenance")}


def test_a_run_that_lacks_only_its_record_asks_that_device_too(tiny_run, asked):
    run = tiny_run("activation=pau", "trainer.max_epochs=1")
    fit(run)
    (run.directory / "record.json").unlink()
    asked.clear()
    fit(run)
    assert asked == {"measure": [TRAINED], "provenance": [TRAINED]}


@pytest.mark.parametrize(
    ("value", "convolutions", "matmul"),
    [("convolutions", True, False), ("all", True, True), ("none", False, False)],
)
def test_tf32_is_allowed_where_a_run_says(value, convolutions, matmul, tiny_run, monkeypatch):
    found = []
    make_trainer = FIT.make_trainer

    def watch(*arguments):
        found.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return make_trainer(*arguments)

    monkeypatch.setattr(FIT, "make_trainer", watch)
    fit(tiny_run("activation=relu", "trainer.max_epochs=1", f"trainer.tf32={value}"))
    assert found == [(convolutions, matmul)]


def test_tf32_as_in_torch_is_the_run_it_was_before_there_was_the_setting(tiny_run):
    run, other = tiny_run(), tiny_run("trainer.tf32=none")
    before = to_plain(run.config)
    del before["trainer"]["tf32"]
    assert dataclasses.replace(run, config=parse(before)).config_hash == run.config_hash
    assert other.config_hash != run.config_hash
    assert other.changes["trainer.tf32"] == "none"


def test_an_impossible_tf32_is_refused(make_run):
    with pytest.raises(ConfigurationError, match=r"trainer\.tf32.*convolutions, all, none"):
        make_run("trainer.tf32=true")


@pytest.fixture
def gpu(monkeypatch):
    """Let torch and NVIDIA's library answer as they do on a machine with a GPU."""

    class Management:
        def nvmlInit_v2(self):  # noqa: N802
            return 0

        def nvmlSystemGetDriverVersion(self, text, length):  # noqa: N802
            text.value = b"580.159"
            assert length > len(text.value)
            return 0

        def nvmlShutdown(self):  # noqa: N802
            return 0

    monkeypatch.setattr(ctypes, "CDLL", {"libnvidia-ml.so.1": Management()}.__getitem__)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91300)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def test_the_provenance_of_a_gpu_says_what_changes_its_results(gpu):
    found = dataclasses.asdict(provenance.provenance(torch.device("cuda", 0), pade_units=False))
    assert found["device"] == "NVIDIA H200"
    assert found["gpu"] == {
        "count": 1,
        "driver": "580.159",
        "cuda": "13.0",
        "cudnn": 91300,
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
    }
    json.dumps(found, allow_nan=False)


def test_without_a_driver_its_version_is_unknown(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert provenance.driver_version() is None
    failing = SimpleNamespace(nvmlInit_v2=lambda: 9)  # the library without a driver
    monkeypatch.setattr(ctypes, "CDLL", lambda name: failing)
    assert provenance.driver_version() is None


def test_a_run_in_bfloat16_is_scored_in_bfloat16(tiny_run):
    run = tiny_run("activation=pau", "trainer.precision=bf16", "trainer.max_epochs=1")
    fit(run)
    seen = []

    def watch(module, arguments, y):
        if type(module) is torch.nn.Conv2d:
            seen.append(y.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(watch)
    try:
        now, recorded, _ = evaluate(run.directory)
    finally:
        hook.remove()
    assert set(seen) == {torch.bfloat16}
    assert now == recorded
