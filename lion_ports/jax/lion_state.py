"""What a step of Lion carries to the next (L-002)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lion_ports.config import LOSS_SCALE_INITIAL, LionConfig
from lion_ports.errors import ConfigError
from lion_ports.jax.arithmetic import as_reals, compute_dtype, like, narrow, opaque_counter, widest
from lion_ports.jax.storage import CORRECTIONS, zero_scales


class LionState(NamedTuple):
    """The state of Lion; None, which has no leaves, where an option is off.

    Attributes:
        count: updates done, an int32 scalar.
        mu: the momentum, a tree like the parameters, in their dtypes or in ``mu_dtype`` (L-016).
        skipped: steps left out, an int32 scalar (L-019).
        micro: micro-steps since the last update, an int32 scalar (L-025).
        grad_sum: the sums of their gradients, a tree like the parameters, in the compute dtype.
        seen: how many gradients are in the sum of each leaf, an int32 vector.
        average: of the parameters, a tree like them, in the compute dtype (L-029).
        loss_scale: a float32 scalar, where it is dynamic: multiply the loss by it (L-024).
        good_steps: finite steps since it last changed, an int32 scalar.
        lr_peak: what independent decay divides by, a scalar in the widest compute dtype (L-017).
        mu_scale: a tree like the parameters, of one bfloat16 vector for each int8 momentum, with a
            scale for every 128 elements; None for another (L-031).
        correction: a tree like the parameters, int8 or int16 beside each bfloat16 parameter; None
            beside another (L-032).
    """

    count: Array  # type: ignore[assignment]  # a field named like a method of tuple, as in optax
    mu: Any
    skipped: Array
    micro: Array | None = None
    grad_sum: Any = None
    seen: Array | None = None
    average: Any = None
    loss_scale: Array | None = None
    good_steps: Array | None = None
    lr_peak: Array | None = None
    mu_scale: Any = None
    correction: Any = None


def init(params: Any, config: LionConfig) -> LionState:
    """The state before the first step: a zero momentum beside every parameter (L-002, L-016).

    Raises:
        DtypeError: if a parameter is neither floating nor complex.
    """
    leaves = [(name, jnp.asarray(x)) for name, x in named_leaves(params)]
    computes = [compute_dtype(x.dtype, name) for name, x in leaves]
    traced = any(isinstance(x, jax.core.Tracer) for _, x in leaves)

    # Each scalar has a buffer of its own, because one buffer cannot be donated twice.
    def scalar() -> Array:
        return jnp.zeros((), jnp.int32)

    def zeros(x: Any) -> Array:
        return jnp.zeros_like(x, dtype=None if jnp.iscomplexobj(x) else config.momentum_dtype)

    state = LionState(
        count=opaque_counter() if traced else scalar(),
        mu=jax.tree.map(zeros, params),
        skipped=scalar(),
    )
    if config.momentum_dtype == "int8":
        scales = jax.tree.map(lambda m: zero_scales(m) if m.dtype == jnp.int8 else None, state.mu)
        state = state._replace(mu_scale=scales)
    if config.correction_bits:
        dtype = CORRECTIONS[config.correction_bits == 16]
        state = state._replace(
            correction=jax.tree.map(
                lambda x: jnp.zeros_like(x, dtype) if is_corrected(x) else None, params
            )
        )
    if config.gradient_accumulation_steps > 1:
        state = state._replace(
            micro=scalar(),
            grad_sum=jax.tree.map(lambda x: jnp.zeros_like(copied(x)), params),
            seen=jnp.zeros(len(leaves), jnp.int32),
        )
    if config.ema_decay is not None:
        state = state._replace(average=jax.tree.map(copied, params))
    if config.dynamic:
        scale = jnp.asarray(LOSS_SCALE_INITIAL, jnp.float32)
        state = state._replace(loss_scale=scale, good_steps=scalar())
    if config.lr_peak is not None:
        state = state._replace(lr_peak=jnp.array(config.lr_peak, widest(computes)))
    return state


def averaged_params(state: Any, params: Any) -> Any:
    """The moving averages, in the dtypes of the parameters (L-029).

    Args:
        state: a LionState, or an optax state with one or more inside.
        params: the parameters; those that Lion keeps no average of are returned as they are.

    Raises:
        ConfigError: there are no averages.

    >>> from lion_ports.jax import fused_lion
    >>> optimizer = fused_lion(0.5, ema_decay=0.75)
    >>> params = {"w": jnp.ones(2)}
    >>> params, state = optimizer.step(params, {"w": jnp.ones(2)}, optimizer.init(params))
    >>> params, averaged_params(state, params)
    ({'w': Array([0.5, 0.5], dtype=float32)}, {'w': Array([0.875, 0.875], dtype=float32)})
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, LionState))
    averages = {
        name: e
        for node in nodes
        if isinstance(node, LionState) and node.average is not None
        for name, e in named_leaves(node.average)
    }
    if not averages:
        raise ConfigError("the state has no averages; make the optimizer with ema_decay")
    return with_leaves(params, lambda name, x: stored(averages[name], x) if name in averages else x)


def stored(e: Array, x: Array) -> Array:
    """An average in the dtype of its parameter."""
    x_ = as_reals(x)
    return like(narrow(as_reals(e), x_.dtype), x)


def is_corrected(x: Any) -> bool:
    """Whether ``correction_bits`` is about a parameter (L-032)."""
    return bool(jnp.result_type(x) == jnp.bfloat16)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree with their dotted paths; that of an array alone is "parameter"."""
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def with_leaves(tree: Any, function: Any) -> Any:
    """The tree of ``function(name, leaf)``, with names as in :func:`named_leaves`."""
    return jax.tree.map_with_path(lambda path, leaf: function(_name(path), leaf), tree)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".") or "parameter"


def copied(x: Any) -> Array:
    """A copy of a parameter in its compute dtype; of its own, because ``x`` may be donated."""
    dtype = jnp.asarray(x).dtype
    return jnp.array(x, dtype if jnp.iscomplexobj(x) else compute_dtype(dtype), copy=True)
