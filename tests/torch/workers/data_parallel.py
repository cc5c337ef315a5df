"""Two processes train with DDP and with FSDP2, and write what came out to the folder argv[1]."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from common import batches, full, make_model, snapshot, train, train_alone
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from lion_ports import ConfigError
from lion_ports.torch import Lion, export_state, import_state, release_gradients

STEPS = 4
SETTINGS = {
    "plain": {"lr": 0.01, "weight_decay": 0.1},
    "cautious": {"lr": 0.01, "weight_decay": 0.1, "cautious": True},
    "average": {"lr": lambda step: 0.01 / (step + 1), "ema_decay": 0.9},
}


def shard(model):
    for layer in model:
        fully_shard(layer)
    return fully_shard(model)


def results(settings, rank):
    """By way of training: parameters and momenta after the last step."""
    data = batches(STEPS)
    ways = {"alone": None, "ddp": DistributedDataParallel, "fsdp2": shard, "released": shard}
    found = {}
    for way, wrap in ways.items():
        model = make_model()
        wrapped = model if wrap is None else wrap(model)
        optimizer = Lion(model.parameters(), **settings)
        if way == "alone":
            train_alone(model, optimizer, data)
        elif way == "released":
            with release_gradients(optimizer):
                train(wrapped, optimizer, data[:, rank])
        else:
            train(wrapped, optimizer, data[:, rank])
        found[way] = snapshot(model, optimizer)
        if wrap is shard:
            check_shards(model, optimizer, rank)
            found[f"{way}, imported"] = imported(model, optimizer, settings)
    return found


def zero(rank):
    """Parameters of the plain run where each process keeps the state of some of them alone."""
    model = make_model()
    wrapped = DistributedDataParallel(model)
    optimizer = ZeroRedundancyOptimizer(model.parameters(), Lion, **SETTINGS["plain"])
    train(wrapped, optimizer, batches(STEPS)[:, rank])
    return [full(p) for p in model.parameters()]


def refusal():
    """What is said to a release of gradients that are averaged later."""
    model = make_model()
    wrapped = DistributedDataParallel(model)
    try:
        release_gradients(Lion(wrapped.parameters()))
    except ConfigError as error:
        release_gradients(Lion(wrapped.parameters()), local_gradients=True)
        return str(error)


def imported(model, optimizer, settings):
    """Another sharded model, and its optimizer, with the state of these."""
    portable = export_state(model, optimizer)
    other = make_model()
    for p in other.parameters():
        torch.nn.init.zeros_(p)
    shard(other)
    resumed = Lion(other.parameters(), **settings)
    import_state(portable, other, resumed)
    return snapshot(other, resumed)


def check_shards(model, optimizer, rank):
    """The momentum is sharded as its parameter, of which this process may hold nothing."""
    for p in model.parameters():
        m = optimizer.state[p]["exp_avg"]
        assert isinstance(m, DTensor)
        assert m.placements == p.placements
        assert m.to_local().shape == p.to_local().shape
    sizes = [p.to_local().numel() for p in model.parameters()]
    assert sizes == [[9, 3, 5, 1], [6, 2, 0, 0]][rank]


if __name__ == "__main__":
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    found = {name: results(settings, rank) for name, settings in SETTINGS.items()}
    found["zero"], found["refusal"] = zero(rank), refusal()
    torch.save(found, Path(sys.argv[1]) / f"rank{rank}.pt")
    dist.destroy_process_group()
