"""The GPU's reciprocal, computed on the CPU with the errors that the GPU's approximation may have.

``rcp.approx.ftz.f32`` is off by 1 ulp at most and flushes subnormal results to zero (PTX ISA,
"rcp"). The kernels refine it by ``pau::newton_reciprocal``, which is compiled here on top of every
such approximation: the exact one, one that errs downwards and one that errs upwards.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from pade_bench.ops import cuda

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")

PROGRAM = r"""
#include <float.h>
#include <math.h>
%s
extern "C" void reciprocals(const float* q, float* out, long long count, float towards) {
    for (long long i = 0; i < count; ++i) {
        out[i] = pau::newton_reciprocal(q[i], [towards](float v) {
            float r = 1.0f / v;
            if (towards != 0 && isfinite(r)) r = nextafterf(r, towards);
            return fabsf(r) < FLT_MIN ? copysignf(0.0f, r) : r;
        });
    }
}
"""
ERRORS = {"exact": 0.0, "1 ulp low": -np.inf, "1 ulp high": np.inf}


@pytest.fixture(scope="module")
def reciprocals(tmp_path_factory):
    """Return a function from (q, kind of error) to newton_reciprocal(q)."""
    library = tmp_path_factory.mktemp("reciprocal") / "reciprocal.so"
    header = cuda.files("pade_bench.kernels").joinpath("pau_math.h").read_text(encoding="utf-8")
    header = header.replace("#pragma once", "")
    subprocess.run(
        ["g++", "-x", "c++", "-", "-std=c++17", "-O2", "-shared", "-fPIC", "-o", str(library)],
        input=PROGRAM % header,
        text=True,
        check=True,
    )
    function = ctypes.CDLL(str(library)).reciprocals
    float_array = np.ctypeslib.ndpointer(np.float32, flags="C")
    function.argtypes = [float_array, float_array, ctypes.c_longlong, ctypes.c_float]

    def compute(q, error):
        q = np.ascontiguousarray(q, np.float32)
        out = np.empty_like(q)
        function(q, out, q.size, ERRORS[error])
        return out

    return compute


def ulps(actual, q):
    exact = 1 / q.astype(np.float64)
    return np.abs(actual - exact) / np.spacing(exact.astype(np.float32))


@pytest.mark.parametrize("error", ERRORS)
def test_reciprocal_of_every_mantissa_is_as_good_as_division(reciprocals, error):
    q = np.arange(1 << 23, dtype=np.uint32) + np.float32(1).view(np.uint32)
    q = q.view(np.float32)  # every float of [1, 2)
    assert ulps(reciprocals(q, error), q).max() < 0.501


@pytest.mark.parametrize("error", ERRORS)
def test_reciprocal_of_every_magnitude_is_accurate(reciprocals, error):
    q = np.exp2(np.random.default_rng(0).uniform(0, 128, 1_000_000)).astype(np.float32)
    refined = q <= 2.0**125
    errors = ulps(reciprocals(q, error), q)
    assert errors[refined].max() < 0.501
    assert errors[~refined].max() < 2


@pytest.mark.parametrize("error", ERRORS)
def test_reciprocal_of_one_the_largest_infinity_and_nan(reciprocals, error):
    largest = np.finfo(np.float32).max
    assert reciprocals([1, np.inf], error).tolist() == [1, 0]
    assert np.isnan(reciprocals([np.nan], error)).all()
    edges = [2.0**125, 2.0**126, largest]
    q = np.nextafter(np.float32([*edges, *edges]), np.float32([0] * 3 + [largest] * 3))
    assert ulps(reciprocals(q, error), q).max() < 2
