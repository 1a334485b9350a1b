"""Emulated kernels, launched from Python as CuPy's are or in C through the driver's functions."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

from pade_bench.ops.cuda_runtime import Driver

_int, _unsigned, _pointer = ctypes.c_int, ctypes.c_uint, ctypes.c_void_p
_LAUNCH = ctypes.CFUNCTYPE(_int, _pointer, *[_unsigned] * 7, *[_pointer] * 3)
_STREAM = ctypes.CFUNCTYPE(_int, ctypes.c_int32, ctypes.POINTER(_pointer))
_GET = ctypes.CFUNCTYPE(_int, ctypes.POINTER(_pointer))
_SET = ctypes.CFUNCTYPE(_int, _pointer)
_TEXT = ctypes.CFUNCTYPE(_int, _int, ctypes.POINTER(ctypes.c_char_p))

ARGUMENTS = {"pau_forward": 7, "pau_backward": 9, "pau_sum_partials": 5}  # of eight bytes each


class EmulatedKernel:
    """A kernel, called as CuPy's are; ``ptr`` stands for it in a launch through the driver."""

    loaded: ClassVar[list[EmulatedKernel]] = []

    def __init__(self, emulate: Any, name: str, schedule: int) -> None:
        emulate.restype = ctypes.c_char_p
        emulate.argtypes = (_unsigned, _unsigned, _pointer, _pointer, _int, _int)
        self.emulate, self.name, self.schedule = emulate, name, schedule
        self.loaded.append(self)
        self.ptr = len(self.loaded)

    def __call__(self, grid, block, arguments, *, stream):
        # As CuPy converts Python's numbers.
        types = {int: ctypes.c_int64, float: ctypes.c_double}
        boxes = [types[type(argument)](argument) for argument in arguments]
        pointers = (_pointer * len(boxes))(*map(ctypes.addressof, boxes))
        if error := self.run(*grid, *block, pointers, len(boxes)):
            raise RuntimeError(error)

    def run(self, blocks: int, threads: int, pointers: Any, count: int) -> str | None:
        """Run the kernel with ``count`` arguments of eight bytes; return what went wrong."""
        sizes = (_int * count)(*[8] * count)
        error = self.emulate(blocks, threads, pointers, sizes, count, self.schedule)
        return error and f"{self.name}: {error.decode()}"


class EmulatedDriver:
    """The driver's functions.

    Attributes:
        context: what the thread that loads kernels has as its context.
        is_bound: whether a thread that launches has it too.
        bound: the contexts that threads were given.
        addresses: the functions, for code in C.
    """

    context = 0xC0

    def __init__(self) -> None:
        self.is_bound, self.bound, self._errors = True, [], []
        functions = (
            _LAUNCH(self._launch),
            _STREAM(lambda device, stream: 0),
            _GET(self._get_context),
            _SET(self._set_context),
            _TEXT(self._error_string),
        )
        self._functions = functions  # the addresses hold as long as these live
        self.addresses = Driver(*(ctypes.cast(f, _pointer).value or 0 for f in functions))

    def _launch(self, kernel, blocks, _1, _2, threads, *rest):
        function, arguments = EmulatedKernel.loaded[kernel - 1], rest[-2]
        error = function.run(blocks, threads, arguments, ARGUMENTS[function.name])
        if not error:
            return 0
        self._errors.append(error.encode())
        return len(self._errors)

    def _get_context(self, context):
        context[0] = self.context if self.is_bound else None
        return 0

    def _set_context(self, context):
        self.bound.append(context)
        return 0

    def _error_string(self, error, text):
        text[0] = self._errors[error - 1]
        return 0
