"""A training step by hand on MLX."""

from collections.abc import Callable
from functools import partial
from typing import Any

# First of all: it loads an optimised BLAS, which the hand-written loop has then as well.
from lion_ports.trainers.mlx.model import Transformer, loss  # isort: skip

import mlx.core as mx
import mlx.nn as nn
from mlx import optimizers
from mlx.utils import tree_unflatten
from numpy.typing import NDArray

from lion_ports.cli.bench.catalog import Contender
from lion_ports.cli.bench.steps import attribute
from lion_ports.trainers.engine import EngineSettings, Tensors


def hand_written(
    contender: Contender, settings: EngineSettings, weights: Tensors
) -> Callable[[NDArray[Any], float], float]:
    """One compiled step. MLX's optimizers decay the gains of the norms as well."""
    model = Transformer(settings.architecture)
    model.update(tree_unflatten([(name, mx.array(w)) for name, w in weights.items()]))
    lion = attribute(contender.target)
    optimizer = lion(1e-3, betas=list(settings.betas), weight_decay=settings.weight_decay)
    optimizer.init(model.trainable_parameters())
    value_and_grad = nn.value_and_grad(model, partial(loss, model))
    held = [model.state, optimizer.state]

    @partial(mx.compile, inputs=held, outputs=held)
    def step(tokens: mx.array) -> mx.array:
        value, gradients = value_and_grad(tokens)
        gradients, _ = optimizers.clip_grad_norm(gradients, settings.clip)
        optimizer.update(model, gradients)
        loss_before: mx.array = value
        return loss_before

    def next_step(tokens: NDArray[Any], lr: float) -> float:
        optimizer.learning_rate = lr
        value = step(mx.array(tokens))
        mx.eval(value, held)
        return float(value)

    return next_step
