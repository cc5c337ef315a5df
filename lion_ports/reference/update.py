"""The update of one parameter (L-001), its direction (L-022, L-028) and its average (L-029)."""

from typing import Any

import numpy as np

from lion_ports.config import LION, Rule, Scalars
from lion_ports.errors import ConfigError
from lion_ports.reference.arithmetic import (
    Array,
    Flush,
    as_complex,
    as_reals,
    compute_dtype,
    flushing,
    kept,
    narrow,
    sign,
    widen,
)


def direction(c: Array, rule: Rule, ftz: Flush = kept) -> Array:
    """``u`` from ``c``: its sign (L-010), or what ``nonlinearity`` puts in its place (L-028)."""
    if rule.nonlinearity == "sign":
        return sign(c)
    one = c.dtype.type(1)
    v = ftz(c.dtype.type(rule.steepness) * c)
    if rule.nonlinearity == "tanh":
        return np.asarray(ftz(np.tanh(v)))
    if rule.nonlinearity == "clip":
        return np.asarray(np.minimum(np.maximum(v, -one), one))
    if rule.nonlinearity == "l2":
        norm = np.sqrt(np.sum(v * v, dtype=c.dtype))
        return np.asarray(ftz(v * (one / np.maximum(norm, one))))
    raise ConfigError(f"nonlinearity = {rule.nonlinearity!r} is none that Lion has")


def cautious(u: Array, g: Array, rule: Rule, ftz: Flush = kept) -> Array:
    """``u`` without what ``g`` opposes, and the rest enlarged to make up for it (L-022)."""
    agree = ((u > 0) & (g > 0)) | ((u < 0) & (g < 0))
    oppose = ((u > 0) & (g <= 0)) | ((u < 0) & (g >= 0))
    kind = u.dtype.type
    scale = kind(u.size) / kind(np.count_nonzero(agree) + 1)
    factor = np.minimum(scale, kind(rule.cautious_cap))
    return np.asarray(ftz(factor * np.where(oppose, kind(0), u)))


def lion_update(
    x: Array, g: Array, m: Array, scalars: Scalars, rule: Rule = LION, *, flush: bool = False
) -> tuple[Array, Array]:
    """One Lion update of one parameter (L-001; Program 1 of the paper).

    Args:
        x: parameter, any shape and any floating or complex dtype.
        g: gradient, same shape, any floating dtype; complex where ``x`` is.
        m: momentum as stored, same shape.
        scalars: learning rate, betas and weight decay.
        rule: another direction or decay than Lion's own (L-022, L-023, L-028).
        flush: replace subnormal numbers by zero before and after every operation, as XLA on the
            CPU and most accelerators do (L-012).

    Returns:
        The new parameter in the dtype of ``x`` and the new momentum in the dtype of ``m``.

    Raises:
        DtypeError: if ``x`` is neither floating nor complex.

    >>> x, m = np.float32([1, 1, 1]), np.float32([0.5, -0.5, 0])
    >>> g = np.float32([1, 1, 0])
    >>> lion_update(x, g, m, Scalars(lr=0.25, b1=0.5, b2=0.75, wd=0.5))
    (array([0.625, 0.625, 0.875], dtype=float32), array([ 0.625, -0.125,  0.   ], dtype=float32))
    """
    if np.iscomplexobj(x):  # L-014: pairs of reals
        x_, g_, m_ = (as_reals(a) for a in (x, g, m))
        new_x, new_m = lion_update(x_, g_, m_, scalars, rule, flush=flush)
        return as_complex(new_x), as_complex(new_m)

    dtype = compute_dtype(x.dtype)
    ftz = flushing(flush)
    # L-006: 1-b in float64, then every scalar is rounded once to the compute dtype.
    b1, omb1, b2, omb2 = (
        dtype(b) for b in (scalars.b1, 1 - scalars.b1, scalars.b2, 1 - scalars.b2)
    )
    lr = ftz(dtype(scalars.lr))
    wd = _decay(scalars, dtype, ftz)

    # L-011: infinities and NaN follow IEEE 754, so NumPy need not warn of them.
    with np.errstate(all="ignore"):
        x_, g_, m_ = (ftz(widen(a, dtype)) for a in (x, g, m))
        # L-007: one IEEE operation at a time, in this order.
        c = ftz(ftz(b1 * m_) + ftz(omb1 * g_))
        u = direction(c, rule, ftz)
        if rule.cautious:
            u = cautious(u, g_, rule, ftz)
        if wd != 0:  # L-009
            decayed = ftz(u + ftz(wd * x_))
            same_way = ((u > 0) & (x_ > 0)) | ((u < 0) & (x_ < 0))
            u = np.where(same_way, decayed, u) if rule.cautious_decay else decayed  # L-023
        x_ = ftz(x_ - ftz(lr * u))
        m_ = ftz(ftz(b2 * m_) + ftz(omb2 * g_))
        return narrow(x_, x.dtype), narrow(m_, m.dtype)


def average(e: Array, x: Array, decay: float, *, flush: bool = False) -> Array:
    """The moving average after an update (L-029); ``e`` in the compute dtype, ``x`` as stored."""
    if np.iscomplexobj(x):
        return as_complex(average(as_reals(e), as_reals(x), decay, flush=flush))
    dtype = compute_dtype(x.dtype)
    ftz = flushing(flush)
    d, omd = dtype(decay), dtype(1 - decay)
    with np.errstate(all="ignore"):
        x_ = ftz(widen(x, dtype))
        return np.asarray(ftz(ftz(d * e) + ftz(omd * x_)))


def _decay(scalars: Scalars, dtype: Any, ftz: Flush) -> Any:
    """The coefficient of ``x`` beside ``u``: ``wd``, or ``wd / lr_peak`` (L-017)."""
    wd = ftz(dtype(scalars.wd))
    return wd if scalars.lr_peak is None else ftz(wd / dtype(scalars.lr_peak))
