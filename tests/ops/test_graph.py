"""How CUDA graphs are recorded, seen from the side of torch.cuda, which is not here."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from pade_bench.ops.graph import CudaCapture


class Machine:
    """As much of torch.cuda as a capture touches; what it does is noted in ``done``."""

    def __init__(self, monkeypatch):
        self.done, self.waits, self.current, self.mode = [], [], "main", 0
        self.generator = SimpleNamespace(
            clone_state=lambda: "as before",
            graphsafe_set_state=lambda state: self.done.append(f"generator {state}"),
        )
        for name, value in {
            "default_generators": (self.generator,),
            "current_device": lambda: 0,
            "Stream": lambda device: self.stream_called("side"),
            "current_stream": lambda: self.stream_called(self.current),
            "stream": self.stream,
            "graph_pool_handle": lambda: "pool",
            "CUDAGraph": lambda: SimpleNamespace(name="graph"),
            "graph": self.graph,
            "get_sync_debug_mode": lambda: self.mode,
            "set_sync_debug_mode": lambda mode: setattr(self, "mode", mode),
        }.items():
            assert hasattr(torch.cuda, name)
            monkeypatch.setattr(torch.cuda, name, value)

    def stream_called(self, name):
        return SimpleNamespace(
            name=name, wait_stream=lambda other: self.waits.append((name, other.name))
        )

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream.name
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        assert (graph.name, pool, capture_error_mode) == ("graph", "pool", "thread_local")
        self.current = stream.name
        yield
        self.current = "main"  # which torch's own context does not reach after an error


def test_a_rehearsal_runs_on_the_stream_of_the_recording_and_may_not_wait(monkeypatch):
    machine = Machine(monkeypatch)
    capture = CudaCapture(torch.device("cuda", 0))
    seen = []

    def function():
        seen.append((machine.current, machine.mode))

    capture.rehearse(function, strict=False)
    capture.rehearse(function, strict=True)
    assert seen == [("side", 0), ("side", "error")]
    assert machine.waits == [("side", "main"), ("main", "side")] * 2
    assert machine.mode == 0

    def waits():
        raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="synchronizing"):
        capture.rehearse(waits, strict=True)
    assert (machine.mode, machine.current) == (0, "main")


def test_after_a_recording_that_failed_torch_is_as_it_was(monkeypatch):
    machine = Machine(monkeypatch)
    capture = CudaCapture(torch.device("cuda", 0))
    assert capture(lambda: None).name == "graph"
    assert machine.done == []

    def fails():
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        capture(fails)
    assert machine.current == "main"
    assert machine.done == ["generator as before"]
