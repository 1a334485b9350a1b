"""The emulator can fail: each fault put into the kernels is noticed by the test of values."""

from __future__ import annotations

import shutil

import pytest
import torch
from emulator import FORWARD, RANDOM, REVERSE
from test_cuda_kernels import NOISE, Device, check

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
    "gradient after the last read": ("if (rest < n) {", "if (rest <= n) {"),
    "packets begin with the second": (
        "Index packet = share.thread;",
        "Index packet = share.thread + 1;",
    ),
    "first partial left out": ("Index i = threadIdx.x;", "Index i = threadIdx.x + 1;"),
    "half a warp summed": ("int offset = WARP / 2", "int offset = WARP / 4"),
    "wrong sign of the gradient of Q": ("dq = -(dp *", "dq = (dp *"),
    "sign of the sum inside Q ignored": ("r * float(s != 0.0f)", "fabsf(r)"),
    "sign of a sum that is zero": ("r * float(s != 0.0f)", "r"),
    "int32 count": ("Storage* __restrict__ y, Index n,", "Storage* __restrict__ y, int n,"),
}
NOISE_FAULTS = {
    "one noise for a pair": ("return element % 2 ? noise[1] : noise[0]", "return noise[0]"),
    "pairs of a packet draw alike": ("(first >> 1) + i / 2", "(first >> 1)"),
    "fields overlap": ("MASK << SHIFT)", "MASK << (SHIFT / 2))"),
    "noise with a bias": ("alpha * (T(1) / (1 << FIELD_BITS))", "alpha * T(0)"),
    "gradient without its factor": ("add(j, u * v, f[j])", "add(j, u * v, T(1))"),
    "round left out": ("PHILOX_ROUNDS = 7", "PHILOX_ROUNDS = 6"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_the_kernel_is_noticed(monkeypatch, fault):
    with pytest.raises((AssertionError, RuntimeError)):
        check_under_every_schedule(monkeypatch, with_fault(*FAULTS[fault]))


@pytest.mark.parametrize("fault", NOISE_FAULTS)
def test_fault_in_the_noise_is_noticed(monkeypatch, fault):
    device = Device(monkeypatch, mutate=with_fault(*NOISE_FAULTS[fault]))
    with pytest.raises(AssertionError):
        check(device, "abs_of_sum", torch.float32, 1023, noise=NOISE)


def test_kernel_without_a_fault_passes_the_same_checks(monkeypatch):
    check_under_every_schedule(monkeypatch, lambda code: code)
    check(Device(monkeypatch), "abs_of_sum", torch.float32, 1023, noise=NOISE)


def with_fault(right, wrong):
    assert right in cuda.source()
    return lambda code: code.replace(right, wrong)


def check_under_every_schedule(monkeypatch, mutate):
    for schedule in (FORWARD, REVERSE, RANDOM):
        device = Device(monkeypatch, schedule=schedule, mutate=mutate)
        check(device, "abs_of_sum", torch.float32, 1023)
