"""What compiles, loads and launches CUDA kernels: CuPy, on torch's current device and stream."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch


class CudaKernelError(RuntimeError):
    """The CUDA kernels cannot be used here; the message is the reason."""


class Driver(NamedTuple):
    """Addresses of the C functions by which compiled code launches kernels."""

    launch: int  # cuLaunchKernel
    current_stream: int  # aoti_torch_get_current_cuda_stream
    get_context: int  # cuCtxGetCurrent
    set_context: int  # cuCtxSetCurrent
    error_string: int  # cuGetErrorString


class Runtime(Protocol):
    """What the launcher needs of CuPy. The tests put an emulator of the GPU in its place.

    Attributes:
        driver: how compiled code launches a kernel; ``None`` where only Python can.
    """

    driver: Driver | None

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> Any:  # noqa: N802
        """Compile and load kernels on the current device.

        ``get_function(name)`` of the result is a kernel, called with a grid, a block, the arguments
        and ``stream``; its ``ptr`` is the driver's handle.
        """

    def stream(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Make ``device`` current and yield torch's current stream on it."""

    def __hash__(self) -> int:
        """Kernels are kept for each runtime."""


class _Stream:
    """A stream as CuPy's launch takes it, on a device that is current already."""

    __slots__ = ("ptr",)

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class CuPyRuntime:
    """CuPy compiles, loads and launches; the current stream and device are torch's."""

    def __init__(self) -> None:
        try:
            import cupy

            cupy.cuda.runtime.getDeviceCount()  # fails if CuPy is made for a newer driver
            self._device, self._module = cupy.cuda.Device, cupy.RawModule
            self._set_device = cupy.cuda.runtime.setDevice
        except Exception as error:  # an installed CuPy fails in many ways, not only ImportError
            raise CudaKernelError(f"CuPy cannot be used: {error}") from error
        self._streams: dict[int, _Stream] = {}
        self._thread = threading.local()
        self.driver = _driver()

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> _CuPyModule:  # noqa: N802
        return _CuPyModule(self._module(code=code, options=options))

    def stream(self, device: torch.device) -> contextlib.AbstractContextManager[_Stream]:
        if torch._C._cuda_getDevice() != device.index or not hasattr(self._thread, "is_bound"):
            return self._on(device)
        return self._current_stream(device)

    @contextlib.contextmanager
    def _on(self, device: torch.device) -> Iterator[_Stream]:
        with torch.cuda.device(device), self._device(device.index):
            # A thread that has not used a GPU yet, such as one of autograd's, has no context of the
            # driver even where the device is current.
            self._set_device(device.index)
            self._thread.is_bound = True
            yield self._current_stream(device)

    def _current_stream(self, device: torch.device) -> _Stream:
        ptr = torch._C._cuda_getCurrentRawStream(device.index)
        stream = self._streams.get(ptr)
        if stream is None:
            stream = self._streams[ptr] = _Stream(ptr)
        return stream


class _CuPyModule:
    def __init__(self, module: Any) -> None:
        self._module = module

    def get_function(self, name: str) -> Any:
        # The function itself: RawKernel looks for the one of the current device at every call.
        return self._module.get_function(name).kernel


def _driver() -> Driver | None:
    """Find the driver's functions, which need no header; ``None`` where one is missing."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        torch_cuda = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cuda.so"))
        functions = (
            cuda.cuLaunchKernel,
            torch_cuda.aoti_torch_get_current_cuda_stream,
            cuda.cuCtxGetCurrent,
            cuda.cuCtxSetCurrent,
            cuda.cuGetErrorString,
        )
    except (OSError, AttributeError):
        return None
    return Driver(*(ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions))
