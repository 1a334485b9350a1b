"""Steps that are replayed as graphs leave the record that steps one by one leave.

There is no GPU here: a stand-in takes the place of CUDA's capture, and everything around it is what
runs on a GPU. The stand-in records by calling the function, as CUDA's does without running the
kernels, and replays by calling it again with what Python had decided while it was recorded.
"""

import contextlib
import io
import json
import sys

import pytest
import torch

from pade_bench.errors import ConfigurationError
from pade_bench.training import fit, graphed
from pade_bench.training.checkpoints import add_digest
from pade_bench.training.graphed import GraphedClassifier
from pade_bench.training.module import Classifier
from pade_bench.training.optimizers import place_optimizer
from pade_bench.training.trainer import check_devices, uses_graphs

FIT = sys.modules["pade_bench.training.fit"]


class Recorded:
    """One function, with the memory that it works on and the numbers that it works with."""

    def __init__(self, capture, function, classifier):
        self.capture, self.function, self.classifier = capture, function, classifier
        self.numbers = self._numbers()
        self.addresses = self._addresses()
        self.wrong = None

    def _numbers(self):
        groups = self.classifier.trainer.optimizers[0].param_groups
        return [{k: v for k, v in group.items() if k != "params"} for group in groups]

    def _addresses(self):
        replayed = self.classifier._train, self.classifier._test
        buffers = [tensor for part in replayed for tensor in part.inputs]
        tensors = [*self.classifier._changed_by_step(), *self.classifier._test.changes(), *buffers]
        return {tensor.data_ptr() for tensor in tensors}

    def replay(self):
        assert (
            self.addresses <= self._addresses()
        )  # what a graph reads and writes stays where it is
        self.capture.replays += 1
        optimizer, now = self.classifier.trainer.optimizers[0], self._numbers()
        for group, numbers in zip(optimizer.param_groups, self.numbers, strict=True):
            group.update(numbers)
        if self.wrong is not None:
            self.wrong.add_(1)
        self.function()
        for group, numbers in zip(optimizer.param_groups, now, strict=True):
            group.update(numbers)


class PlainCapture:
    """Stands for :class:`pade_bench.ops.graph.CudaCapture`."""

    classifier = None
    last = None

    def __init__(self, device):
        self.rehearsals = self.records = self.replays = 0
        type(self).last = self

    def rehearse(self, function, strict):
        self.rehearsals += 1
        function()

    def __call__(self, function):
        self.records += 1
        function()
        return Recorded(self, function, self.classifier)


@pytest.fixture
def with_graphs(monkeypatch):
    """Return a context in which runs are trained with the stand-in, or another."""

    def patched(capture=PlainCapture):
        patch = pytest.MonkeyPatch()
        start = GraphedClassifier.on_train_start

        def on_train_start(self):
            PlainCapture.classifier = self
            start(self)

        patch.setattr(graphed, "CudaCapture", capture)
        patch.setattr(GraphedClassifier, "on_train_start", on_train_start)
        patch.setattr(FIT, "uses_graphs", lambda config: True)
        # Three batches of LeNet on the digits, so that there are chunks, and a shorter one.
        patch.setattr("pade_bench.data.module.BYTES_AT_ONCE", 3 * 4 * 64 * 32 * 32)
        return patch

    patches = []

    class Graphs:
        def __init__(self, capture=PlainCapture):
            self.capture = capture

        def __enter__(self):
            patches.append(patched(self.capture))

        def __exit__(self, *_):
            patches.pop().undo()

    yield Graphs
    assert not patches


def everything(run):
    """Return what a run leaves, without wall times, provenance and Lightning's counters."""
    record = json.loads((run.directory / "record.json").read_text())
    others = ("provenance", "checksum")
    record = {k: v for k, v in record.items() if "wall" not in k and k not in others}
    content = torch.load(run.checkpoint, weights_only=True) if run.checkpoint.exists() else {}
    kept = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch")
    return record, {key: content.get(key) for key in kept}


def assert_same(found, expected, where=""):
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for i, value in enumerate(expected):
            assert_same(found[i], value, f"{where}[{i}]")
    else:
        assert found == expected, where


SETTINGS = {
    "schedules": ("optim=sgd_cifar10", "optim.pade_coefficients.lr_milestones=[1]"),
    "noise, Adam, clipping": ("activation=rpau", "optim.weights.lr_decay=0.9"),
    "RReLU's noise": ("activation=rrelu", "optim=sgd", "optim.momentum=0.9"),
    "accumulation": ("activation=relu", "trainer.accumulate_batches=4"),
    "bfloat16": ("activation=pau", "trainer.precision=bf16"),
    "one batch": ("activation=rrelu", "data.batch_size=2000"),
    "diverged": ("activation=slaf", "optim=sgd", "optim.weights.lr=1e6"),
}  # fmt: skip


