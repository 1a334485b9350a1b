"""Padé units within what torch offers around a network."""

import copy
import pickle

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from pade_bench import PAU, RPAU


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), PAU(), nn.Linear(8, 3), PAU(form="sum_of_abs"))


def gradients(network, x):
    network(x).square().mean().backward()
    return {name: p.grad for name, p in network.named_parameters()}


def _train_one_part(rank, store, path):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    x = torch.linspace(-3, 3, 48).view(8, 6)
    found = gradients(DistributedDataParallel(small_network()), x.chunk(2)[rank])
    if rank == 0:
        torch.save({name.removeprefix("module."): g for name, g in found.items()}, path)
    # Let gloo's thread drop its gradients first: while Python ends, that aborts the process.
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_average_the_gradients_of_one(tmp_path):
    spawn(_train_one_part, args=(str(tmp_path / "store"), str(tmp_path / "g.pt")), nprocs=2)
    together = torch.load(tmp_path / "g.pt", weights_only=True)
    alone = gradients(small_network(), torch.linspace(-3, 3, 48).view(8, 6))
    assert together.keys() == alone.keys()
    for name, expected in alone.items():
        torch.testing.assert_close(together[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))],
    ids=["deepcopy", "pickle"],
)
@pytest.mark.parametrize("unit", [PAU(degrees=(3, 2)), RPAU(noise=0.1)])
def test_a_copy_computes_the_same_and_trains_apart(unit, copied):
    x = torch.linspace(-3, 3, 50)
    other = copied(unit.eval())
    assert torch.equal(other(x), unit(x))
    with torch.no_grad():
        other.numerator.add_(1)
    assert not torch.equal(other(x), unit(x))
