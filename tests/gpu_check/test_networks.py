"""Steps of networks, with a stand-in for CUDA's capture."""

import pytest
import torch

from pade_bench.gpu_check import networks, units
from pade_bench.gpu_check.networks import Setting
from pade_bench.gpu_check.outcome import Outcome
from pade_bench.ops import cuda

CPU = torch.device("cpu")
LENET = Setting("lenet", 1, 8)


class PlainCapture:
    """Records a function by keeping it, and replays it by calling it."""

    def __init__(self, device):
        pass

    def rehearse(self, function, strict):
        function()

    def __call__(self, function):
        return type("Graph", (), {"replay": staticmethod(function)})()


class RefusingCapture(PlainCapture):
    def __call__(self, function):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")


class ForgetfulCapture(PlainCapture):
    """After the first replay, which is compared, its graph does nothing."""

    def __call__(self, function):
        calls = iter([function])
        return type("Graph", (), {"replay": lambda self: next(calls, lambda: None)()})()


def steps(capture, **arguments):
    found = Outcome()
    networks.steps(found, CPU, [LENET], capture=capture, rounds=1, **arguments)
    return found


def test_a_step_is_timed_with_and_without_graph_and_leaves_the_same_bits():
    found = steps(PlainCapture)
    assert found.sound
    assert len(found.checks) == 8  # ReLU and PAU, in two types, two checks each
    assert [(row["type"], row["activation"]) for row in found.table] == [
        ("float32", "relu"), ("float32", "pau"), ("bfloat16", "relu"), ("bfloat16", "pau"),
    ]  # fmt: skip
    for row in found.table:
        assert row["eager ms"] > 0
        assert row["graph ms"] > 0
    relu, pau = found.table[:2]
    assert relu["graph / ReLU's"] == 1
    assert pau["graph / ReLU's"] == pau["graph ms"] / relu["graph ms"]
    assert pau["met"] == (pau["graph / ReLU's"] <= 1.05)


def test_a_graph_that_cannot_be_or_does_less_is_reported(capsys):
    refused = steps(RefusingCapture)
    assert [check.holds for check in refused.checks[:2]] == [False, True]
    assert refused.checks[0].detail.startswith("CUDA error: operation not permitted")
    assert refused.table[0]["graph ms"] is None
    forgetful = steps(ForgetfulCapture)
    assert [check.holds for check in forgetful.checks[:2]] == [True, False]


def test_the_networks_that_are_compiled_can_be_built_and_make_a_step():
    for setting in networks.COMPILED:
        step = networks.Step(setting._replace(images=2), "pau", torch.float32, CPU)
        before = [value.clone() for value in step.changed()]
        step()
        assert any(
            not torch.equal(a, b) for a, b in zip(before, step.network.parameters(), strict=False)
        )


def test_calls_are_timed_beside_relu_and_prelu(monkeypatch):
    monkeypatch.setattr(cuda, "forward", lambda x, unit: x)
    monkeypatch.setattr(cuda, "backward", lambda grad, x, unit: grad)
    found = Outcome()
    units.calls(found, CPU, in_a_row=2)
    rows = {row["call"]: row for row in found.table}
    assert [*rows][:5] == ["ReLU", "SiLU", "PReLU", "PAU", "RPAU"]
    assert rows["PAU"]["met"] == (rows["PAU"]["µs"] <= rows["PReLU"]["µs"])
    assert rows["ReLU"]["× ReLU"] == 1


def test_passes_are_timed_beside_relu_and_a_copy(monkeypatch):
    monkeypatch.setattr(cuda, "forward", lambda x, unit: x + 1)
    monkeypatch.setattr(cuda, "backward", lambda grad, x, unit: grad * x)
    monkeypatch.setattr(units, "TARGET_SIZE", 1024)
    found = Outcome()
    units.passes(found, CPU, sizes=[1024], repeats=2)
    both = {(r["pass"], r["type"]): r for r in found.table}
    pau = both["PAU both", "bfloat16"]
    parts = both["PAU forward", "bfloat16"]["ms"] + both["PAU backward", "bfloat16"]["ms"]
    assert pau["ms"] == pytest.approx(parts)
    assert pau["target"] == "≤ 1.25"
    assert both["ReLU forward", "float32"]["× ReLU"] == 1
