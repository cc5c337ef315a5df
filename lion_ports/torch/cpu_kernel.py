"""One pass over the memory of parameters, gradients and momenta, compiled by Numba (L-001).

Kernels get tensors as tables of addresses and sizes, and a range of elements to work on, counted
through all tensors of the table: work is dealt out by elements, however many tensors there are.
``cpu_small_kernel.py`` has parts of this compiled in, and Numba does not look whether this file is
newer than what it kept of that one: after a change here, touch it there as well.
Nothing is fused or reassociated (L-007): Numba lets LLVM do neither unless ``fastmath`` is on.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

njit: Any = numba.njit
carray: Any = numba.carray  # type: ignore[attr-defined]

# Floats of 16 bits come as integers of 16 bits, whose sign tells which floats they are.
BFLOAT16, FLOAT16 = np.uint16, np.int16

_U32, _F32 = np.uint32, np.float32

# Bytes of a parameter that are updated in one go, after those so far ahead of them were asked for.
_PIECE, _AHEAD, _LINE = 512, 2048, 64


def _compiled(function: Any, *, inlined: bool = False) -> Any:
    """Compiled at the first call for each mixture of dtypes, and kept for the next process."""
    options = {"nogil": True, "error_model": "numpy", "forceinline": inlined}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder to keep it in that can be written to
        return njit(**options)(function)


@intrinsic
def _pointer_to(typing: Any, address: Any, like: Any) -> Any:
    """An address as a pointer to elements of the dtype of the array ``like``."""
    pointer: Any = types.CPointer(like.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, like), generate


@intrinsic
def _prefetch_of(typing: Any, array: Any, i: Any) -> Any:
    """Have the memory of element ``i`` brought into the cache; there need not be any."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        takes = ir.FunctionType(ir.VoidType(), [byte, integer, integer, integer])
        prefetch = cgutils.get_or_insert_function(builder.module, takes, "llvm.prefetch.p0")
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        line = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        builder.call(prefetch, [line, integer(0), integer(3), integer(1)])  # data, to read soon
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


_pointer: Any = _pointer_to  # Numba gives these the first argument
_prefetch: Any = _prefetch_of


def _widen(value: Any, like: Any) -> Any:
    """A stored number in the compute dtype, which is that of ``like`` (L-005)."""


def _narrow(value: Any, like: Any) -> Any:
    """A number of the compute dtype rounded once to the dtype of the array ``like`` (L-008)."""


def _to_odd(value: Any) -> Any:
    """The float32 that rounds to 16 bits as ``value`` does: itself, or the odd one beside it."""


@overload(_widen)
def _widen_of(value: Any, like: Any) -> Callable[..., Any]:
    def of_bfloat16(value: Any, like: Any) -> Any:
        return type(like)(_U32(_U32(value) << _U32(16)).view(_F32))

    def of_float16(value: Any, like: Any) -> Any:
        size = _U32(_U32(value) & _U32(0x7FFF))
        small = _F32(_F32(np.int32(size)) * _F32(2.0**-24)).view(_U32)  # if subnormal
        normal = _U32(_U32(size << _U32(13)) + _U32(112 << 23))
        special = _U32(_U32(size << _U32(13)) | _U32(0x7F800000))  # infinity or NaN
        wide = small if size < _U32(0x0400) else (normal if size < _U32(0x7C00) else special)
        sign = _U32(_U32(_U32(value) & _U32(0x8000)) << _U32(16))
        return type(like)(_U32(wide | sign).view(_F32))

    def of_float(value: Any, like: Any) -> Any:
        return type(like)(value)

    return {types.uint16: of_bfloat16, types.int16: of_float16}.get(value, of_float)


