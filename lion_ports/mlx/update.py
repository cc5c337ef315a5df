"""The update of one parameter (L-001), its direction (L-022, L-028) and its average (L-029)."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mlx.core as mx

from lion_ports.config import LION, Rule, Scalars
from lion_ports.errors import ConfigError
from lion_ports.mlx.arithmetic import (
    as_complex,
    as_reals,
    compute_dtype,
    count,
    narrow,
    select,
    sign,
    total,
    widen,
)

# A weight decay of at least this is not rounded to zero in any compute dtype.
_SMALLEST = 2.0**-149

# Parameters with more elements are updated by one kernel on the CPU: it is 2 to 3 times as fast as
# one operation after another, but takes up to a second to compile.
_LARGE = 1 << 14


def direction(c: mx.array, rule: Rule) -> mx.array:
    """``u`` from ``c``: its sign (L-010), or what ``nonlinearity`` puts in its place (L-028)."""
    if rule.nonlinearity == "sign":
        return sign(c)
    one = mx.array(1, c.dtype)
    v = mx.array(rule.steepness, c.dtype) * c
    if rule.nonlinearity == "tanh":
        return mx.tanh(v)
    if rule.nonlinearity == "clip":
        return mx.minimum(mx.maximum(v, -one), one)
    if rule.nonlinearity == "l2":
        norm = mx.sqrt(total(v * v))
        return v * (one / mx.maximum(norm, one))
    raise ConfigError(f"nonlinearity = {rule.nonlinearity!r} is none that Lion has")


def cautious(u: mx.array, g: mx.array, rule: Rule) -> mx.array:
    """``u`` without what ``g`` opposes, and the rest enlarged to make up for it (L-022)."""
    agree = ((u > 0) & (g > 0)) | ((u < 0) & (g < 0))
    oppose = ((u > 0) & (g <= 0)) | ((u < 0) & (g >= 0))
    scale = mx.array(u.size, u.dtype) / (count(agree) + 1).astype(u.dtype)
    return mx.minimum(scale, mx.array(rule.cautious_cap, u.dtype)) * mx.where(oppose, 0, u)


def lion_update(
    x: mx.array, g: mx.array, m: mx.array, scalars: Scalars, rule: Rule = LION
) -> tuple[mx.array, mx.array]:
    """One Lion update of one parameter (L-001; Program 1 of the paper).

    Args:
        x: parameter, any shape and any floating or complex dtype.
        g: gradient, same shape, any floating dtype; complex where ``x`` is.
        m: momentum as stored, same shape.
        scalars: learning rate and weight decay (floats or scalar arrays), and betas.
        rule: another direction or decay than Lion's own (L-022, L-023, L-028).

    Returns:
        The new parameter in the dtype of ``x`` and the new momentum in the dtype of ``m``.

    Raises:
        DtypeError: if ``x`` is neither floating nor complex.

    >>> x, m = mx.array([1.0, 1, 1]), mx.array([0.5, -0.5, 0])
    >>> lion_update(x, mx.array([1.0, 1, 0]), m, Scalars(lr=0.25, b1=0.5, b2=0.75, wd=0.5))
    (array([0.625, 0.625, 0.875], dtype=float32), array([0.625, -0.125, 0], dtype=float32))
    """
    if x.dtype == mx.complex64:  # L-014: pairs of reals
        x_, g_, m_ = (as_reals(a) for a in (x, g, m))
        new_x, new_m = lion_update(x_, g_, m_, scalars, rule)
        return as_complex(new_x), as_complex(new_m)

    dtype = compute_dtype(x.dtype)
    # L-006: 1-b in float64, then every scalar is rounded once to the compute dtype.
    numbers = [
        mx.array(s, dtype)
        for s in (scalars.lr, scalars.b1, 1 - scalars.b1, scalars.b2, 1 - scalars.b2)
    ]
    wd, certain = _decay(scalars, dtype)
    # Only on the CPU is it certain that MLX's compiler contracts no product and sum (L-007).
    fuses = x.size > _LARGE and mx.default_device().type == mx.cpu
    moved = _fused(rule, certain) if fuses else partial(_moved, rule, certain)
    new_x, new_m = moved(x, g, m, *numbers, *wd)
    return new_x, new_m


def average(e: mx.array, x: mx.array, decay: float) -> mx.array:
    """The moving average after an update (L-029); ``e`` in the compute dtype, ``x`` as stored."""
    if x.dtype == mx.complex64:
        return as_complex(average(as_reals(e), as_reals(x), decay))
    dtype = compute_dtype(x.dtype)
    d, omd = mx.array(decay, dtype), mx.array(1 - decay, dtype)
    return d * e + omd * widen(x, dtype)


def _decay(scalars: Scalars, dtype: mx.Dtype) -> tuple[tuple[mx.array, ...], bool]:
    """The coefficient of ``x`` beside ``u`` if there is one (L-017), and if it is surely not 0.

    A schedule may give 0 at some steps, and then the term is absent as well (L-009).
    """
    known = not isinstance(scalars.wd, mx.array)
    if known and scalars.wd == 0:
        return (), True
    wd = mx.array(scalars.wd, dtype)
    if scalars.lr_peak is not None:
        return (wd / mx.array(scalars.lr_peak, dtype),), False
    return (wd,), known and scalars.wd >= _SMALLEST


def _moved(
    rule: Rule,
    certain: bool,
    x: mx.array,
    g: mx.array,
    m: mx.array,
    lr: mx.array,
    b1: mx.array,
    omb1: mx.array,
    b2: mx.array,
    omb2: mx.array,
    *wd: mx.array,
) -> tuple[mx.array, mx.array]:
    """L-001 on reals."""
    x_, g_, m_ = (widen(a, lr.dtype) for a in (x, g, m))
    # L-007: one IEEE operation at a time, in this order.
    c = b1 * m_ + omb1 * g_
    u = direction(c, rule)
    if rule.cautious:
        u = cautious(u, g_, rule)
    for coefficient in wd:
        where = None if certain else coefficient != 0
        if rule.cautious_decay:  # L-023
            same_way = ((u > 0) & (x_ > 0)) | ((u < 0) & (x_ < 0))
            where = same_way if where is None else where & same_way
        u = select(where, u + coefficient * x_, u)
    x_ = x_ - lr * u
    m_ = b2 * m_ + omb2 * g_
    return narrow(x_, x.dtype), narrow(m_, m.dtype)


@cache
def _fused(rule: Rule, certain: bool) -> Callable[..., Any]:
    """L-001 as one kernel."""
    return mx.compile(partial(_moved, rule, certain))
