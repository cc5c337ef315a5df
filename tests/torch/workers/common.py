"""A tiny model and its batches, trained by two processes or by one.

Of its dimensions 5 is not divisible by two processes, and 1 leaves the second one nothing.
"""

import torch
from torch import nn

RANKS = 2


def make_model(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).to(dtype)


def batches(steps, dtype=torch.float32):
    """Each batch holds one half for each process: (steps, RANKS, 4, 3)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(steps, RANKS, 4, 3, generator=generator).to(dtype)


def loss(model, half):
    return (model(half) - 1).square().mean()


def train(model, optimizer, halves):
    """One process of two: the wrapper around the model averages the gradients."""
    for half in halves:
        loss(model, half).backward()
        optimizer.step()
        optimizer.zero_grad()


def train_alone(model, optimizer, batches):
    """One process for two: the mean of the gradients of both halves, rounded as a sum of two is."""
    params = list(model.parameters())
    for batch in batches:
        gradients = [torch.autograd.grad(loss(model, half), params) for half in batch]
        for p, g, h in zip(params, *gradients, strict=True):
            p.grad = (g + h) / RANKS
        optimizer.step()
        optimizer.zero_grad()


def full(tensor):
    """A copy of the whole tensor, gathered if it is a DTensor; every process must ask."""
    whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole.detach().clone()


def snapshot(model, optimizer):
    """Parameters and momenta, gathered."""
    params = list(model.parameters())
    return {
        "parameters": [full(p) for p in params],
        "momentum": [full(optimizer.state[p]["exp_avg"]) for p in params],
    }
