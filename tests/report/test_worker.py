"""Drawing beside a training."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pade_bench.report.figures import worker
from pade_bench.report.figures.worker import draw_beside
from pade_bench.runs.curves import LayerCurve

X = np.linspace(-3, 3, 41)


def curve(name="1: 6×28×28"):
    edges = np.linspace(-3, 3, 11)
    return LayerCurve(name, X, np.maximum(X, 0), X, edges, np.full(10, 1 / 6), X, X)


@pytest.fixture
def fresh(monkeypatch):
    """Put a worker in place that has not drawn anything yet."""
    new = worker._Worker()
    monkeypatch.setattr(worker, "_worker", new)
    yield new
    if new.process is not None:
        new.process.kill()
        new.process.communicate()


def test_figures_are_drawn_by_one_other_process(fresh):
    pictures = [draw_beside([curve()] * 3, "pau", f"after {i}", columns=2) for i in range(2)]
    sizes = {Image.open(io.BytesIO(picture.result())).size for picture in pictures}
    assert sizes == {(520, 550)}
    assert pictures[0].result() != pictures[1].result()
    assert fresh.process.pid != os.getpid()
    assert fresh.process.poll() is None


def test_what_cannot_be_drawn_is_an_error_here_and_the_next_is_drawn(fresh):
    with pytest.raises(RuntimeError, match="AttributeError"):
        draw_beside([None], "pau").result()
    assert draw_beside([curve()], "pau").result().startswith(b"\x89PNG")


@pytest.mark.parametrize("why", ["ended", "no room"])
def test_without_another_process_this_one_draws(why, fresh, monkeypatch):
    if why == "ended":
        draw_beside([curve()], "pau").result()
        fresh.process.kill()
        fresh.process.wait()
    else:
        monkeypatch.setattr(worker, "_start", lambda: (_ for _ in ()).throw(OSError("no memory")))
    assert draw_beside([curve()], "pau").result().startswith(b"\x89PNG")


def test_the_process_ends_with_the_one_that_asks():
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_worker import curve, worker
worker.draw_beside([curve()], "pau").result()
print(worker._worker.process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    pid = int(killed.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("it still waits for questions")


def test_a_process_that_trains_does_not_import_matplotlib():
    code = "import sys, pade_bench.report.figures.worker; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