PLAIN = {}  # what runs without graphs left, by their settings


@pytest.fixture
def pair(tiny_run, tmp_path):
    """Return a function from overrides to a run of them, and what it leaves without graphs.

    An epoch has 1,437 images: 22 batches of 64 and one of 29; its test 360: five and one of 40.
    """

    def make(*overrides):
        overrides = ("data.batch_size=64", *overrides)
        if overrides not in PLAIN:
            plain = tiny_run(*overrides, f"runs_dir={tmp_path / 'plain'}")
            fit(plain)
            PLAIN[overrides] = everything(plain)
        return tiny_run(*overrides), PLAIN[overrides]

    return make


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_run_with_graphs_leaves_the_bits_of_one_without(settings, pair, with_graphs, capsys):
    run, plain = pair(*settings)
    with with_graphs():
        fit(run)
    assert_same(everything(run), plain)
    assert PlainCapture.last.replays >= PlainCapture.last.records >= 1
    assert "trainer.cuda_graph" not in capsys.readouterr().out


@pytest.mark.parametrize(("decay", "records"), [(1.0, 2), (0.9, 3)])
def test_all_but_the_first_step_and_smaller_batches_are_replayed(
    decay, records, tiny_run, with_graphs
):
    settings = ("data.batch_size=64", "activation=rrelu", f"optim.weights.lr_decay={decay}")
    with with_graphs():
        fit(tiny_run(*settings))
    capture = PlainCapture.last
    assert capture.replays == (2 * 22 - 1) + (2 * 5 - 1)
    # Of the step and of the test, and of the step again for another learning rate.
    assert (capture.records, capture.rehearsals) == (records, 4)


@pytest.mark.parametrize(("before", "after"), [(True, True), (True, False), (False, True)])
def test_a_run_resumes_with_graphs_or_without_to_the_same_bits(
    before, after, pair, with_graphs, fit_until, monkeypatch
):
    cut, plain = pair("activation=rpau", "optim.weights.lr_decay=0.9")

    def interrupt(self, batch, index):
        if self.current_epoch == 1 and index == 1:
            raise OSError("the process ends")
        return step(self, batch, index)

    with contextlib.ExitStack() as stack:
        kind = GraphedClassifier if before else Classifier
        step = kind.training_step
        patch = stack.enter_context(monkeypatch.context())
        patch.setattr(kind, "training_step", interrupt)
        if before:
            stack.enter_context(with_graphs())
        with pytest.raises(OSError, match="the process ends"):
            fit(cut)
    with with_graphs() if after else contextlib.nullcontext():
        fit(cut)
    assert_same(everything(cut), plain)


class Refuses(PlainCapture):
    """As CUDA where a network looks at a value while it is recorded."""

    def rehearse(self, function, strict):
        function()
        if strict:
            raise RuntimeError("called a synchronizing CUDA operation\nand more")


class FailsLate(PlainCapture):
    """As CUDA where memory ends while a graph is recorded: what was launched is undone."""

    def __call__(self, function):
        function()
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


class Wrong(PlainCapture):
    """A graph that does not do all that the function does, or more."""

    def __call__(self, function):
        graph = super().__call__(function)
        graph.wrong = self.classifier._loss_sum if self.records == 1 else self.classifier._correct
        return graph


@pytest.mark.parametrize(
    ("capture", "reason"),
    [
        (Refuses, "called a synchronizing CUDA operation"),
        (FailsLate, "CUDA out of memory. Tried to allocate 2 GiB"),
        (Wrong, "replaying it gives other bits than calling it."),
    ],
)
def test_where_there_can_be_no_graph_the_run_goes_on_and_says_why_once(
    capture, reason, pair, with_graphs, capsys
):
    run, plain = pair("activation=rpau", "optim.weights.lr_decay=0.9")
    capsys.readouterr()
    with with_graphs(capture):
        fit(run)
    assert_same(everything(run), plain)
    said = [line for line in capsys.readouterr().out.splitlines() if "cuda_graph" in line]
    assert said[0] == f"trainer.cuda_graph: a training step is not one CUDA graph: {reason}"
    assert len(said) == len(set(said)) <= 2  # the test of a batch may say so too


@pytest.mark.slow
def test_a_compiled_network_is_recorded_to_the_same_bits(pair, with_graphs):
    run, plain = pair("activation=pau", "trainer.compile=true")
    torch.compiler.reset()
    with with_graphs():
        fit(run)
    assert_same(everything(run), plain)


