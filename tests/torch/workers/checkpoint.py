"""Two processes save a run with torch.distributed.checkpoint, and resume it; one resumes it too.

Under torchrun with the folder argv[1]: writes the checkpoint, and what the run came to without and
with a restart. Without torchrun: resumes from the same checkpoint on plain tensors.
"""

import copy
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from common import batches, make_model, snapshot, train, train_alone
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.fsdp import fully_shard

from lion_ports.torch import Lion

SETTINGS = {
    "bfloat16": {"lr": 0.01, "weight_decay": 0.1},
    "float32-momentum": {"lr": 0.01, "weight_decay": 0.1, "momentum_dtype": "float32"},
    "schedule": {"lr": lambda step: 0.01 / (step + 1), "weight_decay": 0.1},
    "average": {"lr": 0.01, "ema_decay": 0.9},
    "accumulate": {"lr": 0.01, "gradient_accumulation_steps": 2},
}
BEFORE, AFTER = 3, 2
DTYPE = torch.bfloat16


def start(settings, sharded):
    model = make_model(DTYPE)
    if sharded:
        for layer in model:
            fully_shard(layer)
        fully_shard(model)
    return model, Lion(model.parameters(), **settings)


def save(folder, model, optimizer):
    state = {
        "model": get_model_state_dict(model),
        "optimizer": get_optimizer_state_dict(model, optimizer),
    }
    dcp.save(state, checkpoint_id=folder)


def resume(folder, settings, sharded):
    model, optimizer = start(settings, sharded)
    state = {
        "model": get_model_state_dict(model),
        "optimizer": get_optimizer_state_dict(model, optimizer),
    }
    dcp.load(state, checkpoint_id=folder)
    set_model_state_dict(model, state["model"])
    set_optimizer_state_dict(model, optimizer, state["optimizer"])
    return model, optimizer


def both(folder, name, rank):
    settings, data = SETTINGS[name], batches(BEFORE + AFTER, DTYPE)[:, rank]
    model, optimizer = start(settings, sharded=True)
    train(model, optimizer, data[:BEFORE])
    save(folder / name, model, optimizer)
    train(model, optimizer, data[BEFORE:])
    through = snapshot(model, optimizer)
    model, optimizer = resume(folder / name, settings, sharded=True)
    train(model, optimizer, data[BEFORE:])
    return {"through": through, "resumed": snapshot(model, optimizer)}


def in_memory(name, rank, **options):
    """A restart from state dicts that are gathered, or flat, and never on a disk."""
    settings, data = SETTINGS[name], batches(BEFORE + AFTER, DTYPE)[:, rank]
    options = StateDictOptions(**options)
    model, optimizer = start(settings, sharded=True)
    train(model, optimizer, data[:BEFORE])
    weights, state = copy.deepcopy(get_state_dict(model, optimizer, options=options))
    model, optimizer = start(settings, sharded=True)
    set_state_dict(
        model, optimizer, model_state_dict=weights, optim_state_dict=state, options=options
    )
    train(model, optimizer, data[BEFORE:])
    return snapshot(model, optimizer)


def alone(folder, name):
    model, optimizer = resume(folder / name, SETTINGS[name], sharded=False)
    train_alone(model, optimizer, batches(BEFORE + AFTER, DTYPE)[BEFORE:])
    return {"resharded": snapshot(model, optimizer)}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
        rank = dist.get_rank()
        found = {name: both(folder, name, rank) for name in SETTINGS}
        found["float32-momentum"] |= {
            "gathered": in_memory("float32-momentum", rank, full_state_dict=True),
            "flat": in_memory("float32-momentum", rank, flatten_optimizer_state_dict=True),
        }
        torch.save(found, folder / f"rank{rank}.pt")
        dist.destroy_process_group()
    else:
        torch.save({name: alone(folder, name) for name in SETTINGS}, folder / "alone.pt")
