"""What NVRTC makes of the CUDA kernels, read from the machine code. No GPU is needed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import torch
from emulator import DTYPES, needs_toolkit, toolkit_includes

from pade_bench.ops import FORMS, cuda

nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings comes with torch for CUDA")

ARCHITECTURES = [75, 80, 86, 89, 90, 100, 120]
KERNELS = ["pau_forward", "pau_backward", "pau_sum_partials"]
PACKET_LOADS_AND_STORES = {"pau_forward": (1, 1), "pau_backward": (2, 1)}


def triton_tool(name):
    spec = importlib.util.find_spec("triton")
    for root in (spec.submodule_search_locations or []) if spec else []:
        tool = Path(root) / "backends/nvidia/bin" / name
        if tool.exists():
            return str(tool)
    pytest.skip(f"{name}, which comes with triton, is not there")


def checked(result):
    error, *values = result
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, error
    return values[0] if values else None


def compile_cubin(architecture, dtype, m, n, form, noisy):
    try:
        program = checked(nvrtc.nvrtcCreateProgram(cuda.source().encode(), b"pau.cu", 0, [], []))
    except RuntimeError as error:  # raised where the library itself cannot be found
        pytest.skip(str(error))
    options = [
        f"-arch=sm_{architecture}",
        *(f"-I{folder}" for folder in toolkit_includes()),
        *cuda.compile_options(dtype, m, n, form, noisy),
    ]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    log = b" " * checked(nvrtc.nvrtcGetProgramLogSize(program))
    checked(nvrtc.nvrtcGetProgramLog(program, log))
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()
    assert not log.strip(b"\0 "), f"a warning: {log.decode()}"
    cubin = b" " * checked(nvrtc.nvrtcGetCUBINSize(program))
    checked(nvrtc.nvrtcGetCUBIN(program, cubin))
    checked(nvrtc.nvrtcDestroyProgram(program))
    return cubin


def instructions(cubin_file):
    """Return the instructions of each kernel, as ``@P0 LDG.E.128.CONSTANT …``."""
    command = [triton_tool("nvdisasm"), "-c", str(cubin_file)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kernels = {}
    for section in re.split(r"\.section\s+\.text\.", text)[1:]:
        name = re.match(r"\w+", section).group()
        kernels[name] = re.findall(r"/\*[0-9a-f]{4,}\*/ +(.*?) *;", section)
    return kernels


def registers(cubin_file):
    """Return the registers and the bytes of stack of each kernel."""
    command = [triton_tool("cuobjdump"), "-res-usage", str(cubin_file)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+)", text)
    return {name: (int(count), int(stack)) for name, count, stack in found}


def check(tmp_path, architecture, dtype, form="abs_of_sum", noisy=False, m=5, n=4, limit=255):
    """Compile, check every kernel, and print the registers as a row of a table.

    Beyond ten coefficients RPAU may lay up to eight registers aside: ptxas prefers that to a lower
    occupancy, and the loop has thousands of other instructions by then.
    """
    may_spill = noisy and m + 1 + n > 10 and dtype != torch.float64
    cubin_file = tmp_path / "pau.cubin"
    cubin_file.write_bytes(compile_cubin(architecture, dtype, m, n, form, noisy))
    code, used = instructions(cubin_file), registers(cubin_file)
    assert sorted(code) == sorted(used) == sorted(KERNELS)
    for kernel, lines in code.items():
        spilled = [line for line in lines if re.search(r"\b(STL|LDL)\b", line)]
        assert may_spill or not spilled, f"{kernel} keeps values in local memory: {spilled}"
        assert not [line for line in lines if re.search(r"\b(ATOM|ATOMG|RED|REDG)\b", line)]
        count, stack = used[kernel]
        assert stack <= (32 if may_spill else 0), f"{kernel} has {stack} bytes of stack"
        assert count <= limit, f"{kernel} takes {count} registers"
    for kernel, wanted in PACKET_LOADS_AND_STORES.items():
        packets = [
            sum(bool(re.search(rf"\b{access}\.E\.128", line)) for line in code[kernel])
            for access in ("LDG", "STG")
        ]
        assert tuple(packets) == wanted, f"128-bit loads and stores of {kernel}: {packets}"
        if dtype != torch.float64:
            divides = any("rcp_rn_f32_slowpath" in line for line in code[kernel])
            assert divides == (form == "unsafe"), "a true division only where Q can be near 0"
    unit = "RPAU" if noisy else "PAU"
    counts = " | ".join(str(used[kernel][0]) for kernel in KERNELS)
    print(f"| sm_{architecture} | {unit} ({m}, {n}) | {str(dtype)[6:]} | {form} | {counts} |")


# Four blocks of 256 threads fit a multiprocessor with up to 64 registers, two with up to 128.
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_128_bit_accesses_and_no_spills(tmp_path, architecture):
    check(tmp_path, architecture, torch.float32, limit=64)


@needs_toolkit
@pytest.mark.parametrize("architecture", [75, 80, 100])  # conversions in software, in hardware, new
def test_bfloat16_has_128_bit_accesses_and_no_spills(tmp_path, architecture):
    check(tmp_path, architecture, torch.bfloat16, limit=64)


@pytest.mark.parametrize(("form", "noisy"), [*((form, False) for form in FORMS), (FORMS[0], True)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_and_form_has_128_bit_accesses_and_no_spills(tmp_path, dtype, form, noisy):
    check(tmp_path, 90, dtype, form, noisy, limit=255 if dtype == torch.float64 else 64)


@pytest.mark.slow
@pytest.mark.parametrize(("m", "n"), [(5, 4), (1, 1), (10, 10)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_combination_has_128_bit_accesses_and_no_spills(tmp_path, architecture, dtype, m, n):
    for form in FORMS:
        for noisy in (False, True):
            check(tmp_path, architecture, dtype, form, noisy, m, n)