def test_whether_there_are_graphs_makes_no_other_run(tiny_run):
    run = tiny_run()
    for value in ("true", "false"):
        other = tiny_run(f"trainer.cuda_graph={value}")
        assert other.directory == run.directory
        assert other.config_hash == run.config_hash
    assert run.config.trainer.cuda_graph == "auto"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (("trainer.accelerator=cpu",), "this run is on the CPU"),
        (("trainer=ddp", "trainer.accelerator=cuda"), "several processes train it together"),
        (("trainer.precision=fp16", "trainer.accelerator=cuda"), "waits for the GPU"),
        (("optim=adagrad", "trainer.accelerator=cuda"), "torch.optim.Adagrad may compute on the"),
    ],
)
def test_a_graph_that_cannot_be_is_refused_if_demanded(settings, complaint, tiny_run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    demanding = tiny_run(*settings, "trainer.cuda_graph=true").config
    with pytest.raises(ConfigurationError, match=rf"trainer\.cuda_graph=true: .*{complaint}"):
        check_devices(demanding)
    modest = tiny_run(*settings).config
    check_devices(modest)
    assert not uses_graphs(modest)


def test_on_one_gpu_there_are_graphs_unless_refused(tiny_run):
    on_gpu = ("trainer.accelerator=cuda", "trainer.precision=bf16")
    for value, expected in (("auto", True), ("true", True), ("false", False)):
        config = tiny_run(*on_gpu, f"trainer.cuda_graph={value}").config
        assert uses_graphs(config) == expected


def test_another_value_is_refused(make_run):
    with pytest.raises(ConfigurationError, match=r"trainer\.cuda_graph.*auto, true, false.*'true'"):
        make_run("trainer.cuda_graph=ture")


def test_a_checkpoint_of_a_gpu_goes_on_on_the_cpu_to_the_same_bits(pair, fit_until):
    run, plain = pair("activation=rpau", "optim.weights.lr_decay=0.9")
    fit_until(run, epoch=1, step=0)
    # As a GPU leaves it: it has counted Adam's steps itself.
    content = torch.load(run.checkpoint, weights_only=True)
    for group in content["optimizer_states"][0]["param_groups"]:
        assert group["capturable"] is False
        group["capturable"] = True
    with io.BytesIO() as file:
        torch.save(content, file)
        add_digest(file)
        run.checkpoint.write_bytes(file.getvalue())
    fit(run)
    assert_same(everything(run), plain)


def test_an_optimizer_of_the_cpu_is_placed_on_another_device():
    parameter = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.Adam([parameter], lr=0.1)
    parameter.grad = torch.ones(3)
    adam.step()
    assert adam.state[parameter]["step"].device.type == "cpu"
    place_optimizer(adam, torch.device("meta"))
    assert adam.param_groups[0]["capturable"]
    assert adam.state[parameter]["step"].device.type == "meta"
    sgd = torch.optim.SGD([parameter], lr=0.1)
    place_optimizer(sgd, torch.device("meta"))
    assert "capturable" not in sgd.param_groups[0]


def test_on_a_gpu_one_kernel_makes_the_step_of_all_parameters_unless_told_otherwise():
    image, row = torch.nn.Parameter(torch.ones(2, 3, 4, 4)), torch.nn.Parameter(torch.ones(3))
    with_gaps = torch.nn.Parameter(torch.ones(6)[::2])
    for make in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        placed = {}
        for device in ("cuda", "cpu"):
            for name, parameters, settings in (
                ("plain", [image, row], {}),
                ("foreach", [row], {"foreach": True}),
                ("off", [row], {"fused": False}),
                ("gaps", [with_gaps], {}),
            ):
                optimizer = make(parameters, lr=0.1, **settings)
                # As a checkpoint of the other device has it.
                place_optimizer(optimizer, torch.device("cuda" if device == "cpu" else "cpu"))
                place_optimizer(optimizer, torch.device(device))
                placed[name, device] = optimizer.param_groups[0]["fused"]
        assert placed.pop(("plain", "cuda")) is True
        assert placed.pop(("off", "cuda")) is False
        assert placed.pop(("off", "cpu")) is False
        assert set(placed.values()) == {None}
    adagrad = torch.optim.Adagrad([row], lr=0.1)  # has none for a GPU
    place_optimizer(adagrad, torch.device("cuda"))
    assert adagrad.param_groups[0]["fused"] is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_on_a_gpu_a_run_with_graphs_leaves_the_bits_of_one_without(settings, tiny_run, tmp_path):
    runs = [
        tiny_run("data.batch_size=64", *settings, "trainer.accelerator=cuda",
                 f"trainer.cuda_graph={graph}", f"runs_dir={tmp_path / graph}")
        for graph in ("true", "false")
    ]  # fmt: skip
    for run in runs:
        fit(run)
    assert_same(*map(everything, runs))
