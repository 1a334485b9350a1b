"""Drawing learned functions in a process of its own, for which a training need not wait."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pade_bench.runs.curves import LayerCurve


def draw_beside(
    layers: Sequence[LayerCurve],
    activation: str,
    title: str | None = None,
    columns: int = 4,
    dpi: int = 100,
) -> Future[bytes]:
    """Draw as :func:`pade_bench.report.figures.learned.draw_activations`, one after another.

    Returns:
        the PNG to be.
    """
    return _worker.submit((layers, activation, title, columns, dpi))


class _Worker:
    """A process that draws; the first picture starts it, and it ends with this one."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1)  # waits for the process
        self.process: subprocess.Popen[bytes] | None = None

    def submit(self, question: Any) -> Future[bytes]:
        return self.thread.submit(self.ask, question)

    def ask(self, question: Any) -> bytes:
        try:
            self.process = self.process or _start()
            questions, answers = self.process.stdin, self.process.stdout
            assert questions is not None
            assert answers is not None
            pickle.dump(question, questions)
            questions.flush()
            answer = pickle.load(answers)
        except (OSError, EOFError, pickle.UnpicklingError):
            # There is no room for another process, or it was ended.
            self.process = None
            return _draw(*question)
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer


def _start() -> subprocess.Popen[bytes]:
    # Isolated, and then with the path of this process: the current folder is not searched for
    # modules unless this process searches it.
    code = f"import sys; sys.path[:] = {sys.path!r}; import {__name__} as worker; worker._serve()"
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _serve() -> None:
    """Answer questions until there are no more: the process that asks has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process
    os.nice(19)  # on a CPU the two share cores: what the training leaves is enough
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: bytes | str
        try:
            answer = _draw(*question)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _draw(
    layers: list[LayerCurve], activation: str, title: str | None, columns: int, dpi: int
) -> bytes:
    # Imported here: the process that trains has no use for matplotlib.
    from pade_bench.report.figures.learned import draw_activations

    content = io.BytesIO()
    figure = draw_activations(layers, activation, title, columns)
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


_worker = _Worker()


def _forget() -> None:
    """Leave the worker to the process that this one was forked from."""
    global _worker
    _worker = _Worker()


os.register_at_fork(after_in_child=_forget)