@overload(_narrow)
def _narrow_to(value: Any, like: Any) -> Callable[..., Any]:
    def to_bfloat16(value: Any, like: Any) -> Any:
        bits = _F32(_to_odd(value)).view(_U32)
        odd = _U32(_U32(bits >> _U32(16)) & _U32(1))
        rounded = _U32(_U32(bits + _U32(0x7FFF)) + odd)
        return BFLOAT16(_U32(rounded >> _U32(16)) if value == value else _U32(0x7FC0))

    def to_float16(value: Any, like: Any) -> Any:
        bits = _F32(_to_odd(value)).view(_U32)
        size = _U32(bits & _U32(0x7FFFFFFF))
        # Subnormal: a sum with 0.5 rounds to multiples of 2**-24.
        small = _U32(_F32(_U32(size).view(_F32) + _F32(0.5)).view(_U32) - _U32(126 << 23))
        odd = _U32(_U32(size >> _U32(13)) & _U32(1))
        normal = _U32(_U32(size + _U32(0xFFF - (112 << 23) + (1 << 32))) + odd)
        half = small if size < _U32(113 << 23) else _U32(normal >> _U32(13))
        half = half if half < _U32(0x7C00) else _U32(0x7C00)
        half = half if value == value else _U32(0x7E00)
        sign = _U32(_U32(bits >> _U32(16)) & _U32(0x8000))
        return FLOAT16(_U32(half | sign))

    def to_float(value: Any, like: Any) -> Any:
        return value

    return {types.uint16: to_bfloat16, types.int16: to_float16}.get(like.dtype, to_float)


@overload(_to_odd)
def _to_odd_of(value: Any) -> Callable[..., Any]:
    def of_float64(value: Any) -> Any:
        near = _F32(value)
        bits = near.view(_U32)
        grows = abs(value) > abs(near)
        shrinks = abs(value) < abs(near) and abs(value) < np.inf
        even = (bits & _U32(1)) == 0
        return _U32(bits + (grows and even) - (shrinks and even)).view(_F32)

    def of_float32(value: Any) -> Any:
        return value

    return of_float64 if value == types.float64 else of_float32


def _direction(c: Any, steepness: Any) -> Any:
    """The sign of ``c`` (L-010); with a steepness, ``c`` times it in [-1, 1] (L-028)."""


def _agreeing(u: Any, g: Any, scale: Any) -> Any:
    """A direction; with a scale, what the gradient does not oppose of it, times that (L-022)."""


def _may_decay(u: Any, x: Any, cautious_decay: Any) -> Any:
    """Whether an element may decay; if it is to be cautious, the direction has to agree (L-023)."""


@overload(_direction)
def _direction_by(c: Any, steepness: Any) -> Callable[..., Any]:
    def sign(c: Any, steepness: Any) -> Any:
        zero, one = type(c)(0), type(c)(1)
        # Both zeros give +0, NaN stays.
        return one if c > zero else (-one if c < zero else c - c)

    def clipped(c: Any, steepness: Any) -> Any:
        v, one = c * steepness, type(c)(1)
        return one if v > one else (-one if v < -one else v)

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


def _strides(array: Any) -> Any:
    """Piece, what is ahead, and line, in elements: constants, or no piece would be vectorized."""


