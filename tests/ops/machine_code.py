"""The CUDA kernels as machine code: compiled by NVRTC, disassembled, counted. No GPU is needed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from emulator import toolkit_includes

from pade_bench.ops import cuda

nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings comes with torch for CUDA")


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


def registers(cubin_file):
    """Return the registers and the bytes of stack of each kernel."""
    command = [triton_tool("cuobjdump"), "-res-usage", str(cubin_file)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+)", text)
    return {name: (int(count), int(stack)) for name, count, stack in found}


def disassemble(cubin_file):
    """Return the ``Code`` of each kernel by name."""
    command = [triton_tool("nvdisasm"), "-c", str(cubin_file)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kernels = {}
    for section in re.split(r"\.section\s+\.text\.", text)[1:]:
        instructions, labels = [], {}
        for line in section.splitlines():
            if found := re.match(r"\s*/\*[0-9a-f]{4,}\*/ +(.*?) *;", line):
                instructions.append(found.group(1))
            elif found := re.match(r"(\.L_x_\d+):", line):
                labels[found.group(1)] = len(instructions)
        kernels[re.match(r"\w+", section).group()] = Code(instructions, labels)
    return kernels


class Code(NamedTuple):
    """The instructions of a kernel, as ``@P0 LDG.E.128.CONSTANT …``, and where its labels stand."""

    instructions: list[str]
    labels: dict[str, int]

    def successors(self, at: int) -> list[int]:
        """Return the positions to which control may go from an instruction."""
        instruction = self.instructions[at]
        condition = re.match(r"@!?U?P\d+ ", instruction) or re.search(r"BRA\S* !?U?P", instruction)
        following = [at + 1] if at + 1 < len(self.instructions) else []
        if re.search(r"\bEXIT\b", instruction):
            return following if condition else []
        # A call of a label, rather than of a function by name, is a jump too.
        if target := re.search(r"\b(?:BRA|CALL)\b.*`\((\.L_x_\d+)\)", instruction):
            return [self.labels[target.group(1)], *(following if condition else [])]
        return following

    def path(
        self, start: int, ends: Callable[[int], bool], through: frozenset[int] = frozenset()
    ) -> list[int] | None:
        """Return the shortest path of at least one step to where ``ends``, that is ``through``."""
        first = (start, frozenset({start} & through))
        came_from, queue = {first: None}, deque([first])
        while queue:
            state = queue.popleft()
            at, passed = state
            for following in self.successors(at):
                reached = (following, passed | ({following} & through))
                if ends(following) and reached[1] == through:
                    path = [following]
                    while state is not None:
                        path.append(state[0])
                        state = came_from[state]
                    return path[::-1]
                if reached not in came_from:
                    came_from[reached] = state
                    queue.append(reached)
        return None

    def wide(self, access: str) -> list[int]:
        """Return where the 128-bit accesses ``LDG`` or ``STG`` stand."""
        pattern = re.compile(rf"\b{access}\.E\S*\.128")
        return [i for i, line in enumerate(self.instructions) if pattern.search(line)]

    def loop(self) -> list[int]:
        """Return the positions of the shortest loop that loads and stores a packet: the aligned."""
        loops = [self.path(load, load.__eq__) for load in self.wide("LDG")]
        stores = set(self.wide("STG"))
        return min((path[:-1] for path in loops if path and stores & set(path)), key=len)

    def per_element(self, packets: int, width: int) -> float:
        """Count the instructions of a thread that has aligned ``packets`` of ``width`` elements.

        A warp issues as many for 32 elements: a profiler's "warp instructions". Those that a false
        predicate turns off count too. What only a tensor's last few elements need does not.
        """
        loop = self.loop()
        accesses = frozenset(loop) & {*self.wide("LDG"), *self.wide("STG")}
        leaves = lambda at: bool(re.search(r"\bEXIT\b", self.instructions[at]))  # noqa: E731
        once = self.path(0, leaves, accesses)
        return (len(once) + (packets - 1) * len(loop)) / (packets * width)
