"""One pass over small state (L-031, L-032), compiled by Numba: blocks are loaded, updated, stored.

What ``storage.py`` defines, an element at a time in 32 bits. Every operation is cut to them, for
Numba would go on in 64, and half of the vectors' lanes would be lost.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from lion_ports.torch.cpu_kernel import update_short
from lion_ports.torch.cpu_numbers import at, compiled, narrow, tensor, widen
from lion_ports.torch.cpu_sums_kernel import agreeing
from lion_ports.torch.storage import BLOCK

_I32, _U32, _F32 = np.int32, np.uint32, np.float32
_INFINITY, _MAGNITUDE, _SIGN = _U32(0x7F800000), _U32(0x7FFFFFFF), _U32(0x80000000)
_STEP, _OCTAVES = _U32(1 << 20), _I32(15 << 23)
_LEAST_SCALE, _LARGEST_SCALE = _U32((127 - 111) << 23), _U32((127 + 127) << 23)


@compiled
def _dither(place: Any, offset: Any) -> Any:
    h = _U32(_U32(_U32(place) * _U32(0x9E3779B1)) + offset)
    h = _U32(_U32(h ^ _U32(h >> _U32(15))) * _U32(0x2C1B3C6D))
    h = _U32(_U32(h ^ _U32(h >> _U32(12))) * _U32(0x297A2D39))
    return _U32(h ^ _U32(h >> _U32(15)))


def _load_momentum(m: Any, s: Any, values: Any, like: Any) -> None:
    """A block in the compute dtype, from codes if ``m`` is of int8."""


@overload(_load_momentum)
def _load_momentum_of(m: Any, s: Any, values: Any, like: Any) -> Callable[..., Any]:
    def codes(m: Any, s: Any, values: Any, like: Any) -> None:
        base = _I32(_I32(_U32(_U32(s[0]) << _U32(16))) - _OCTAVES)
        for i in range(m.size):
            code = _I32(m[i])
            magnitude = _U32(_I32(base + _I32(_I32(abs(code)) << _I32(20))))
            magnitude = _U32(0x7FC00000) if code == _I32(-128) else magnitude
            magnitude = _U32(0) if code == _I32(0) else magnitude
            sign = _SIGN if code < _I32(0) and code != _I32(-128) else _U32(0)
            values[i] = type(like)(_U32(magnitude | sign).view(_F32))

    def floats(m: Any, s: Any, values: Any, like: Any) -> None:
        for i in range(m.size):
            values[i] = widen(m[i], like)

    return codes if m.dtype == types.int8 else floats


def _store_momentum(m: Any, s: Any, values: Any, start: Any, offset: Any) -> None:
    """A block of the compute dtype put in place, as codes if ``m`` is of int8."""


@overload(_store_momentum)
def _store_momentum_of(m: Any, s: Any, values: Any, start: Any, offset: Any) -> Callable[..., Any]:
    def codes(m: Any, s: Any, values: Any, start: Any, offset: Any) -> None:
        largest = _U32(0)
        for i in range(m.size):
            bits = _U32(_F32(values[i]).view(_U32) & _MAGNITUDE)
            bits = bits if bits < _INFINITY else _U32(0)
            largest = max(largest, bits)
        scale = _U32(_U32(largest + _STEP) & _INFINITY)
        scale = min(max(scale, _LEAST_SCALE), _LARGEST_SCALE)
        s[0] = _U32(scale >> _U32(16))
        base = _I32(_OCTAVES - _I32(scale))
        for i in range(m.size):
            whole = _F32(values[i]).view(_U32)
            bits = _U32(whole & _MAGNITUDE)
            up = _I32(_U32(_dither(start + i, offset) & _U32(_STEP - _U32(1))))
            code = _I32(_I32(_I32(_I32(bits) + base) + up) >> _I32(20))
            code = _I32(min(max(code, _I32(1)), _I32(127)))
            code = _I32(-code) if whole >= _SIGN else code
            code = _I32(0) if bits == _U32(0) else code
            m[i] = np.int8(code if bits < _INFINITY else _I32(-128))

    def floats(m: Any, s: Any, values: Any, start: Any, offset: Any) -> None:
        for i in range(m.size):
            m[i] = narrow(values[i], m)

    return codes if m.dtype == types.int8 else floats


def _load_parameter(x: Any, c: Any, values: Any, like: Any) -> None:
    """A block in the compute dtype, with the correction unless ``c`` is of bytes."""


@overload(_load_parameter)
def _load_parameter_of(x: Any, c: Any, values: Any, like: Any) -> Callable[..., Any]:
    def joined(x: Any, c: Any, values: Any, like: Any) -> None:
        unit = _I32(16 - 8 * c.itemsize)
        for i in range(x.size):
            whole = _U32(_U32(x[i]) << _U32(16))
            upper = _U32(whole & _MAGNITUDE)
            magnitude = max(_I32(_I32(upper) + _I32(_I32(c[i]) << unit)), _I32(0))
            bounded = min(magnitude, _I32(_INFINITY))
            magnitude = bounded if upper <= _INFINITY else magnitude
            values[i] = _U32(_U32(magnitude) | _U32(whole & _SIGN)).view(_F32)

    def floats(x: Any, c: Any, values: Any, like: Any) -> None:
        for i in range(x.size):
            values[i] = widen(x[i], like)

    return floats if c.dtype == types.uint8 else joined


def _store_parameter(x: Any, c: Any, values: Any, start: Any, offset: Any) -> None:
    """A block of the compute dtype put in place, with a correction unless ``c`` is of bytes."""


@overload(_store_parameter)
def _store_parameter_of(x: Any, c: Any, values: Any, start: Any, offset: Any) -> Callable[..., Any]:
    def split(x: Any, c: Any, values: Any, start: Any, offset: Any) -> None:
        rounds = c.itemsize == 1
        unit = _U32(8) if rounds else _U32(0)
        for i in range(x.size):
            whole = _F32(values[i]).view(_U32)
            magnitude = _U32(whole & _MAGNITUDE)
            if rounds:
                up = _U32(_dither(start + i, offset) >> _U32(24))
                rounded = _U32(_U32(magnitude + up) & _U32(0xFFFFFF00))
                magnitude = rounded if magnitude < _INFINITY else magnitude
            upper = _U32(_U32(magnitude + _U32(0x8000)) >> _U32(16))
            missing = _I32(_I32(_U32(magnitude - _U32(upper << _U32(16)))) >> _I32(unit))
            lost = magnitude > _INFINITY
            upper = _U32(0x7FC0) if lost else upper
            x[i] = np.uint16(_U32(upper | _U32(_U32(whole >> _U32(31)) << _U32(15))))
            c[i] = _I32(0) if lost else missing

    def floats(x: Any, c: Any, values: Any, start: Any, offset: Any) -> None:
        for i in range(x.size):
            x[i] = narrow(values[i], x)

    return floats if c.dtype == types.uint8 else split


def _follow_block(
    e: Any, x: Any, c: Any, values: Any, start: Any, offset: Any, average: Any
) -> None:
    """Let an average follow a block as stored, if there is one, and maybe replace it (L-029)."""


@overload(_follow_block)
def _follow_block_of(
    e: Any, x: Any, c: Any, values: Any, start: Any, offset: Any, average: Any
) -> Callable[..., Any]:
    def nothing(e: Any, x: Any, c: Any, values: Any, start: Any, offset: Any, average: Any) -> None:
        pass

    def follow(e: Any, x: Any, c: Any, values: Any, start: Any, offset: Any, average: Any) -> None:
        kept, rest, overwrites = average
        _load_parameter(x, c, values, kept)
        for i in range(e.size):
            e[i] = e[i] * kept + values[i] * rest
        if overwrites is not None:
            _store_parameter(x, c, e, start, offset)

    return nothing if e == types.none else follow


@compiled
def update_small_(
    table: Any,
    kinds: Any,
    options: Any,
    scales: Any,
    factors: Any,
    offset: Any,
    first: int,
    last: int,
) -> None:
    """Update the blocks from ``first`` to ``last``, in place.

    Args:
        table: addresses of parameters, gradients, momenta, scales, corrections and averages (or
            None), sizes, and the number of blocks before each of them and in all; arrays of int64.
        kinds: arrays of the dtypes of parameters, gradients, momenta, scales, corrections and
            computation. Corrections that are not there have bytes, and no address.
        options: as for :func:`lion_ports.torch.cpu_kernel.update_`.
        scales: as there.
        factors: as there.
        offset: what the count of updates adds to a dither, a uint32.
        first: the first block, counted through all tensors.
        last: the block after the last.
    """
    xs, gs, ms, ss, cs, es, sizes, starts = table
    x_kind, g_kind, m_kind, s_kind, c_kind, compute = kinds
    lr = options[0][0]
    whole, wide = np.empty(BLOCK, compute.dtype), np.empty(BLOCK, compute.dtype)
    t = np.searchsorted(starts, first, side="right") - 1
    for block in range(first, last):
        while block >= starts[t + 1]:
            t += 1
        start = (block - starts[t]) * BLOCK
        n = min(BLOCK, sizes[t] - start)
        x, g = tensor(xs, t, start, n, x_kind), tensor(gs, t, start, n, g_kind)
        m, c = tensor(ms, t, start, n, m_kind), tensor(cs, t, start, n, c_kind)
        s = tensor(ss, t, block - starts[t], 1, s_kind)
        x_, m_ = whole[:n], wide[:n]
        _load_parameter(x, c, x_, lr)
        _load_momentum(m, s, m_, lr)
        update_short(x_, g, m_, None, (at(scales, t), at(factors, t)), options)
        _store_parameter(x, c, x_, start, offset)
        _store_momentum(m, s, m_, start, offset)
        e = tensor(es, t, start, n, compute)
        _follow_block(e, x, c, x_, start, offset, options[3])


@compiled
def count_agreeing_small(
    table: Any, kinds: Any, options: Any, factors: Any, counts: Any, first: int, last: int
) -> None:
    """Add to ``counts``, by tensor, what agrees in the blocks from ``first`` to ``last`` (L-022).

    The rest as for :func:`update_small_`.
    """
    _, gs, ms, ss, _, _, sizes, starts = table
    _, g_kind, m_kind, s_kind, _, compute = kinds
    wide = np.empty(BLOCK, compute.dtype)
    t = np.searchsorted(starts, first, side="right") - 1
    for block in range(first, last):
        while block >= starts[t + 1]:
            t += 1
        start = (block - starts[t]) * BLOCK
        n = min(BLOCK, sizes[t] - start)
        g, m = tensor(gs, t, start, n, g_kind), tensor(ms, t, start, n, m_kind)
        _load_momentum(m, tensor(ss, t, block - starts[t], 1, s_kind), wide[:n], options[0][0])
        counts[t] += agreeing(g, wide[:n], at(factors, t), options)
