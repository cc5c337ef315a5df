"""What is done to the gradients before the update: L-024, L-019, L-025, L-026, L-027, L-018."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lion_ports.config import LOSS_SCALE_MAX, LOSS_SCALE_MIN, LionConfig
from lion_ports.errors import ConfigError, NonFiniteError
from lion_ports.jax.arithmetic import (
    as_reals,
    chosen,
    compute_dtype,
    hidden,
    like,
    times,
    widen,
    widest,
)
from lion_ports.jax.lion_state import LionState

Leaves = list[Any]
"""Arrays by parameter, in the order of the tree's leaves; None where there is none."""


class Due(NamedTuple):
    """What an update is made with.

    Attributes:
        grads: in the compute dtype; None for a parameter without one (L-003).
        moves: for each parameter, whether it takes part; True, or a boolean scalar.
        updates: whether this step makes an update at all; True, or a boolean scalar.
    """

    grads: Leaves
    moves: list[Any]
    updates: Any


def effective_gradients(
    xs: Leaves, gs: Leaves, names: list[str], state: LionState, config: LionConfig, zero: Array
) -> tuple[Due, LionState]:
    """The gradients that the update of this step is made with.

    Args:
        xs: parameters.
        gs: gradients as they were given.
        names: of the parameters.
        state: before the step; its trees are lists.
        config: settings.
        zero: from :func:`lion_ports.jax.arithmetic.opaque_zero`.

    Returns:
        What to do, and the state with its counters, sums and loss scale brought forward.

    Raises:
        ConfigError: a gradient does not have the shape of its parameter.
        NonFiniteError: under ``nonfinite="raise"``, if a gradient is not finite (L-019).
    """
    due = [
        None if g is None else _loaded(g, x, name) for g, x, name in zip(gs, xs, names, strict=True)
    ]
    looks = config.skips or config.nonfinite == "raise"
    ok = _finite(gs, names, config) if looks else True
    scale = state.loss_scale if config.dynamic else config.loss_scale
    if config.dynamic:
        state = rescaled(state, ok, config.loss_scale_growth_interval)
    if config.skips:
        skipped = jnp.where(ok, state.skipped, optax.safe_increment(state.skipped))
        state = state._replace(skipped=skipped)

    if scale is not None:
        due = _each(partial(unscaled, scale=scale, zero=zero), due)
    moves, updates = [ok] * len(due), ok
    if config.gradient_accumulation_steps > 1:
        due, moves, updates, state = accumulated(
            due, ok, state, config.gradient_accumulation_steps, zero
        )
    due = clipped(due, config, zero)
    if config.maximize:  # L-018
        due = _each(jnp.negative, due)
    grads = [None if g is None else like(g, x) for g, x in zip(due, xs, strict=True)]
    return Due(grads, moves, updates), state


def rescaled(state: LionState, finite: Any, interval: int) -> LionState:
    """The state with the dynamic loss scale of the next step (L-024)."""
    assert state.loss_scale is not None
    assert state.good_steps is not None
    scale, good = state.loss_scale, state.good_steps + 1
    grown, shrunk = jnp.minimum(scale * 2, LOSS_SCALE_MAX), jnp.maximum(scale / 2, LOSS_SCALE_MIN)
    grows = good >= interval
    return state._replace(
        loss_scale=jnp.where(finite, jnp.where(grows, grown, scale), shrunk),
        good_steps=jnp.where(finite & ~grows, good, 0),
    )


def unscaled(g: Array, scale: Any, zero: Array) -> Array:
    """The gradient of the loss itself (L-024)."""
    return times(g, jnp.asarray(1 / scale, g.dtype), zero)