@overload(_strides)
def _strides_of(array: Any) -> Callable[..., Any]:
    strides = tuple(8 * size // array.dtype.bitwidth for size in (_PIECE, _AHEAD, _LINE))

    def constants(array: Any) -> Any:
        return strides

    return constants


@partial(_compiled, inlined=True)  # a loop with a call in it is not vectorized
def _update_element(x: Any, g: Any, m: Any, i: Any, scale: Any, options: Any) -> None:
    """L-001 on element ``i`` of arrays."""
    lr, b1, one_b1, b2, one_b2, wd, toward, steepness, cautious_decay = options
    x_, g_, m_ = _widen(x[i], lr), _widen(g[i], lr), _widen(m[i], lr)
    u = _direction(b1 * m_ + one_b1 * g_, steepness)
    u = _agreeing(u, toward * g_, scale)
    decays = wd != type(lr)(0) and _may_decay(u, x_, cautious_decay)  # L-009
    u = u + wd * x_ if decays else u
    x[i] = _narrow(x_ - lr * u, x)
    m[i] = _narrow(b2 * m_ + one_b2 * g_, m)


@_compiled
def _update_short(x: Any, g: Any, m: Any, scale: Any, options: Any) -> None:
    """L-001 on arrays of one length: a function, so that it begins at 0 and is vectorized."""
    for i in range(x.size):
        _update_element(x, g, m, i, scale, options)


@_compiled
def _update_slice(x: Any, g: Any, m: Any, scale: Any, options: Any) -> None:
    """L-001 on arrays of one length.

    The processor looks ahead by itself, but to the end of a page, and there are three arrays.
    """
    piece, ahead, line = _strides(x)
    whole = x.size - x.size % piece
    for start in range(0, whole, piece):
        for i in range(start + ahead, start + ahead + piece, line):
            _prefetch(x, i)
            _prefetch(g, i)
            _prefetch(m, i)
        for i in range(start, start + piece):
            _update_element(x, g, m, i, scale, options)
    _update_short(x[whole:], g[whole:], m[whole:], scale, options)


@_compiled
def _agreeing_in_slice(g: Any, m: Any, options: Any) -> int:
    """Elements whose direction and gradient are both positive or both negative (L-022)."""
    lr, b1, one_b1, _, _, _, toward, steepness, _ = options
    zero, count = type(lr)(0), 0
    for i in range(g.size):
        g_, m_ = _widen(g[i], lr), _widen(m[i], lr)
        u = _direction(b1 * m_ + one_b1 * g_, steepness)
        g_ = toward * g_
        count += (u > zero and g_ > zero) or (u < zero and g_ < zero)
    return count


@_compiled
def update_(table: Any, kinds: Any, options: Any, scales: Any, first: int, last: int) -> None:
    """Update the elements from ``first`` to ``last``, in place.

    What None stands for is left out of the code that is compiled for it.

    Args:
        table: addresses of parameters, gradients and momenta, and the number of elements before
            each of them and in all; four arrays of int64.
        kinds: three arrays of their dtypes.
        options: lr, beta1, 1 - beta1, beta2, 1 - beta2 and wd in the compute dtype, with the sign
            of the gradient in 1 - beta (L-018); that sign; steepness and cautious decay, or None.
        scales: by tensor, what a cautious direction is multiplied by, or None.
        first: the first element, counted through all tensors.
        last: the element after the last.
    """
    xs, gs, ms, starts = table
    x_kind, g_kind, m_kind = kinds
    t = np.searchsorted(starts, first, side="right") - 1
    while first < last:
        n, done = min(last, starts[t + 1]) - first, first - starts[t]
        x = carray(_pointer(xs[t] + done * x_kind.itemsize, x_kind), n)
        g = carray(_pointer(gs[t] + done * g_kind.itemsize, g_kind), n)
        m = carray(_pointer(ms[t] + done * m_kind.itemsize, m_kind), n)
        if scales is None:
            _update_slice(x, g, m, None, options)
        else:
            _update_slice(x, g, m, scales[t], options)
        first += n
        t += 1


@_compiled
def count_agreeing(
    table: Any, kinds: Any, options: Any, counts: Any, first: int, last: int
) -> None:
    """Add to ``counts``, by tensor, what agrees from ``first`` to ``last`` (L-022)."""
    _, gs, ms, starts = table
    _, g_kind, m_kind = kinds
    t = np.searchsorted(starts, first, side="right") - 1
    while first < last:
        n, done = min(last, starts[t + 1]) - first, first - starts[t]
        g = carray(_pointer(gs[t] + done * g_kind.itemsize, g_kind), n)
        m = carray(_pointer(ms[t] + done * m_kind.itemsize, m_kind), n)
        counts[t] += _agreeing_in_slice(g, m, options)
        first += n
        t += 1
