"""The update of one parameter (L-001), its direction (L-022, L-028) and its average (L-029)."""

from typing import Any, get_args

import jax.numpy as jnp
from jax import Array

from lion_ports import checks
from lion_ports.config import LION, Nonlinearity, Rule, Scalars
from lion_ports.errors import ConfigError
from lion_ports.jax.arithmetic import (
    after,
    as_reals,
    chosen,
    compute_dtype,
    like,
    narrow,
    sign,
    times,
    widen,
)


def direction(c: Array, rule: Rule, zero: Array) -> Array:
    """``u`` from ``c``: its sign (L-010), or what ``nonlinearity`` puts in its place (L-028)."""
    if rule.nonlinearity == "sign":
        return sign(c)
    v = times(jnp.asarray(rule.steepness, c.dtype), c, zero)
    if rule.nonlinearity == "tanh":
        return jnp.tanh(v)
    if rule.nonlinearity == "clip":
        return jnp.minimum(jnp.maximum(v, -1), 1)
    if rule.nonlinearity == "l2":
        norm = jnp.sqrt(jnp.sum(v * v, dtype=c.dtype))
        return times(v, 1 / jnp.maximum(norm, 1), zero)
    raise ConfigError(*checks.choice("nonlinearity", rule.nonlinearity, get_args(Nonlinearity)))


def cautious(u: Array, g: Array, rule: Rule, zero: Array) -> Array:
    """``u`` without what ``g`` opposes, and the rest enlarged to make up for it (L-022)."""
    agree = ((u > 0) & (g > 0)) | ((u < 0) & (g < 0))
    oppose = ((u > 0) & (g <= 0)) | ((u < 0) & (g >= 0))
    count = jnp.sum(agree, dtype=jnp.uint32)  # exact up to 2^32 elements
    scale = jnp.asarray(u.size, u.dtype) / (count + 1).astype(u.dtype)
    kept = jnp.where(oppose, jnp.zeros((), u.dtype), u)
    return times(jnp.minimum(scale, jnp.asarray(rule.cautious_cap, u.dtype)), kept, zero)


def lion_update(
    x: Array,
    g: Array,
    m: Array,
    scalars: Scalars,
    zero: Array,
    rule: Rule = LION,
    moves: Any = True,
) -> tuple[Array, Array]:
    """One Lion update of one parameter (L-001; Program 1 of the paper).

    Args:
        x: parameter, any shape and any floating or complex dtype.
        g: gradient, same shape, any floating dtype; complex where ``x`` is.
        m: momentum as stored, same shape.
        scalars: learning rate (float or scalar array), betas and weight decay.
        zero: from :func:`lion_ports.jax.arithmetic.opaque_zero`.
        rule: another direction or decay than Lion's own (L-022, L-023, L-028).
        moves: False, or a boolean scalar that is, leaves both as they are.

    Returns:
        The new parameter in the dtype of ``x`` and the new momentum in the dtype of ``m``.

    Raises:
        DtypeError: if ``x`` is neither floating nor complex.
        ConfigError: if the rule has a nonlinearity of no known name.

    >>> from lion_ports.jax.arithmetic import opaque_zero
    >>> x, m = jnp.array([1.0, 1, 1]), jnp.array([0.5, -0.5, 0])
    >>> scalars = Scalars(lr=0.25, b1=0.5, b2=0.75, wd=0.5)
    >>> lion_update(x, jnp.array([1.0, 1, 0]), m, scalars, opaque_zero(jnp.array(0)))
    (Array([0.625, 0.625, 0.875], dtype=float32), Array([ 0.625, -0.125,  0.   ], dtype=float32))
    """
    new_x, new_m = lion_step(x, g, m, scalars, zero, rule, moves)
    return new_x, ordered(new_m, new_x, zero)


def lion_step(
    x: Array,
    g: Array,
    m: Array,
    scalars: Scalars,
    zero: Array,
    rule: Rule = LION,
    moves: Any = True,
) -> tuple[Array, Array]:
    """What :func:`lion_update` returns, in no order yet."""
    x_, g_, m_ = as_reals(x), as_reals(g), as_reals(m)
    move, new_m = _move(x_, g_, m_, scalars, zero, rule)
    new_x = chosen(moves, narrow(widen(x_, move.dtype) + move, x_.dtype), x_)
    return like(new_x, x), like(chosen(moves, new_m, m_), x)


