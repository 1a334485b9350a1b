"""Padé units with torch's tools: what works, tried. ``scripts/try_networks.py`` prints the results.

Each function tries what the first line of its docstring says, and returns what came of it in
words; it fails where that does not work.
"""

from __future__ import annotations

import copy
import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pade_bench import PAU, RPAU, convert_activations, parameter_groups


def _network() -> tuple[nn.Module, Tensor]:
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    convert_activations(model, "pau")
    return model, torch.randn(2, 3, 32, 32)


def _perceptron(unit: type[PAU] = PAU) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), unit(), nn.Linear(16, 16), unit(), nn.Linear(16, 4))


def _close(a: Tensor, b: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def compiled() -> str:
    """torch.compile, without a break of the graph, forward and backward."""
    model, x = _perceptron(), torch.randn(6, 8)
    results = []
    for run in (model, torch.compile(model, fullgraph=True)):
        model.zero_grad()
        run(x).square().mean().backward()
        results.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*results, strict=True):
        _close(a, b)
    return "works: one graph, gradients as without"


def traced() -> str:
    """torch.fx.symbolic_trace and create_feature_extractor."""
    from torchvision.models.feature_extraction import create_feature_extractor

    model, x = _network()
    model.eval()
    _close(torch.fx.symbolic_trace(model)(x), model(x))
    create_feature_extractor(model, ["layer2"])(x)
    return "works: units stay modules"


def exported() -> str:
    """torch.export."""
    model, x = _network()
    model.eval()
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
    more = torch.randn(5, 3, 32, 32)
    _close(program.module()(more), model(more))
    return "works, with a dynamic batch"


def onnx() -> str:
    """torch.onnx.export, run by ONNX Runtime."""
    import onnxruntime

    model, x = _network()
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    _close(torch.from_numpy(y), model(x), rtol=1e-3, atol=1e-3)
    return "works: ordinary ONNX operators"


def functional_calls() -> str:
    """torch.func: functional_call, grad, vmap over samples and over an ensemble."""
    model = _perceptron()
    x = torch.randn(6, 8)
    parameters: dict[str, Tensor] = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,)).square().mean()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x[:, None])
    whole = torch.func.grad(loss)(parameters, x)
    for name in parameters:
        _close(each[name].mean(dim=0), whole[name])
    stacked, buffers = torch.func.stack_module_state([_perceptron(), _perceptron()])
    y = torch.func.vmap(
        lambda p, b: torch.func.functional_call(model, (p, b), (x,)), randomness="different"
    )(stacked, buffers)
    _close(y[1], model(x))
    return "works: gradients for each sample, ensembles"


def jacobians() -> str:
    """torch.func.jacrev and jacfwd (forward mode)."""
    model, x = _perceptron(), torch.randn(8)
    _close(torch.func.jacfwd(model)(x), torch.func.jacrev(model)(x))
    return "works, forward and reverse mode"


def second_derivatives() -> str:
    """Gradients of gradients, as for gradient penalties."""
    model, x = _perceptron().double(), torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(model, (x,))
    return "works"


def ema() -> str:
    """torch.optim.swa_utils.AveragedModel (EMA)."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model = _perceptron()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(model)
    unit: Any = model[1]
    before = unit.numerator.detach().clone()
    with torch.no_grad():
        unit.numerator.add_(1)
    average.update_parameters(model)
    averaged: Any = average.module
    _close(averaged[1].numerator, before + 0.5)
    return "works: coefficients are averaged as weights are"


def checkpointed() -> str:
    """torch.utils.checkpoint (activation checkpointing), with RPAU's noise."""
    from torch.utils.checkpoint import checkpoint

    model, x = _perceptron(RPAU), torch.randn(6, 8)
    results = []
    for run in (model, lambda x: checkpoint(model, x, use_reentrant=False)):
        model.zero_grad()
        torch.manual_seed(1)
        run(x).square().mean().backward()
        results.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    return "works: the same bits, also with RPAU's noise"


def autocast() -> str:
    """torch.autocast to bfloat16."""
    model, x = _network()
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    y.float().square().mean().backward()
    assert y.dtype == torch.bfloat16
    return "works: units compute in float32, return bfloat16"


