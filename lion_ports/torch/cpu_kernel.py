"""One pass over the memory of parameters, gradients and momenta, compiled by Numba (L-001).

Kernels get tensors as tables of addresses and sizes, and a range of elements to work on, counted
through all tensors of the table: work is dealt out by elements, however many tensors there are.
What is None is left out of the code that is compiled for it.
Nothing is fused or reassociated (L-007): Numba lets LLVM do neither unless ``fastmath`` is on.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from lion_ports.torch.cpu_numbers import at, compiled, narrow, prefetch, strides, tensor, widen

inlined = partial(compiled, inlined=True)  # a loop with a call in it is not vectorized


def times(value: Any, factor: Any) -> Any:
    """A number times a factor, if there is one (L-024, L-025, L-027)."""


def _within(value: Any, bound: Any) -> Any:
    """A number between ``-bound`` and ``bound``, if there is one; NaN stays (L-026)."""


def direction(c: Any, steepness: Any) -> Any:
    """The sign of ``c`` (L-010); with a steepness, ``c`` times it in [-1, 1] (L-028)."""


def _agreeing(u: Any, g: Any, scale: Any) -> Any:
    """A direction; with a scale, what the gradient does not oppose of it, times that (L-022)."""


def _may_decay(u: Any, x: Any, cautious_decay: Any) -> Any:
    """Whether an element may decay; if it is to be cautious, the direction has to agree (L-023)."""


def _follow(e: Any, x: Any, i: Any, average: Any) -> None:
    """Let an average follow the new parameter, if there is one, and maybe replace it (L-029)."""


@overload(times)
def _times_of(value: Any, factor: Any) -> Callable[..., Any]:
    def given(value: Any, factor: Any) -> Any:
        return value

    def product(value: Any, factor: Any) -> Any:
        return value * factor

    return given if factor == types.none else product


@overload(_within)
def _within_of(value: Any, bound: Any) -> Callable[..., Any]:
    def given(value: Any, bound: Any) -> Any:
        return value

    def bounded(value: Any, bound: Any) -> Any:
        return bound if value > bound else (-bound if value < -bound else value)

    return given if bound == types.none else bounded


@overload(direction)
def _direction_by(c: Any, steepness: Any) -> Callable[..., Any]:
    def sign(c: Any, steepness: Any) -> Any:
        zero, one = type(c)(0), type(c)(1)
        # Both zeros give +0, NaN stays.
        return one if c > zero else (-one if c < zero else c - c)

    def clipped(c: Any, steepness: Any) -> Any:
        return _within(c * steepness, type(c)(1))

    return sign if steepness == types.none else clipped


@overload(_agreeing)
def _agreeing_by(u: Any, g: Any, scale: Any) -> Callable[..., Any]:
    def whole(u: Any, g: Any, scale: Any) -> Any:
        return u

    def cautious(u: Any, g: Any, scale: Any) -> Any:
        zero = type(u)(0)
        opposed = (u > zero and g <= zero) or (u < zero and g >= zero)
        return scale * (zero if opposed else u)

    return whole if scale == types.none else cautious


@overload(_may_decay)
def _may_decay_by(u: Any, x: Any, cautious_decay: Any) -> Callable[..., Any]:
    def always(u: Any, x: Any, cautious_decay: Any) -> Any:
        return True

    def same_way(u: Any, x: Any, cautious_decay: Any) -> Any:
        zero = type(u)(0)
        return (u > zero and x > zero) or (u < zero and x < zero)

    return always if cautious_decay == types.none else same_way


@overload(_follow)
def _follow_of(e: Any, x: Any, i: Any, average: Any) -> Callable[..., Any]:
    def nothing(e: Any, x: Any, i: Any, average: Any) -> None:
        pass

    def follow(e: Any, x: Any, i: Any, average: Any) -> None:
        kept, rest, overwrites = average
        e[i] = e[i] * kept + widen(x[i], kept) * rest
        if overwrites is not None:
            x[i] = narrow(e[i], x)

    return nothing if e == types.none else follow


@inlined
def effective(g: Any, gradients: Any, factor: Any) -> Any:
    """The gradient that an update is made with, but for its sign (L-024 to L-027)."""
    unscale, bound = gradients
    return times(_within(times(g, unscale), bound), factor)


@inlined
def _update_element(x: Any, g: Any, m: Any, e: Any, i: Any, own: Any, options: Any) -> None:
    """L-001 on element ``i`` of arrays."""
    (lr, b1, one_b1, b2, one_b2, wd, toward), rule, gradients, average = options
    steepness, cautious_decay = rule
    scale, factor = own
    x_, m_ = widen(x[i], lr), widen(m[i], lr)
    g_ = effective(widen(g[i], lr), gradients, factor)
    u = direction(b1 * m_ + one_b1 * g_, steepness)
    u = _agreeing(u, toward * g_, scale)
    decays = wd != type(lr)(0) and _may_decay(u, x_, cautious_decay)  # L-009
    u = u + wd * x_ if decays else u
    x[i] = narrow(x_ - lr * u, x)
    m[i] = narrow(b2 * m_ + one_b2 * g_, m)
    _follow(e, x, i, average)


@compiled
def update_short(x: Any, g: Any, m: Any, e: Any, own: Any, options: Any) -> None:
    """L-001 on arrays of one length: a function, so that it begins at 0 and is vectorized."""
    for i in range(x.size):
        _update_element(x, g, m, e, i, own, options)


@compiled
def _update_slice(x: Any, g: Any, m: Any, e: Any, own: Any, options: Any) -> None:
    """L-001 on arrays of one length.

    The processor looks ahead by itself, but to the end of a page, and there are several arrays.
    """
    piece, ahead, line = strides(x)
    whole = x.size - x.size % piece
    for start in range(0, whole, piece):
        for i in range(start + ahead, start + ahead + piece, line):
            prefetch(x, i)
            prefetch(g, i)
            prefetch(m, i)
            prefetch(e, i)
        for i in range(start, start + piece):
            _update_element(x, g, m, e, i, own, options)
    update_short(x[whole:], g[whole:], m[whole:], at(e, slice(whole, None)), own, options)


@compiled
def update_(
    table: Any, kinds: Any, options: Any, scales: Any, factors: Any, first: int, last: int
) -> None:
    """Update the elements from ``first`` to ``last``, in place.

    Args:
        table: addresses of parameters, gradients, momenta and averages (or None), and the number of
            elements before each of them and in all; arrays of int64.
        kinds: four arrays of their dtypes; averages have the compute dtype.
        options: four tuples, of numbers in the compute dtype: lr, beta1, 1 - beta1, beta2,
            1 - beta2 and wd, with the sign of the gradient in 1 - beta (L-018), and that sign;
            steepness and cautious decay, or None; what gradients are multiplied by, and then
            bounded by (L-024 to L-026), or None; the decay of averages, 1 less that, and whether
            they replace the parameters (L-029), or None.
        scales: by tensor, what a cautious direction is multiplied by, or None.
        factors: by tensor, what a gradient is multiplied by after its bound (L-027), or None.
        first: the first element, counted through all tensors.
        last: the element after the last.
    """
    xs, gs, ms, es, starts = table
    x_kind, g_kind, m_kind, e_kind = kinds
    t = np.searchsorted(starts, first, side="right") - 1
    while first < last:
        n, done = min(last, starts[t + 1]) - first, first - starts[t]
        x, g = tensor(xs, t, done, n, x_kind), tensor(gs, t, done, n, g_kind)
        m, e = tensor(ms, t, done, n, m_kind), tensor(es, t, done, n, e_kind)
        _update_slice(x, g, m, e, (at(scales, t), at(factors, t)), options)
        first += n
        t += 1
