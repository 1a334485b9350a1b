"""Learnable activations in plain torch under torch.compile; the Padé unit is tested in ops."""

import re

import pytest
import torch
from torch._inductor.utils import run_and_get_code

from pade_bench.activations.factory import activation_factory


@pytest.mark.parametrize("name", ["apl", "srelu", "slaf", "mixture", "maxout"])
def test_it_compiles_without_a_break_into_one_kernel_forward_and_one_backward(name):
    torch._dynamo.reset()
    unit = activation_factory(name)()
    x = torch.linspace(-3, 3, 2 * 12 * 20).reshape(2, 12, 20)
    scale = torch.linspace(0.5, 1.5, 12)[:, None]

    def block(x):
        return unit(x * scale + 0.1) * 2

    def results(function):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        wanted = [leaf, *unit.parameters()]
        return [y.detach(), *torch.autograd.grad(y.square().sum(), wanted)]

    compiled = torch.compile(block, fullgraph=True)
    found, codes = run_and_get_code(lambda: results(compiled))
    for ours, expected in zip(found, results(block), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)
    for code in codes:
        assert len(re.findall(r"^ +cpp_fused\w*\(", code, re.MULTILINE)) == 1
        assert "extern_kernels." not in code.partition("def call")[2]
    assert len(codes) == 2
