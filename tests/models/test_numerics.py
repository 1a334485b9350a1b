"""What torch is told before it computes a network."""

import os
import subprocess
import sys

import torch

from pade_bench.models.numerics import repeat_to_the_bit

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