def quantization_aware() -> str:
    """Quantization-aware training in FX mode: prepare_qat_fx, a step, convert_fx."""
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_qat_fx

    model, x = _network()
    prepared = prepare_qat_fx(model.train(), get_default_qat_qconfig_mapping("x86"), (x,))
    optimizer = torch.optim.SGD(prepared.parameters(), lr=1e-3)
    prepared(x).square().mean().backward()
    optimizer.step()
    y = convert_fx(prepared.eval())(x)
    assert y.isfinite().all()
    return "works: convolutions become int8, units stay in float32 between them"


def scripted() -> str:
    """torch.jit.script."""
    torch.jit.script(_perceptron())
    return "works"


def jit_traced() -> str:
    """torch.jit.trace."""
    model, x = _perceptron(), torch.randn(6, 8)
    _close(torch.jit.trace(model, x)(torch.ones(6, 8)), model(torch.ones(6, 8)))
    return "works"


def _distributed(wrap: Callable[[nn.Sequential], nn.Module]) -> None:
    import torch.distributed as dist

    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/f", rank=0, world_size=1)
        try:
            model, x = _perceptron(), torch.randn(6, 8)
            expected = copy.deepcopy(model)
            expected(x).square().mean().backward()
            wrapped = wrap(model)
            wrapped(x).square().mean().backward()
            for p, q in zip(wrapped.parameters(), expected.parameters(), strict=True):
                assert p.grad is not None
                assert q.grad is not None
                grad: Any = p.grad
                _close(grad.full_tensor() if hasattr(grad, "full_tensor") else grad, q.grad)
            torch.optim.AdamW(parameter_groups(wrapped, weight_decay=0.0)).step()
        finally:
            dist.destroy_process_group()


def ddp() -> str:
    """DistributedDataParallel, no unused parameters."""
    _distributed(nn.parallel.DistributedDataParallel)
    return "works (one process here, two in `tests/activations`)"


def fsdp2() -> str:
    """FSDP2: fully_shard on each layer and the whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def wrap(model: nn.Sequential) -> nn.Module:
        mesh = init_device_mesh("cpu", (1,))
        for layer in (*model, model):
            fully_shard(layer, mesh=mesh)
        return model

    _distributed(wrap)
    return "works (one process here): gradients as without"


def tensor_parallel() -> str:
    """Tensor parallelism: parallelize_module, DTensors."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_module, distribute_tensor
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    def wrap(model: nn.Sequential) -> nn.Module:
        mesh = init_device_mesh("cpu", (1,))
        unit, x = PAU(), torch.randn(6, 8)
        y: Any = distribute_module(copy.deepcopy(unit), mesh)(
            distribute_tensor(x, mesh, [Shard(1)])
        )
        _close(y.full_tensor(), unit(x))
        return parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})

    _distributed(wrap)
    return "works (one process here, two in `tests/ops`), RPAU in evaluation"


def nested() -> str:
    """Nested (jagged) tensors."""
    parts = [torch.randn(3, 4), torch.randn(5, 4)]
    y: Any = PAU()(torch.nested.nested_tensor(parts, layout=torch.jagged))
    _close(y.values(), PAU()(torch.cat(parts)))
    return "works"


def fused_transformer() -> str:
    """nn.TransformerEncoder's fast path in evaluation mode."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model, x = nn.TransformerEncoder(layer, 2), torch.randn(3, 5, 8)
    convert_activations(model, "pau", example_input=x)
    trained = model.train()(x)
    with torch.no_grad():
        _close(model.eval()(x), trained)
    return "works: both modes agree, the fast path is not taken"


def saved() -> str:
    """state_dict, deepcopy and torch.save of a whole network."""
    model, x = _perceptron(), torch.randn(6, 8)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), model(x))
    other = copy.deepcopy(model)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    return "works"


def meta() -> str:
    """torch.device("meta"), to_empty and reset_parameters; nn.utils.skip_init."""
    with torch.device("meta"):
        model = _perceptron()
    model.to_empty(device="cpu")
    for module in model:
        module.reset_parameters()  # type: ignore[operator]
    unit: Any = model[1]
    assert torch.equal(unit.numerator, PAU().numerator)
    nn.utils.skip_init(PAU)
    return "works"


TOOLS: tuple[Callable[[], str], ...] = (
    compiled, exported, onnx, traced, quantization_aware, ddp, fsdp2, tensor_parallel, ema,
    functional_calls, jacobians, second_derivatives, checkpointed, autocast, nested,
    fused_transformer, saved, meta, jit_traced, scripted,
)  # fmt: skip
