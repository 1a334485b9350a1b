"""The GPU's 1 / Q, computed on the CPU with the errors that the GPU's approximation may have.

``rcp.approx.ftz.f32`` is off by 1 ulp at most and flushes subnormal results to zero (PTX ISA,
"rcp"). The emulator has three such approximations: the exact one, one that errs downwards by 1 ulp
and one that errs upwards. ``pau::inverse`` is held to division on top of each of them.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
import torch
from emulator import BFLOAT16, CUDA_ON_CPU, FLOAT16, EmulatedCuda

from pade_bench.ops import Unit, cuda, reference

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")

ERRORS = {"exact": "r", "1 ulp low": "0.0f", "1 ulp high": "INFINITY"}

PROGRAM = r"""
%s
extern "C" void inverses(const float* s, float* out, float* with_sign, long long count) {
    for (long long i = 0; i < count; ++i) {
        out[i] = pau::inverse<pau::FORM, pau::PRECISION>(s[i], with_sign[i]);
    }
}
"""


def towards(error):
    return f"-DRECIPROCAL_ERRS_TOWARDS={ERRORS[error]}"


@pytest.fixture(scope="module")
def inverse(tmp_path_factory):
    """Return a function that computes 1 / Q, alone and with a sign."""

    def compute(s, error, form="SUM_OF_ABS", precision="FULL"):
        library = tmp_path_factory.mktemp("inverse") / "inverse.so"
        command = [
            *("g++", "-x", "c++", "-", "-std=c++20", "-O2", "-march=native", "-ffp-contract=off"),
            *("-shared", "-fPIC", "-include", CUDA_ON_CPU, "-o", library, towards(error)),
            *(f"-DFORM={form}", f"-DPRECISION={precision}"),
        ]
        program = PROGRAM % cuda.source("pau_math.h")
        subprocess.run(command, input=program, text=True, check=True)
        function = ctypes.CDLL(str(library)).inverses
        float_array = np.ctypeslib.ndpointer(np.float32, flags="C")
        function.argtypes = [*[float_array] * 3, ctypes.c_longlong]
        s = np.ascontiguousarray(s, np.float32)
        out, with_sign = np.empty_like(s), np.empty_like(s)
        function(s, out, with_sign, s.size)
        return out, with_sign

    return compute


def ulps(actual, q):
    exact = 1 / q.astype(np.float64)
    return np.abs(actual - exact) / np.spacing(exact.astype(np.float32))


@pytest.mark.parametrize("error", ERRORS)
def test_inverse_of_every_mantissa_is_as_good_as_division(inverse, error):
    q = np.arange(1 << 23, dtype=np.uint32) + np.float32(1).view(np.uint32)
    q = q.view(np.float32)  # every float of [1, 2); q - 1 is exact
    assert ulps(inverse(q - 1, error)[0], q).max() < 0.501


@pytest.mark.parametrize("error", ERRORS)
def test_inverse_of_every_magnitude_is_as_good_as_division(inverse, error):
    s = np.exp2(np.random.default_rng(0).uniform(-30, 128, 1_000_000)).astype(np.float32)
    errors = ulps(inverse(s, error)[0], s + 1)
    assert errors[s <= 2.0**125].max() < 0.501
    assert errors.max() < 1  # of a subnormal result


@pytest.mark.parametrize("precision", ["FULL", "SIXTEEN_BITS"])
@pytest.mark.parametrize("error", ERRORS)
def test_inverse_at_zero_the_largest_infinity_and_nan(inverse, error, precision):
    largest = np.finfo(np.float32).max
    s = np.float32([0, largest, np.inf, np.nan, 1, -1, -0.0, -largest, -np.inf])
    found, with_sign = inverse(s, error, "ABS_OF_SUM", precision)
    wanted = 1 / (1 + np.abs(s.astype(np.float64)))
    np.testing.assert_allclose(found, wanted, rtol=2e-6)  # 1 / largest is subnormal
    np.testing.assert_array_equal(with_sign[[0, 6]], 0)
    signed = [1, 4, 5, 7]
    np.testing.assert_array_equal(with_sign[signed], found[signed] * np.sign(s[signed]))


@pytest.fixture
def run(monkeypatch):
    """Return a function that evaluates the unit and its derivative on the emulated GPU."""

    def run(x, a, b, form, runtime):
        monkeypatch.setattr(cuda, "runtime", lambda: runtime)
        y = cuda.forward(x, Unit(a, b, form))
        return y, cuda.backward(torch.ones_like(x), x, Unit(a, b, form))[0]

    return run


COEFFICIENTS = {
    "lrelu": (
        [0.02979246, 0.61837738, 2.32335207, 3.05202660, 1.48548002, 0.25103717],
        [1.14201226, 4.39322834, 0.87154450, 0.34720652],
    ),
    "mixed": (
        [-1.1258, -1.1524, -0.2506, -0.4339, 0.8487, 0.6920],
        [-0.3160, -2.1152, 0.3223, 0.1],
    ),
}


@pytest.mark.parametrize("form", ["abs_of_sum", "sum_of_abs"])
@pytest.mark.parametrize("coefficients", COEFFICIENTS)
@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16])
def test_every_16_bit_input_is_rounded_as_well_without_a_newton_step(
    run, dtype, coefficients, form
):
    bits = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16)
    x = bits.view(dtype)
    a, b = (torch.tensor(c) for c in COEFFICIENTS[coefficients])
    divide = "PRECISION = sizeof(Storage) == 2 ? pau::SIXTEEN_BITS : pau::FULL"
    exact = run(
        x,
        a,
        b,
        form,
        EmulatedCuda(mutate=lambda code: code.replace(divide, "PRECISION = pau::FULL")),
    )
    x64, unit = x.double(), Unit(a.double(), b.double(), form)
    wanted = (
        reference.formula(x64, unit),
        reference.gradients(torch.ones_like(x64), x64, unit)[0],
    )
    limits = rounding_errors(x64, unit)
    for error in ERRORS:
        found = run(x, a, b, form, EmulatedCuda(defines=(towards(error),)))
        for name, value, divided, true, limit in zip(
            ("y", "dx"), found, exact, wanted, limits, strict=True
        ):
            what = f"{name}, {error}"
            differs = (value != divided) & ~(value.isnan() & divided.isnan())
            assert value[differs].isfinite().all(), what
            assert divided[differs].isfinite().all(), what
            middle = (value.double() + divided.double()) / 2
            assert ((middle - true).abs() <= limit)[differs].all(), what
            assert differs.sum() < 100, what


def rounding_errors(x, unit):
    """Return bounds on what float32 with a true division may lose of F and its derivative.

    A sum has an error of some roundings of the sum of absolute values. So another result than
    division's is allowed only where the true one lies between the two as well as float32 can tell.
    """
    z, a, b = x.abs(), unit.numerator.abs(), unit.denominator.abs()
    p, s = (sum(c * z**k for k, c in enumerate(cs, first)) for first, cs in ((0, a), (1, b)))
    p_slope, s_slope = (
        sum(k * c * z ** (k - 1) for k, c in enumerate(cs, first) if k)
        for first, cs in ((0, a), (1, b))
    )
    q = 1 / reference.formula(x, unit._replace(numerator=torch.ones(1, dtype=x.dtype)))
    of_q = 1 + s / q
    roundings = 2.0**-22  # four
    return roundings * of_q * p / q, roundings * of_q * (p_slope + p / q * s_slope) / q
