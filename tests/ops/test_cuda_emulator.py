"""The emulator can fail: each fault put into the kernels is noticed by the test of values."""

from __future__ import annotations

import shutil

import pytest
import torch
from emulator import FORWARD, RANDOM, REVERSE
from test_cuda_kernels import Device, check

from pade_bench.ops import cuda

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="the emulator needs g++")

BARRIER = "    __syncthreads();\n"
ONE_OF_BACKWARD, ONE_OF_SUM = "    if (threadIdx.x < COEFF", "    if (threadIdx.x == 0)"

# fault: (text of the source, what stands in its place)
FAULTS = {
    "no barrier in the backward pass": (BARRIER + ONE_OF_BACKWARD, ONE_OF_BACKWARD),
    "no barrier in the sum of partials": (BARRIER + ONE_OF_SUM, ONE_OF_SUM),
    "barrier for one lane only": (
        BARRIER + ONE_OF_BACKWARD,
        "    if (lane == 0) __syncthreads();\n" + ONE_OF_BACKWARD,
    ),
    "last element not written": ("if (rest < n) y[rest]", "if (rest < n - 1) y[rest]"),
    "element after the last written": ("if (rest < n) y[rest]", "if (rest <= n) y[rest]"),
    "gradient after the last read": ("if (rest < n) dx[rest]", "if (rest <= n) dx[rest]"),
    "packets begin with the second": ("Index packet = thread;", "Index packet = thread + 1;"),
    "first partial left out": ("Index i = threadIdx.x;", "Index i = threadIdx.x + 1;"),
    "half a warp summed": ("int offset = WARP / 2", "int offset = WARP / 4"),
    "wrong sign of the gradient of Q": ("T t = -(dp *", "T t = (dp *"),
    "sign of the sum inside Q ignored": ("? t * sign(s) : t", "? t : t"),
    "int32 count": ("Storage* __restrict__ y, Index n,", "Storage* __restrict__ y, int n,"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_the_kernel_is_noticed(monkeypatch, fault):
    right, wrong = FAULTS[fault]

    assert right in cuda.source()
    with pytest.raises((AssertionError, RuntimeError)):
        check_under_every_schedule(monkeypatch, lambda code: code.replace(right, wrong))


def test_kernel_without_a_fault_passes_the_same_check(monkeypatch):
    check_under_every_schedule(monkeypatch, lambda code: code)


def check_under_every_schedule(monkeypatch, mutate):
    for schedule in (FORWARD, REVERSE, RANDOM):
        device = Device(monkeypatch, schedule=schedule, mutate=mutate)
        check(device, "abs_of_sum", torch.float32, 1023)
