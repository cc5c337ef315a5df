"""Accelerate trains, saves and resumes; what came out is written to the folder argv[1]."""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from common import batches, loss, make_model, snapshot

from lion_ports.torch import Lion

STEPS, SAVED = 6, 3
SETTINGS = {"lr": 0.01, "weight_decay": 0.1, "momentum_dtype": "bfloat16"}


def start():
    model = make_model()
    optimizer = Lion(model.parameters(), **SETTINGS)
    return model, optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)


def train(model, optimizer, scheduler, halves, backward):
    for half in halves:
        backward(loss(model, half))
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    folder, data = Path(sys.argv[1]), batches(STEPS)[:, 0]
    model, optimizer, scheduler = start()
    train(model, optimizer, scheduler, data, torch.Tensor.backward)
    found = {"alone": snapshot(model, optimizer)}

    accelerator = Accelerator(cpu=True)
    model, optimizer, scheduler = accelerator.prepare(*start())
    train(model, optimizer, scheduler, data[:SAVED], accelerator.backward)
    accelerator.save_state(folder / "saved")
    train(model, optimizer, scheduler, data[SAVED:], accelerator.backward)
    found["accelerate"] = snapshot(model, optimizer)
    accelerator.load_state(folder / "saved")
    train(model, optimizer, scheduler, data[SAVED:], accelerator.backward)
    found["resumed"] = snapshot(model, optimizer)
    torch.save(found, folder / "found.pt")
