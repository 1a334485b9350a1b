"""The checks of the kernels: on the emulator they hold, and notice a faulty kernel."""

import shutil

import pytest
import torch
from emulator import EmulatedCuda

from pade_bench.gpu_check import kernels
from pade_bench.gpu_check.outcome import Outcome
from pade_bench.ops import cuda

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="the emulator needs g++")


@pytest.fixture
def emulated(monkeypatch):
    """Return a function that puts the emulator, with a fault or without, in CuPy's place."""
    monkeypatch.setattr(kernels, "FORMS", kernels.FORMS[:1])
    monkeypatch.setattr(kernels, "LIMITS", {torch.float32: kernels.LIMITS[torch.float32]})

    def emulate(**options):
        runtime = EmulatedCuda(**options)
        monkeypatch.setattr(cuda, "runtime", lambda: runtime)

    return emulate


def outcome(part, **arguments):
    found = Outcome()
    part(found, CPU, **arguments)
    return [check.holds for check in found.checks]


@needs_compiler
def test_agreement_and_repetition_hold_on_the_emulator_and_fail_for_a_faulty_kernel(emulated):
    emulated()
    assert outcome(kernels.agreement, n=1003, small=(0, 1, 3)) == [True] * 5
    assert outcome(kernels.repetition, n=1003) == [True]
    emulated(mutate=lambda code: code.replace("dq = -(dp *", "dq = (dp *"))
    # Of no element every result is right; and a wrong one is the same when repeated.
    assert outcome(kernels.agreement, n=1003, small=(0, 3)) == [False, False, True, False]
    assert outcome(kernels.repetition, n=1003) == [True]


def test_layouts_are_compared_with_contiguous_copies(monkeypatch):
    assert outcome(kernels.layouts) == [True] * 5 * len(kernels.LIMITS)
    honest = kernels.functional.pau

    def confuses_rows_and_columns(x, *coefficients):
        y = honest(x, *coefficients)
        return y if x.is_contiguous() else y.flip(0)

    monkeypatch.setattr(kernels.functional, "pau", confuses_rows_and_columns)
    found = outcome(kernels.layouts, dtypes=[torch.float32])
    assert found == [False, False, False, True, False]


def test_a_result_that_is_not_finite_is_no_agreement():
    found = kernels._error(torch.tensor([1.0, float("nan")]), torch.ones(2, dtype=torch.float64))
    assert found == float("inf")


def test_the_ends_of_a_huge_tensor_are_compared(monkeypatch):
    def forward(x, unit):
        return x + 1

    monkeypatch.setattr(kernels.cuda, "forward", forward)
    monkeypatch.setattr(kernels.cuda, "backward", lambda grad, x, unit: (grad * 2,))
    assert outcome(kernels.huge, n=4099, window=1003) == [True, True]

    def forgets_the_end(x, unit):
        y = forward(x, unit)
        if len(x) > 2000:
            y[-1] = 0
        return y

    monkeypatch.setattr(kernels.cuda, "forward", forgets_the_end)
    assert outcome(kernels.huge, n=4099, window=1003) == [False, True]