def ordered(m: Array, x: Array, zero: Array) -> Array:
    """A new momentum, computed after a new parameter, both of which are written over old ones."""
    return like(after(as_reals(m), as_reals(x), zero), x)


def lion_move(
    x: Array,
    g: Array,
    m: Array,
    scalars: Scalars,
    zero: Array,
    rule: Rule = LION,
    moves: Any = True,
) -> tuple[Array, Array]:
    """What an optax update adds to the parameter, ``-lr*(u + wd*x)``, and the new momentum.

    The move is in the compute dtype: the rounding of L-008 comes after it is added.
    """
    x_, g_, m_ = as_reals(x), as_reals(g), as_reals(m)
    move, new_m = _move(x_, g_, m_, scalars, zero, rule)
    move = chosen(moves, move, jnp.asarray(-0.0, move.dtype))
    return like(move, x), like(chosen(moves, new_m, m_), x)


def unmoved(x: Array) -> Array:
    """What an optax update adds to a parameter that stays: x + -0 is x, and -0 + +0 is not -0."""
    zeros = jnp.full_like(as_reals(x), -0.0, dtype=compute_dtype(x.dtype))
    return like(zeros, x)


def moved(x: Array, move: Array) -> Array:
    """The parameter that ``optax.apply_updates`` makes: one rounding to storage (L-008)."""
    x_, move_ = as_reals(x), as_reals(move)
    return like(narrow(widen(x_, move_.dtype) + move_, x_.dtype), x)


def average(e: Array, x: Array, decay: Any, zero: Array) -> Array:
    """The moving average after an update (L-029); ``e`` in the compute dtype, ``x`` as stored."""
    dtype = compute_dtype(x.dtype)
    d, omd = jnp.asarray(decay, dtype), jnp.asarray(1 - decay, dtype)
    e_, x_ = as_reals(e), widen(as_reals(x), dtype)
    return like(times(d, e_, zero) + times(omd, x_, zero), x)


def _move(
    x: Array, g: Array, m: Array, scalars: Scalars, zero: Array, rule: Rule
) -> tuple[Array, Array]:
    """``-lr*(u + wd*x)`` in the compute dtype and the new momentum as stored, of real arrays."""
    dtype = compute_dtype(x.dtype)
    # L-006: 1-b in float64, then every scalar is rounded once to the compute dtype.
    lr, b1, omb1, b2, omb2 = (
        jnp.asarray(s, dtype)
        for s in (scalars.lr, scalars.b1, 1 - scalars.b1, scalars.b2, 1 - scalars.b2)
    )
    x_, g_, m_ = (widen(a, dtype) for a in (x, g, m))
    # L-007: one IEEE operation at a time, in this order.
    c = times(b1, m_, zero) + times(omb1, g_, zero)
    u = direction(c, rule, zero)
    if rule.cautious:
        u = cautious(u, g_, rule, zero)
    u = _decayed(u, x_, scalars, zero, rule)
    new_m = times(b2, m_, zero) + times(omb2, g_, zero)
    return -times(lr, u, zero), narrow(new_m, m.dtype)


def _decayed(u: Array, x: Array, scalars: Scalars, zero: Array, rule: Rule) -> Array:
    """``u + wd*x``, or ``wd/lr_peak`` in place of ``wd`` (L-017), where the parameter decays."""
    if isinstance(scalars.wd, float | int) and scalars.wd == 0:  # L-009
        return u
    wd = jnp.asarray(scalars.wd, x.dtype)
    if scalars.lr_peak is not None:
        wd = wd / jnp.asarray(scalars.lr_peak, x.dtype)
    decays = wd != 0
    if rule.cautious_decay:  # L-023
        decays = decays & (((u > 0) & (x > 0)) | ((u < 0) & (x < 0)))
    return jnp.where(decays, u + times(wd, x, zero), u)
