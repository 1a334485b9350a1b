"""The learned functions of a run: read as they were written, or refused."""

import dataclasses
import io
import os
import zipfile

import numpy as np
import pytest
from synthetic_runs import curves

from pade_bench.runs.curves import MOST_BYTES, dump_curves, load_curves


def test_curves_are_read_as_they_were_written(tmp_path):
    expected = curves(noise=0.1)
    (tmp_path / "a.npz").write_bytes(dump_curves(expected))
    for found, layer in zip(load_curves(tmp_path / "a.npz"), expected, strict=True):
        assert found.name == layer.name
        for name, values in vars(layer).items():
            np.testing.assert_array_equal(getattr(found, name), values)


DAMAGE = {
    "shorter": {"y": np.zeros(400)},
    "empty": {"x": np.zeros(0)},
    "single": {"low": np.float64(1)},
    "matrix": {"high": np.zeros((401, 1))},
    "edges": {"edges": np.zeros(60)},
    "numbers": {"start": np.zeros(401, np.complex128)},
    "texts": {"density": np.full(60, "a")},
    "not finite": {"x": np.full(401, np.nan)},
    "control characters": {"name": "1: \x1b[2J"},
    "long name": {"name": 1000 * "x"},
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, change):
    layers = [*curves(layers=1), dataclasses.replace(curves(layers=1)[0], **change)]
    (tmp_path / "a.npz").write_bytes(dump_curves(layers))
    with pytest.raises(ValueError, match=r"is no list of|not a finite|cannot be printed"):
        load_curves(tmp_path / "a.npz")


def test_objects_are_not_unpickled(tmp_path):
    layer = dataclasses.replace(curves(layers=1)[0], y=np.array([os.getcwd], dtype=object))
    (tmp_path / "a.npz").write_bytes(dump_curves([layer]))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_curves(tmp_path / "a.npz")


def test_what_unpacks_to_more_than_memory_should_hold_is_refused(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0/name.npy", bytes(MOST_BYTES + 1))
    (tmp_path / "a.npz").write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=r"a\.npz unpacks to"):
        load_curves(tmp_path / "a.npz")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz is a pipe"):
        load_curves(tmp_path / "a.npz")
