"""Exported networks consist of ordinary operators, which run without this package."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from pade_bench import functional
from pade_bench.ops import FORMS


class Unit(nn.Module):
    """A layer and a Padé unit."""

    def __init__(self, form="abs_of_sum", noise=None):
        super().__init__()
        self.linear = nn.Linear(7, 5)
        self.numerator = nn.Parameter(torch.tensor([0.02, 0.5, 1.1, 0.9, 0.3, 0.03]))
        self.denominator = nn.Parameter(torch.tensor([0.2, 0.8, 0.05, 0.07]))
        self.form, self.noise = form, noise

    def forward(self, x):
        arguments = (self.linear(x).abs(), self.numerator, self.denominator, self.form)
        if self.noise is None:
            return functional.pau(*arguments)
        return functional.rpau(*arguments, noise=self.noise, training=self.training)


UNITS = pytest.mark.parametrize(
    "unit",
    [Unit(form).eval() for form in FORMS] + [Unit(noise=0.1).eval()],
    ids=[*FORMS, "rpau"],
)


@UNITS
def test_exported_program_holds_no_operator_of_ours(unit):
    x = torch.randn(3, 7)
    batch = torch.export.Dim("batch")
    program = torch.export.export(unit, (x,), dynamic_shapes=({0: batch},))
    assert "pade_bench" not in str(program.graph)
    for size in (3, 8):
        x = torch.randn(size, 7)
        torch.testing.assert_close(program.module()(x), unit(x))


@pytest.mark.slow
@UNITS
def test_onnxruntime_gives_equal_results(unit):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    x = torch.randn(3, 7)
    program = torch.onnx.export(unit, (x,), dynamo=True, verbose=False)
    assert not [node.domain for node in program.model.graph if node.domain not in ("", "ai.onnx")]
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(y, unit(x).detach().numpy(), rtol=1e-5, atol=1e-6)