def accumulated(
    grads: Leaves, ok: Any, state: LionState, steps: int, zero: Array
) -> tuple[Leaves, list[Any], Any, LionState]:
    """The means of ``steps`` gradients, of which these may be the last (L-025).

    Returns:
        Means, which parameters have one, whether these gradients were the last, and the state.
    """
    assert state.micro is not None
    assert state.seen is not None
    # Zeros only where a sum begins: to write them where one ends would need the old sums until the
    # update is done, and a copy. Hidden, because XLA takes 0 + g for g where it sees the 0.
    begun = [
        hidden(jnp.where(state.seen[i] > 0, s, jnp.zeros((), s.dtype)), zero)
        for i, s in enumerate(as_reals(s) for s in state.grad_sum)
    ]
    sums = [s if g is None else chosen(ok, s + g, s) for s, g in zip(begun, grads, strict=True)]
    present = jnp.array([g is not None for g in grads], jnp.int32)
    seen, micro = chosen(ok, state.seen + present, state.seen), state.micro + 1
    last = (micro >= steps) & ok  # more than that where the number was lowered in between
    means = [times(s, jnp.asarray(1 / steps, s.dtype), zero) for s in sums]
    moves = [last & (seen[i] > 0) for i in range(len(sums))]
    state = state._replace(
        micro=jnp.where(last, 0, chosen(ok, micro, state.micro)),
        grad_sum=[like(s, old) for s, old in zip(sums, state.grad_sum, strict=True)],
        seen=jnp.where(last, 0, seen),
    )
    return means, moves, last, state


def clipped(grads: Leaves, config: LionConfig, zero: Array) -> Leaves:
    """The gradients within their bound (L-026, L-027)."""
    if config.clipvalue is not None:
        return _each(partial(clipped_value, bound=config.clipvalue), grads)
    if config.clipnorm is not None:
        factors = _each(lambda g: clip_factor(squared_norm(g), config.clipnorm), grads)
    elif config.global_clipnorm is not None and any(g is not None for g in grads):
        squares = [squared_norm(g) for g in grads if g is not None]
        dtype = widest(s.dtype for s in squares)
        total = sum((widen(s, dtype) for s in squares), jnp.zeros((), dtype))
        factors = [clip_factor(total, config.global_clipnorm)] * len(grads)
    else:
        return grads
    return [
        None if g is None else times(g, f.astype(g.dtype), zero)
        for g, f in zip(grads, factors, strict=True)
    ]


def clipped_value(g: Array, bound: Any) -> Array:
    """Each element within ``[-bound, bound]`` (L-026)."""
    v = jnp.asarray(bound, g.dtype)
    return jnp.minimum(jnp.maximum(g, -v), v)


def squared_norm(g: Array) -> Array:
    """The sum of squares, in the compute dtype (L-027)."""
    return jnp.sum(g * g, dtype=g.dtype)


def clip_factor(squared: Array, bound: Any) -> Array:
    """What brings a norm within ``bound``; 1 where it is (L-027)."""
    v = jnp.asarray(bound, squared.dtype)
    return v / jnp.maximum(jnp.sqrt(squared), v)


def _loaded(g: Any, x: Array, name: str) -> Array:
    """In the compute dtype of its parameter (L-005), a complex one as pairs."""
    try:
        g = jnp.asarray(g)
    except TypeError:
        raise ConfigError(f"the gradient of {name} is {g!r}, which is no array") from None
    if g.shape != x.shape or jnp.iscomplexobj(g) != jnp.iscomplexobj(x):
        raise ConfigError(
            f"the gradient of {name} is {g.dtype}{list(g.shape)}, and its parameter "
            f"{x.dtype}{list(x.shape)}; give a gradient of that shape, complex where it is"
        )
    return widen(as_reals(g), compute_dtype(x.dtype))


def _each(function: Callable[[Array], Array], grads: Leaves) -> Leaves:
    return [None if g is None else function(g) for g in grads]


def _finite(grads: Leaves, names: list[str], config: LionConfig) -> Array:
    """Whether every gradient is finite; under ``nonfinite="raise"`` an error where one is not."""
    present = [(name, g) for name, g in zip(names, grads, strict=True) if g is not None]
    finite = jnp.asarray([jnp.isfinite(g).all() for _, g in present], bool)

    def check(finite: Any, note: str = "") -> Any:
        if not finite.all():
            bad = (name for (name, _), ok in zip(present, finite, strict=True) if not ok)
            raise NonFiniteError(bad, note)
        return finite.all()

    if config.skips:
        return finite.all()
    if isinstance(finite, jax.core.Tracer):
        check = partial(check, note=", unless their buffers were donated, which frees them")
        result = jax.ShapeDtypeStruct((), bool)
        ok: Array = jax.pure_callback(check, result, finite, vmap_method="sequential")
        return ok
    return jnp.asarray(check(jax.device_get(finite)))
