"""A training step by hand on JAX."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from lion_ports.cli.bench.catalog import Contender
from lion_ports.cli.bench.steps import attribute
from lion_ports.trainers.engine import EngineSettings, Tensors
from lion_ports.trainers.jax.model import Transformer, loss


def hand_written(
    contender: Contender, settings: EngineSettings, weights: Tensors
) -> Callable[[NDArray[Any], float], float]:
    """One jitted step with everything donated."""
    (b1, b2), decay = settings.betas, settings.weight_decay
    clip = optax.clip_by_global_norm(settings.clip)

    def matrices(params: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)

    def lion(lr: Any) -> Any:
        make = attribute(contender.target)
        return make(lr, b1=b1, b2=b2, weight_decay=decay, mask=matrices)

    def step(model: Any, state: Any, tokens: Any, lr: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(model, tokens)
        gradients, _ = clip.update(gradients, clip.init(model))
        if contender.ours:
            return *lion(1e-3).step(model, gradients, state, lr=lr), value
        updates, state = lion(lr).update(gradients, state, model)
        return optax.apply_updates(model, updates), state, value

    # The leaves of the model are in the order of the canonical names.
    structure = jax.tree.structure(eqx.filter_eval_shape(Transformer, settings.architecture))
    leaves = [jnp.array(weights[name]) for name in settings.architecture.shapes()]
    model = jax.tree.unflatten(structure, leaves)
    state = lion(1e-3).init(model)
    compiled = jax.jit(step, donate_argnums=(0, 1))

    def next_step(tokens: NDArray[Any], lr: float) -> float:
        nonlocal model, state
        model, state, value = compiled(model, state, tokens, np.float32(lr))
        return float(value)

    return next_step
