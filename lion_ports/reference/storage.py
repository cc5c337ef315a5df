"""Small storage, in integers: a momentum of 8 bits (L-031), corrections of bfloat16 (L-032)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lion_ports.reference.arithmetic import (
    BFLOAT16,
    Array,
    Arrays,
    as_complex,
    as_reals,
    narrow,
)
from lion_ports.reference.state import State

BLOCK = 128
"""Elements that share a scale."""

# A code is the upper 7 bits of a float below its sign: 3 of the significand, the rest an exponent.
_SHIFT = 20
_STEP = 1 << _SHIFT
_OCTAVES = 15 << 23  # from the largest code's exponent to the smallest's, in the bits of a float32
_EXPONENT, _INFINITY = np.int32(0x7F800000), np.int32(0x7F800000)
_LEAST_SCALE = (127 - 111) << 23  # 2**-111: the smallest code is then 2**-126 and normal
_LARGEST_SCALE = (127 + 127) << 23
_NAN = -128


def dither(count: int, size: int) -> Array:
    """32 bits for each element of a parameter in one update, as int64 below 2**32 (L-031).

    Args:
        count: updates done before.
        size: elements of the parameter, in row-major order.
    """
    h: Array = np.arange(size, dtype=np.uint32)
    with np.errstate(over="ignore"):
        h = h * np.uint32(0x9E3779B1) + np.uint32(count * 0x85EBCA77 & 0xFFFFFFFF)
        h = (h ^ (h >> 15)) * np.uint32(0x2C1B3C6D)
        h = (h ^ (h >> 12)) * np.uint32(0x297A2D39)
    return (h ^ (h >> 15)).astype(np.int64)


def encode(m: Array, count: int) -> tuple[Array, Array]:
    """A momentum as codes and scales (L-031).

    Args:
        m: float32, any shape.
        count: updates done before the one that made ``m``.

    Returns:
        int8 codes in the shape of ``m``, and one bfloat16 scale, a power of two, for every
        ``BLOCK`` elements of it in row-major order.

    >>> codes, scales = encode(np.float32([1.5, -0.75, 1e-9, 0, np.nan]), 0)
    >>> codes.tolist(), scales.tolist()
    ([124, -116, 1, 0, -128], [1.0])
    """
    bits = np.abs(m).reshape(-1).view(np.int32)
    finite = bits < _INFINITY
    heads = np.arange(0, bits.size, BLOCK)
    largest = np.maximum.reduceat(np.where(finite, bits, 0), heads) if bits.size else heads
    # A step above the largest, so that it may be rounded up.
    scales = np.clip((largest.astype(np.int64) + _STEP) & _EXPONENT, _LEAST_SCALE, _LARGEST_SCALE)
    distance = bits.astype(np.int64) - scales.repeat(BLOCK)[: bits.size] + _OCTAVES
    up = dither(count, bits.size) & (_STEP - 1)
    codes = np.clip(
        (distance + up) >> _SHIFT, 1, 127
    )  # at least 1: what is not zero keeps its sign
    codes = np.where(bits == 0, 0, np.where(m.reshape(-1) < 0, -codes, codes))
    codes = np.where(finite, codes, _NAN).astype(np.int8)
    return codes.reshape(m.shape), scales.astype(np.int32).view(np.float32).astype(BFLOAT16)


def decode(codes: Array, scales: Array) -> Array:
    """The float32 momentum that codes and scales stand for (L-031).

    >>> decode(np.int8([124, -116, 1, 0, -128]), np.ones(1, BFLOAT16)).tolist()
    [1.5, -0.75, 3.4332275390625e-05, 0.0, nan]
    """
    flat = codes.reshape(-1).astype(np.int32)
    scale = scales.astype(np.float32).view(np.int32).repeat(BLOCK)[: flat.size]
    magnitude = (scale - np.int32(_OCTAVES) + (np.abs(flat) << _SHIFT)).view(np.float32)
    value = np.where(flat == 0, np.float32(0), np.copysign(magnitude, flat.astype(np.float32)))
    return np.asarray(np.where(flat == _NAN, np.float32(np.nan), value)).reshape(codes.shape)


def split(x: Array, bits: int, count: int) -> tuple[Array, Array]:
    """A float32 parameter as a bfloat16 one and its correction (L-032).

    Args:
        x: float32, any shape.
        bits: 8 or 16.
        count: updates done before the one that made ``x``.

    Returns:
        The bfloat16 nearest to ``x``, and what is missing in it, an int8 or int16 in units of the
        last place of a float32 that has ``24 - bits`` places less or none.

    >>> x, correction = split(np.float32([1 + 2**-9]), 16, 0)
    >>> x.tolist(), correction.tolist(), join(x, correction).tolist()
    ([1.0], [16384], [1.001953125])
    """
    whole = np.ascontiguousarray(x).view(np.int32).astype(np.int64).reshape(-1)
    magnitude, sign = whole & 0x7FFFFFFF, whole & 0x80000000
    unit = 16 - bits
    if unit:  # the bits that no correction holds are rounded by chance, so that decay is not lost
        up = dither(count, magnitude.size) >> (32 - unit)
        magnitude = np.where(magnitude < _INFINITY, (magnitude + up) >> unit << unit, magnitude)
    upper = (magnitude + 0x8000) >> 16
    correction = (magnitude - (upper << 16)) >> unit
    lost = magnitude > _INFINITY
    upper = np.where(lost, 0x7FC0, upper) | sign >> 16
    parameter = upper.astype(np.uint16).view(BFLOAT16)
    correction = np.where(lost, 0, correction).astype(np.int8 if bits == 8 else np.int16)
    return parameter.reshape(x.shape), correction.reshape(x.shape)


def join(x: Array, correction: Array) -> Array:
    """The float32 parameter that a bfloat16 one and its correction stand for (L-032).

    A parameter that was written to by hand, under a correction that was made for another, is off by
    the correction at most: no zero or infinity becomes a NaN.
    """
    unit = 16 - 8 * correction.itemsize
    whole = np.ascontiguousarray(x).view(np.uint16).astype(np.int64) << 16
    upper, sign = whole & 0x7FFFFFFF, whole & 0x80000000
    top = np.where(upper > _INFINITY, 0x7FFFFFFF, _INFINITY)
    magnitude = np.clip(upper + (correction.astype(np.int64) << unit), 0, top)
    return np.asarray((magnitude | sign).astype(np.uint32).view(np.float32)).reshape(x.shape)


def copies(state: State) -> State:
    """The state with mappings of its own for what an update writes to."""
    return state._replace(
        momentum=dict(state.momentum),
        momentum_scale=dict(state.momentum_scale),
        correction=dict(state.correction),
    )


def load_parameter(params: Arrays, state: State, name: str) -> Array:
    """A parameter, with its correction if it has one (L-032)."""
    x = params[name]
    return join(x, state.correction[name]) if name in state.correction else x


def load_momentum(state: State, name: str) -> Array:
    """A momentum, in float32 if it is kept in 8 bits (L-031)."""
    m = state.momentum[name]
    return decode(m, state.momentum_scale[name]) if name in state.momentum_scale else m


def store_parameter(
    params: dict[str, Array],
    state: State,
    name: str,
    x: Array,
    count: int,
    split: Callable[..., Any] = split,
) -> None:
    """Put a new parameter in place, in its dtype and with its correction (L-008, L-032)."""
    corrections: Any = state.correction
    old = params[name]
    if name in corrections:
        params[name], corrections[name] = split(x, 8 * corrections[name].itemsize, count)
    elif np.iscomplexobj(old):
        params[name] = as_complex(narrow(as_reals(x), old.real.dtype))
    else:
        params[name] = narrow(x, old.dtype)


def store_momentum(state: State, name: str, m: Array, encode: Callable[..., Any] = encode) -> None:
    """Put a new momentum in place, as codes and scales if it is kept in 8 bits (L-031)."""
    momentum: Any = state.momentum
    scales: Any = state.momentum_scale
    if name in scales:
        momentum[name], scales[name] = encode(m, state.count)
    else:
        momentum[name] = m
