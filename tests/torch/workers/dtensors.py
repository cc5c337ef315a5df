"""Four processes update DTensors in every placement, and write what came out to the folder argv[1].

The gradients are small integers: sums of their squares are exact in any order.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from common import full
from hybrid import hybrid_results
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from lion_ports.torch import Lion

SHAPES = [(5, 3), (1, 4), (2, 1), (0, 3), (4, 4)]
STEPS = 3
PLACEMENTS = {
    "shard0": [Replicate(), Shard(0)],
    "shard-last": [Replicate(), Shard(-1)],
    "replicate": [Replicate(), Replicate()],
    "sharded-once": [Shard(0), Replicate()],
    "sharded-twice": [Shard(0), Shard(1)],
}
SETTINGS = {
    "plain": {"weight_decay": 0.1},
    "skip": {"nonfinite": "skip"},
    "cautious": {"cautious": True, "cautious_decay": True, "weight_decay": 0.1},
    "clipvalue": {"clipvalue": 1.5},
    "clipnorm": {"clipnorm": 1.0},
    "global-clipnorm": {"global_clipnorm": 1.0},
    "dynamic": {"loss_scale": "dynamic"},
}
BFLOAT16 = {
    "float32-momentum": {"momentum_dtype": "float32"},
    "accumulate": {"gradient_accumulation_steps": 2},
    "average": {"ema_decay": 0.9, "ema_overwrite_every": 2},
}
# Not here: the norm of an l2 direction is that of a momentum, whose squares are not exact.


def gradients(step, name):
    """Plain gradients of a step; in "skip" and "dynamic" one shard of one of them is not finite."""
    generator = torch.Generator().manual_seed(step)
    grads = [torch.randint(-3, 4, shape, generator=generator).float() for shape in SHAPES]
    if name in ("skip", "dynamic") and step == 1:
        grads[0][4, 2] = float("nan")
    return grads


def run(name, place=None, place_gradient=None):
    """Parameters, their state and the steps left out; of plain tensors without ``place``."""
    settings, dtype = SETTINGS.get(name), torch.float32
    if settings is None:
        settings, dtype = BFLOAT16[name], torch.bfloat16
    generator = torch.Generator().manual_seed(7)
    xs = [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]
    params = [torch.nn.Parameter(x if place is None else place(x)) for x in xs]
    optimizer = Lion(params, lr=0.01, **settings)
    for step in range(STEPS):
        for p, g in zip(params, gradients(step, name), strict=True):
            p.grad = g.to(dtype) if place is None else place_gradient(g.to(dtype))
        optimizer.step()
    state = [optimizer.state[p] for p in params]
    if place is not None:
        assert all(isinstance(t, DTensor) for s in state for key, t in s.items() if key != "seen")
    return {
        "parameters": [full(p) for p in params],
        "state": [{key: full(t) for key, t in s.items()} for s in state],
        "skipped": optimizer.skipped,
    }


def results(name, mesh):
    """By placement: what the run came to."""
    found = {"alone": run(name)}
    for where, placements in PLACEMENTS.items():

        def place(x, placements=placements):
            return distribute_tensor(x, mesh, placements)

        found[where] = run(name, place, place)

    # Pairs of processes have halves of the gradient, and shards of the parameter.
    def shard(x):
        return distribute_tensor(x, mesh, [Replicate(), Shard(0)])

    def halve(g):
        return DTensor.from_local(g / 2, mesh, [Replicate(), Partial()])

    return found | {"partial": run(name, shard, halve)}


def scaled(mesh):
    """Parameters, skipped steps and scale of a GradScaler, one shard of a gradient overflowing."""
    xs = [torch.ones(shape) for shape in SHAPES]
    params = [torch.nn.Parameter(distribute_tensor(x, mesh, [Replicate(), Shard(0)])) for x in xs]
    optimizer, scaler = Lion(params, lr=0.25), torch.amp.GradScaler("cpu", init_scale=4.0)
    for step in range(STEPS):
        scaler.scale(torch.ones(()))
        for p, g in zip(params, gradients(step, "skip"), strict=True):
            p.grad = distribute_tensor(g, mesh, [Replicate(), Shard(0)])
        scaler.step(optimizer)
        scaler.update()
    return [full(p) for p in params], optimizer.skipped, scaler.get_scale()


if __name__ == "__main__":
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    found = {
        "placements": {name: results(name, mesh) for name in (*SETTINGS, *BFLOAT16)},
        "hybrid": hybrid_results(mesh),
        "scaled": scaled(mesh),
    }
    torch.save(found, Path(sys.argv[1]) / f"rank{dist.get_rank()}.pt")
    dist.destroy_process_group()
