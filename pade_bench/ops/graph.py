"""A function on the GPU that is launched from Python once, and then replayed as one CUDA graph.

A training step of a small network is some hundred kernels that Python takes longer to launch than
the device to run. A graph has recorded them: replaying it costs one launch. It does to the same
memory, with the same kernels in the same order, what the function would do; what Python decided
while it was recorded, such as a learning rate, it has for good.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Function = Callable[..., None]  # of tensors; what it computes it leaves in memory of its own


class CaptureError(RuntimeError):
    """A function cannot be captured; the message is the reason."""


class Graph(Protocol):
    """What has recorded a function."""

    def replay(self) -> None:
        """Do again, to the same memory, what was recorded."""


class Capture(Protocol):
    """Records functions that work on one device. The tests put plain Python in its place."""

    def __init__(self, device: torch.device) -> None: ...

    def rehearse(self, function: Callable[[], None], strict: bool) -> None:
        """Call a function as it will be recorded; if ``strict``, it may not wait for the device."""

    def __call__(self, function: Callable[[], None]) -> Graph:
        """Record a function, whose kernels do not run; what Python does in it, it does."""


class CudaCapture:
    """Records CUDA graphs, which share one pool of memory: they may only be replayed in turn.

    Args:
        device: the current device, a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.generator = torch.cuda.default_generators[torch.cuda.current_device()]
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def rehearse(self, function: Callable[[], None], strict: bool) -> None:
        """Call a function on the stream on which it will be recorded.

        There it finds cuBLAS's workspace, and everything that happens at a first call, before it
        is recorded.
        """
        mode, current = torch.cuda.get_sync_debug_mode(), torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            # Waiting while a graph is recorded is an error that leaves torch in disorder.
            _set_sync_debug_mode("error" if strict else mode)
            try:
                function()
            finally:
                _set_sync_debug_mode(mode)
        current.wait_stream(self.stream)

    def __call__(self, function: Callable[[], None]) -> Graph:
        graph, state = torch.cuda.CUDAGraph(), self.generator.clone_state()
        try:
            # The outer context makes the stream current again after a failure, which the inner one
            # forgets. Of other threads, one that pins the memory of images may go on.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"),
            ):
                function()
        except BaseException:
            # The generator would still believe that it is being recorded, and refuse to draw.
            self.generator.graphsafe_set_state(state)
            raise
        return graph


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a prototype
        torch.cuda.set_sync_debug_mode(mode)


class Snapshot:
    """The values of tensors and of the random generators, to be set again or compared with."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = list(tensors)
        self.values = [tensor.detach().clone() for tensor in self.tensors]
        self.generators = _generators(self.tensors)

    @torch.no_grad()
    def restore(self) -> None:
        """Make everything again what it was."""
        for tensor, value in zip(self.tensors, self.values, strict=True):
            tensor.copy_(value)
        torch.set_rng_state(self.generators[0])
        if len(self.generators) > 1:
            torch.cuda.set_rng_state(self.generators[1])

    def holds(self) -> bool:
        """Return whether everything is, to the bit, what it was; never with a NaN."""
        found = (*self.tensors, *_generators(self.tensors))
        return all(map(torch.equal, (*self.values, *self.generators), found))


def _generators(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the state of the CPU's generator, and of the GPU's if the tensors lie on one."""
    on_gpu = any(tensor.is_cuda for tensor in tensors)
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if on_gpu else [])]


class Replayed:
    """A function of tensors that is called the first time, and replayed as a graph from then on.

    The first call shapes the graph: inputs of other shapes, such as the last batch of an epoch, are
    passed to the function itself. Rehearsing and recording leave no trace in what the function
    changes. The graph is used only if its first replay leaves the bits that the function leaves,
    or if the function does not repeat itself to the bit; else, and wherever it cannot be recorded,
    the function is called for good and the reason is printed.

    Args:
        function: what is replayed; what it returns is lost.
        what: it, in words.
        changes: returns the tensors that the function changes, once it has been called.
        capture: records it.
    """

    def __init__(
        self,
        function: Function,
        what: str,
        changes: Callable[[], Iterable[Tensor]],
        capture: Capture,
    ) -> None:
        self.function = function
        self.what = what
        self.changes = changes
        self.capture: Capture | None = capture
        self.decided: Any = None  # by Python, what the function computes with
        self.recorded: Any = None  # the same, while the graph was recorded
        self.graph: Graph | None = None
        self.inputs: list[Tensor] = []
        self.reason: str | None = None  # why there can be no graph

    def __call__(self, *inputs: Tensor) -> None:
        if self.capture is None:
            return self.function(*inputs)
        if not self.inputs:
            self.inputs = [torch.empty_like(value) for value in inputs]
            return self.function(*inputs)
        if len(inputs) != len(self.inputs) or any(
            a.shape != b.shape for a, b in zip(inputs, self.inputs, strict=True)
        ):
            return self.function(*inputs)
        for mine, value in zip(self.inputs, inputs, strict=True):
            mine.copy_(value)
        if self.graph is not None and self.decided == self.recorded:
            return self.graph.replay()
        try:
            self._record(self.capture)
        except RuntimeError as error:
            self.capture = self.graph = None
            self.reason = _first_line(error)
            print(f"{self.what} is not one CUDA graph: {self.reason}", flush=True)
            self.function(*inputs)

    def _record(self, capture: Capture) -> None:
        """Record the function and replay it once; on an error leave everything as it was."""

        def call() -> None:
            self.function(*self.inputs)

        before, after = Snapshot(self.changes()), None
        try:
            if self.graph is None:
                capture.rehearse(call, strict=False)
                after = Snapshot(before.tensors)
                before.restore()
                capture.rehearse(call, strict=True)
                repeats = after.holds()
                before.restore()
            graph = capture(call)
            before.restore()
            graph.replay()
            if after is not None and repeats and not after.holds():
                raise CaptureError("replaying it gives other bits than calling it.")
        except BaseException:
            before.restore()
            raise
        self.graph, self.recorded = graph, self.decided


def _first_line(error: BaseException) -> str:
    """Return what went wrong first: ending a recording that failed raises another error."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).strip().partition("\n")[0] or type(error).__name__
