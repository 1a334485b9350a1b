"""How torch computes a network."""

import functools
import os
import subprocess
import sys

import pytest
import torch

from pade_bench.models import build_model
from pade_bench.models.numerics import compiled, repeat_to_the_bit

SETTINGS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "TORCH_CUDNN_USE_HEURISTIC_MODE_B": "1"}


def test_torch_takes_algorithms_that_repeat_themselves():
    repeat_to_the_bit()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.backends.cudnn.benchmark


def test_the_environment_has_the_last_word():
    program = (
        "import os; from pade_bench.models.numerics import repeat_to_the_bit as go; go();"
        f"print(*(os.environ[name] for name in {list(SETTINGS)}))"
    )
    plain = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    for given, expected in ({}, ":4096:8 1"), (dict.fromkeys(SETTINGS, "0"), "0 0"):
        said = subprocess.run(
            [sys.executable, "-c", program],
            env=plain | given, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert said.stdout.strip() == expected


@pytest.mark.parametrize("activation", ["relu", "pau"])
def test_a_network_of_torchs_own_class_is_compiled_whole(activation):
    network = build_model("lenet", activation, in_channels=1)
    assert isinstance(network, torch.nn.Sequential)
    torch.compiler.reset()
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph

    with pytest.MonkeyPatch.context() as patch:
        compile_with = functools.partial(torch.compile, backend=keep)
        patch.setattr(torch, "compile", compile_with)
        compute = compiled(network)
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(compute(images), network(images))
    (graph,) = graphs
    called = [str(node.target) for node in graph.graph.nodes if node.op.startswith("call_")]
    units = [name for name in called if "pade_bench.pau" in name]
    assert len(called) == 12  # the layers, and no unit as its formula
    assert len(units) == (4 if activation == "pau" else 0)
