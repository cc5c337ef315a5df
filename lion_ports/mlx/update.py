"""The update of one parameter (L-001), its direction (L-022, L-028) and its average (L-029)."""

import platform
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mlx.core as mx

from lion_ports.config import LION, Rule, Scalars
from lion_ports.errors import ConfigError
from lion_ports.mlx import gpu
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
from lion_ports.mlx.scalars import Rounded, rounded

# One kernel for an update is 2 to 4 times as fast on the CPU as one operation after another, but
# takes up to a second to compile: it is made where more elements than these are updated.
_LARGE = 1 << 14

# MLX leaves its kernels for the CPU to the system's compiler. There is nothing to contract to on
# x86-64, and Apple's does not contract across statements; that of Linux on ARM does (L-007).
_STRICT = platform.system() == "Darwin" or platform.machine().lower() in ("x86_64", "amd64")


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
    numbers = rounded(scalars, compute_dtype(x.dtype))
    return move(x, g, m, numbers, rule, one_kernel=fuses(x.size))


def fuses(size: int) -> bool:
    """Whether updates of so many elements together are made by one kernel each."""
    return size > _LARGE and _STRICT and mx.default_device().type == mx.cpu


def is_large(x: mx.array) -> bool:
    """Whether it matters in which order the parameters are updated."""
    return x.size > _LARGE


def average(e: mx.array, x: mx.array, decay: float) -> mx.array:
    """The moving average after an update (L-029); ``e`` in the compute dtype, ``x`` as stored."""
    if x.dtype == mx.complex64:
        return as_complex(average(as_reals(e), as_reals(x), decay))
    dtype = compute_dtype(x.dtype)
    d, omd = mx.array(decay, dtype), mx.array(1 - decay, dtype)
    return d * e + omd * widen(x, dtype)


def move(
    x: mx.array, g: mx.array, m: mx.array, scalars: Rounded, rule: Rule, *, one_kernel: bool
) -> tuple[mx.array, mx.array]:
    """L-001 as one kernel, or as one operation after another: the bits are the same (L-007)."""
    if x.dtype == mx.complex64:  # L-014: pairs of reals
        x_, g_, m_ = (as_reals(a) for a in (x, g, m))
        new_x, new_m = move(x_, g_, m_, scalars, rule, one_kernel=one_kernel)
        return as_complex(new_x), as_complex(new_m)
    if gpu.takes(rule, x, g, m):
        return gpu.move(x, g, m, scalars)
    ordered = one_kernel and is_large(x)
    if one_kernel:
        new_x, new_m = _compiled(rule, scalars.decays, ordered)(x, g, m, *scalars.arrays)
        return new_x, new_m
    return _moved(rule, scalars.decays, ordered, x, g, m, *scalars.arrays)


def is_elementwise(rule: Rule) -> bool:
    """Whether no element of an update depends on others of its parameter."""
    return not rule.cautious and rule.nonlinearity != "l2"


def after(array: mx.array, first: mx.array | None) -> mx.array:
    """The same array, of which nothing is made before ``first`` is there."""
    return array if first is None else mx.depends([array], [first])[0]


def _moved(
    rule: Rule,
    decays: bool,
    ordered: bool,
    x: mx.array,
    g: mx.array,
    m: mx.array,
    lr: mx.array,
    b1: mx.array,
    omb1: mx.array,
    b2: mx.array,
    omb2: mx.array,
    wd: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """L-001 on reals."""
    x_, g_, m_ = (widen(a, lr.dtype) for a in (x, g, m))
    # L-007: one IEEE operation at a time, in this order.
    c = b1 * m_ + omb1 * g_
    u = direction(c, rule)
    if rule.cautious:
        u = cautious(u, g_, rule)
    if wd is not None:
        where = None if decays else wd != 0  # L-009
        if rule.cautious_decay:  # L-023
            same_way = ((u > 0) & (x_ > 0)) | ((u < 0) & (x_ < 0))
            where = same_way if where is None else where & same_way
        u = select(where, u + wd * x_, u)
    new_x = narrow(x_ - lr * u, x.dtype)
    # MLX makes two kernels of this, both of which read m and g. The second takes them from the
    # cache, and m' takes m's memory, if it comes straight after the first. What both would widen
    # MLX would write out in between.
    later = mx.depends([m, g], [new_x]) if ordered else [m, g]
    m_, g_ = (widen(a, lr.dtype) for a in later)
    return new_x, narrow(b2 * m_ + omb2 * g_, m.dtype)


@cache
def _compiled(rule: Rule, decays: bool, ordered: bool) -> Callable[..., Any]:
    return mx.compile(partial(_moved, rule, decays, ordered))
