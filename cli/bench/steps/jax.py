"""Optimizer steps on JAX: each jitted, with parameters and state donated."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lion_ports.cli.bench.catalog import Contender
from lion_ports.cli.bench.steps import LEARNING_RATE, Case, Memory, Step, attribute, wall_clock

BANDWIDTH = "jax: jit(a + b) on float32, a donated"

stopwatch = wall_clock  # each run waits for its results


def prepare(device: str, threads: int, dtype: str) -> str:
    """Choose device and precision; the device's name."""
    from lion_ports.trainers.jax.engine import pick_device

    chosen = pick_device(device)
    jax.config.update("jax_default_device", chosen)
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    return "cpu" if chosen.platform == "cpu" else str(chosen.device_kind)


def notes() -> list[str]:
    """None: ours needs no other package here."""
    return []


def bandwidth(elements: int) -> Step:
    """Read two arrays, write one: 12 bytes an element."""
    add = jax.jit(lambda a, b: a + b, donate_argnums=0)
    a, b = jnp.zeros(elements), jnp.ones(elements)

    def run() -> None:
        nonlocal a
        a = jax.block_until_ready(add(a, b))

    return Step(run, lambda: 0)


def build(contender: Contender, case: Case) -> Step:
    """The optimizer on parameters and gradients of its own."""
    generator = np.random.default_rng(0)
    params, grads = (
        [jnp.asarray(generator.standard_normal(s, np.float32), case.dtype) for s in case.shapes]
        for _ in range(2)
    )
    init, update = _WAYS[contender.way](contender, params)
    traces = 0

    def traced(params: Any, grads: Any, state: Any, lr: Any) -> Any:
        nonlocal traces
        traces += 1
        return update(params, grads, state, lr)

    step = jax.jit(traced, donate_argnums=(0, 2))
    state = init(params)
    rate = jnp.float32(LEARNING_RATE)

    def run() -> None:
        nonlocal params, state
        params, state = jax.block_until_ready(step(params, grads, state, rate))

    def set_lr(lr: float) -> None:
        nonlocal rate
        rate = jnp.float32(lr)

    def memory() -> Memory:
        compiled = jax.jit(update, donate_argnums=(0, 2)).lower(params, grads, state, rate)
        found: Any = compiled.compile().memory_analysis()
        temporary = int(found.temp_size_in_bytes)
        kept = max(0, int(found.output_size_in_bytes - found.alias_size_in_bytes))
        return Memory(temporary + kept, temporary)

    def state_bytes() -> int:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(state) if leaf.ndim > 0)

    return Step(run, state_bytes, memory, set_lr, lambda: traces)


Way = tuple[Callable[[Any], Any], Callable[[Any, Any, Any, Any], Any]]
"""``init(params)`` and ``update(params, grads, state, lr) -> (params, state)``."""


def _step(contender: Contender, params: Any) -> Way:
    optimizer = attribute(contender.target)(LEARNING_RATE, **contender.kwargs)
    return optimizer.init, lambda p, g, state, lr: optimizer.step(p, g, state, lr=lr)


def _optax(contender: Contender, params: Any) -> Way:
    """The transform is made inside the jitted function, with a learning rate that is traced."""
    import optax

    make = attribute(contender.target)

    def update(params: Any, grads: Any, state: Any, lr: Any) -> Any:
        updates, state = make(lr, **contender.kwargs).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return make(LEARNING_RATE, **contender.kwargs).init, update


def _keras(contender: Contender, params: Any) -> Way:
    """Keras' optimizer without its variables, as ``model.fit`` applies it; lr is in its state."""
    import keras

    optimizer = attribute(contender.target)(LEARNING_RATE, **contender.kwargs)
    optimizer.build([keras.Variable(x, dtype=str(x.dtype)) for x in params])

    def init(params: Any) -> Any:
        return [jnp.array(v.value, copy=True) for v in optimizer.variables]

    def update(params: Any, grads: Any, state: Any, lr: Any) -> Any:
        state = [lr if v.path.endswith("learning_rate") else s
                 for v, s in zip(optimizer.variables, state, strict=True)]  # fmt: skip
        return optimizer.stateless_apply(state, grads, params)

    return init, update


_WAYS: dict[str, Callable[[Contender, Any], Way]] = {
    "step": _step,
    "optax": _optax,
    "keras": _keras,
}
