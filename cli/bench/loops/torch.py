"""A training step by hand on PyTorch."""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray

from lion_ports.cli.bench.catalog import Contender
from lion_ports.cli.bench.steps import attribute
from lion_ports.trainers.engine import EngineSettings, Tensors
from lion_ports.trainers.torch.engine import pick_device
from lion_ports.trainers.torch.model import Transformer, loss


def hand_written(
    contender: Contender, settings: EngineSettings, weights: Tensors
) -> Callable[[NDArray[Any], float], float]:
    """Backward, ``clip_grad_norm_``, step; compiled where the trainer compiles."""
    device = pick_device(settings.device)
    model = Transformer(settings.architecture).to(device)
    model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
    parameters = list(model.parameters())
    optimizer = attribute(contender.target)(
        [
            {"params": [p for p in parameters if p.dim() >= 2]},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=1e-3,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    compute = torch.compile(loss) if device.type == "cuda" else loss

    def step(tokens: NDArray[Any], lr: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        value = compute(model, torch.from_numpy(tokens).to(device))
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        return value.item()

    return step
