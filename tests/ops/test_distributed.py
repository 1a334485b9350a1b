"""Units on DTensors, in two processes."""

import copy
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

from pade_bench import PAU, RPAU


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def compare(x, unit, mesh, placement, distributed):
    expected, ours = unit(x), copy.deepcopy(unit)
    if distributed:
        distribute_module(ours, mesh)
    sharded = distribute_tensor(x.detach(), mesh, [placement]).requires_grad_()
    y = ours(sharded)
    assert tuple(y.placements) == (placement,)
    torch.testing.assert_close(whole(y), expected)
    weights = torch.arange(1.0, 1 + x.numel()).reshape(x.shape)
    wanted = torch.autograd.grad((expected * weights).sum(), (x, *unit.parameters()))
    (y * distribute_tensor(weights, mesh, [placement])).sum().backward()
    for ours_, its in zip((sharded, *ours.parameters()), wanted, strict=True):
        torch.testing.assert_close(whole(ours_.grad), its)


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/f", rank=rank, world_size=2)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    mesh, x, unit = init_device_mesh("cpu", (2,)), torch.randn(6, 8).requires_grad_(), PAU()
    for placement in (Shard(0), Shard(1), Replicate()):
        for distributed in (True, False):
            compare(x, unit, mesh, placement, distributed)
    with pytest.raises(TypeError, match="which a shard does not know"):
        RPAU()(distribute_tensor(x.detach(), mesh, [Shard(0)]))
    network = nn.Sequential(nn.Linear(8, 16), PAU(), nn.Linear(16, 4))
    expected = network(x)
    parallelize_module(network, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    torch.testing.assert_close(network(x), expected)
    dist.destroy_process_group()


def test_a_unit_on_a_dtensor_keeps_its_sharding_and_has_the_whole_gradients():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (folder,), nprocs=2)
