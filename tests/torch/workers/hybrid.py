"""FSDP2 over tensor parallelism: shards of shards, in an order that torch calls strided."""

import torch
from common import snapshot
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from lion_ports.torch import Lion, export_state, import_state
from lion_ports.torch.sharding import placed

SETTINGS = {"lr": 0.01, "weight_decay": 0.1, "cautious": True}


def start(mesh=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 1))
    if mesh is not None:
        parallelize_module(model, mesh["tensor"], {"0": ColwiseParallel(), "1": RowwiseParallel()})
        fully_shard(model, mesh=mesh["data"])
    return model, Lion(model.parameters(), **SETTINGS)


def train(model, optimizer):
    """By gradients from outside: a matrix product in shards has another order of sums."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        for p in model.parameters():
            p.grad = placed(torch.randn(p.shape, generator=generator), p)
        optimizer.step()


def hybrid_results(mesh):
    """Of one process, of all, and of all after an export and an import."""
    alone, (model, optimizer), (other, resumed) = start(), start(mesh), start(mesh)
    train(*alone)
    train(model, optimizer)
    import_state(export_state(model, optimizer), other, resumed)
    return {
        "alone": snapshot(*alone),
        "hybrid": snapshot(model, optimizer),
        "imported": snapshot(other, resumed),
    }
