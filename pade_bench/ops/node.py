"""The unit's autograd node in C++: ``kernels/pau_node.cpp``, compiled at first use for this torch.

It does what ``dispatch`` does in Python for an ordinary call, in a third of the time. Where it
cannot be compiled, calls stay in Python.
"""

from __future__ import annotations

import ctypes
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from pade_bench.ops.build import BuildError, load_library
from pade_bench.ops.unit import Unit

_TORCH = Path(torch.__file__).parent
_FLAGS = [
    "-std=c++20",
    "-O2",
    "-fPIC",
    "-shared",
    f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
    f"-I{_TORCH / 'include'}",
    f"-I{_TORCH / 'include/torch/csrc/api/include'}",
    f"-L{_TORCH / 'lib'}",
    "-lc10",
    "-ltorch_cpu",
]

# The operator that takes the flat arguments of a unit, once there are kernels that it can run.
direct: Callable[..., Tensor] | None = None


def offer(kernel: ModuleType, x: Tensor, unit: Unit) -> None:
    """Let the node run the kernels that have just served; once for each configuration.

    Args:
        kernel: ``cpu`` or ``cuda``.
        x: an input that they served.
        unit: and its unit.
    """
    global direct
    if not _is_loaded():
        return
    m, n = unit.numerator.numel() - 1, unit.denominator.numel()
    if _add(kernel, x.device, x.dtype, m, n, unit.form, unit.noise_state is not None):
        # Without the call in Python that an operator's own __call__ is.
        direct = torch.ops.pade_bench.direct.default._op


@functools.cache
def _add(kernel: ModuleType, *configuration: Any) -> bool:
    addresses = kernel.addresses(*configuration)
    if addresses is None:
        return False
    torch.ops.pade_bench.add_kernels(*configuration, addresses)
    return True


@functools.cache
def _is_loaded() -> bool:
    try:
        _define_operators()
    except BuildError as error:
        warnings.warn(
            f"calls of the Padé unit go through Python, which takes some 20 µs more each: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def _define_operators() -> None:
    name = f"pau_node_torch_{torch.__version__}"
    library = load_library(name, ["pau_node.cpp"], _FLAGS, ["pade_bench_define_operators"])
    define = library.pade_bench_define_operators
    define.restype = ctypes.c_char_p
    if reason := define():
        raise BuildError(f"torch does not take the operators of pau_node.cpp: {reason.decode()}")
