"""What a training step asks of a device, seen on torch's meta device.

It refuses, as a GPU whose step is recorded does, to mix tensors with those of the CPU and to tell a
value; and it computes nothing.
"""

import importlib

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from pade_bench import build_model
from pade_bench.config.schema import OptimConfig, ParameterGroupConfig
from pade_bench.errors import ConfigurationError
from pade_bench.training.graphed import GraphedClassifier
from pade_bench.training.optimizers import place_optimizer
from pade_bench.training.trainer import check_devices

ACTIVATIONS = [
    *("relu", "relu6", "lrelu", "rrelu", "elu", "celu", "swish", "prelu", "maxout", "mixture"),
    *("apl", "srelu", "slaf", "pau", "rpau", "gelu", "mish", "selu", "softplus", "tanh", "sigmoid"),
]
META = torch.device("meta")


def classifier(
    model="lenet", activation="relu", optimizer="Adam", channels=1, kind=GraphedClassifier, **named
):
    group = ParameterGroupConfig(1e-3)
    arguments = {"momentum": 0.9} if optimizer == "SGD" else {}
    target = f"torch.optim.{optimizer}"
    optim = OptimConfig(target, arguments, group, group, gradient_clip_norm=5.0)
    network = build_model(model, activation, in_channels=channels)
    return kind(network, nn.ReLU, optim, epochs=1, seed=0, **named)


@pytest.fixture(autouse=True)
def capturable(monkeypatch):
    """Let Adam be capturable on the meta device too."""
    module = importlib.import_module("torch.optim.adam")
    monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda **_: ["meta"])


def assert_runs_on_the_device_alone(module, channels=1, batches=1):
    module.to(META).on_fit_start()
    (module._optimizer,), _ = module.configure_optimizers()
    place_optimizer(module._optimizer, META)
    images = torch.empty(4, channels, 32, 32, device=META)
    labels = torch.empty(4, dtype=torch.int64, device=META)
    for _ in range(2):  # the first step of an optimizer makes its state
        module._step(*(images, labels) * batches)
    assert {tensor.device for tensor in module._changed_by_step()} == {META}
    module.eval()
    with torch.inference_mode():
        module._count(images, labels)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_of_each_activation_neither_waits_nor_leaves_the_device(activation):
    assert_runs_on_the_device_alone(classifier(activation=activation))


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_a_step_of_accumulated_batches_stays_on_the_device(optimizer):
    module = classifier(activation="rpau", optimizer=optimizer, accumulate=2)
    assert_runs_on_the_device_alone(module, batches=2)


@pytest.mark.parametrize("model", ["vgg8", "mobilenetv2", "resnet101", "densenet121"])
def test_a_step_of_each_network_neither_waits_nor_leaves_the_device(model):
    assert_runs_on_the_device_alone(classifier(model, "pau", "SGD", channels=3), channels=3)


def test_what_a_step_adds_to_lies_on_the_device_to_which_lightning_moves_the_network(monkeypatch):
    class Stop(Exception):
        """Ends a training before its first step."""

    class Prepared(GraphedClassifier):
        def on_fit_start(self):
            super().on_fit_start()
            raise Stop

    monkeypatch.setattr(CPUAccelerator, "setup_device", lambda self, device: None)
    # At the end it moves the network back, which the meta device has forgotten.
    monkeypatch.setattr(SingleDeviceStrategy, "teardown", lambda self: None)
    strategy = SingleDeviceStrategy(META, CPUAccelerator())
    trainer = pl.Trainer(strategy=strategy, max_epochs=1, logger=False,
                         enable_checkpointing=False, enable_model_summary=False)  # fmt: skip
    module = classifier(kind=Prepared)
    with pytest.raises(Stop):
        trainer.fit(module, [(torch.empty(1, 1, 32, 32), torch.zeros(1, dtype=torch.int64))])
    tensors = [value for value in vars(module).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) >= 2
    assert {tensor.device for tensor in tensors} == {META}


@pytest.mark.parametrize(
    ("built_for", "capability", "runs"),
    [
        (["sm_75", "sm_90"], (9, 0), True),
        (["sm_75", "sm_80"], (8, 9), True),  # machine code runs on later GPUs of its generation
        (["sm_75", "sm_90a"], (8, 9), False),
        (["sm_75", "compute_75"], (9, 0), True),  # PTX is compiled by the driver
        (["sm_75", "compute_90"], (7, 0), False),
        (["gfx90a"], (9, 0), True),  # AMD's
        ([], (6, 1), True),
    ],
)
def test_a_gpu_for_which_torch_has_no_code_is_refused(
    built_for, capability, runs, tiny_run, monkeypatch
):
    for name, value in {
        "device_count": lambda: 1,
        "get_arch_list": lambda: built_for,
        "get_device_capability": lambda: capability,
        "get_device_name": lambda: "NVIDIA GPU",
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    config = tiny_run("trainer.accelerator=cuda").config
    if runs:
        return check_devices(config)
    complaint = "NVIDIA GPU has compute capability .* built for sm_75.*trainer.accelerator=cpu"
    with pytest.raises(ConfigurationError, match=complaint):
        check_devices(config)
