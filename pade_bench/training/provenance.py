"""What made a result: code, versions, device, kernel."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from pade_bench import __version__, ops
from pade_bench.runs.record_parts import Provenance

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "numpy",
    "pillow",
    "cupy-cuda13x",
)


def provenance(device: torch.device, pade_units: bool) -> Provenance:
    """Describe the code and the machine on which a result was made.

    ``pade_kernel`` is what computed the Padé units, and ``pade_numerics`` the number of the version
    of their arithmetic (``ops.NUMERICS``), each ``None`` for a network without any; ``gpu``
    is what else than its name changes a result on a GPU, ``None`` on the CPU.

    Args:
        device: the one that trained.
        pade_units: whether the network has any.
    """
    return Provenance(
        pade_bench=__version__,
        commit=commit(),
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        device=device_name(device),
        threads=torch.get_num_threads(),
        pade_kernel=ops.backend(device) if pade_units else None,
        pade_numerics=ops.NUMERICS if pade_units else None,
        gpu=_gpu() if device.type == "cuda" else None,
    )


def commit() -> str | None:
    """Return the commit of the checkout that runs, ``+changes`` if edited; ``None`` in a wheel."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installed wheel may lie inside somebody else's repository.
        git("ls-files", "--error-unmatch", __file__)
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> dict[str, Any]:
    """Return how many GPUs trained together, and their libraries with what these were allowed."""
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    return {
        "count": torch.distributed.get_world_size() if several else 1,
        "driver": driver_version(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
    }


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver, such as ``580.159``; ``None`` where there is none."""
    try:
        management = ctypes.CDLL("libnvidia-ml.so.1")
        text = ctypes.create_string_buffer(80)
        if management.nvmlInit_v2() or management.nvmlSystemGetDriverVersion(text, len(text)):
            return None
        management.nvmlShutdown()
    except (OSError, AttributeError):
        return None
    return text.value.decode()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
