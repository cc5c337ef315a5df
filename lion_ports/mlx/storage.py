"""Small storage, in integers: a momentum of 8 bits (L-031), corrections of bfloat16 (L-032)."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx

from lion_ports.mlx.arithmetic import select
from lion_ports.mlx.trees import Slots
from lion_ports.mlx.update import is_large

BLOCK = 128
"""Elements that share a scale."""
CORRECTIONS = (mx.int8, mx.int16)
"""The dtypes of corrections."""

# A code is the upper 7 bits of a float below its sign: 3 of the significand, the rest an exponent.
_SHIFT = 20
_STEP = 1 << _SHIFT
_OCTAVES = 15  # from the largest code's exponent to the smallest's
_EIGHTHS = 3  # codes to an octave, as a shift
_INFINITY, _LOST = 0x7F800000, 0x7FC00000
_LEAST, _LARGEST = 127 - 111, 127 + 127  # exponents: at 2**-111 the smallest code is 2**-126
_MAGNITUDE = 0x7FFFFFFF
_NAN = -128


def dither(count: mx.array, shape: tuple[int, ...], places: mx.array | None = None) -> mx.array:
    """uint32 bits for each element of a parameter in one update (L-031).

    Args:
        count: updates done before, an integer scalar.
        shape: of the parameter, or of its elements in blocks.
        places: the number of each element in its parameter, uint32; None: as they follow.
    """
    h = mx.arange(math.prod(shape), dtype=mx.uint32) if places is None else places
    h = h.reshape(shape) * 0x9E3779B1 + count.astype(mx.uint32) * 0x85EBCA77
    h = (h ^ (h >> 15)) * 0x2C1B3C6D
    h = (h ^ (h >> 12)) * 0x297A2D39
    return h ^ (h >> 15)


def encode(
    m: mx.array, count: mx.array, places: mx.array | None = None
) -> tuple[mx.array, mx.array]:
    """A momentum as codes and scales (L-031).

    Args:
        m: float32, any shape.
        count: updates done before the one that made ``m``.
        places: as in :func:`dither`; then there are whole blocks.

    Returns:
        int8 codes in the shape of ``m``, and one bfloat16 scale, a power of two, for every
        ``BLOCK`` elements of it in row-major order.

    >>> codes, scales = encode(mx.array([1.5, -0.75, 1e-9, 0, mx.nan]), mx.array(0))
    >>> codes.tolist(), scales.tolist()
    ([124, -116, 1, 0, -128], [1.0])
    """
    blocks = _in_blocks(m)
    size = mx.abs(blocks)  # as floats, to share nothing with the codes: MLX would write it out
    largest = mx.max(mx.where(size < mx.inf, size, 0), -1, keepdims=True).view(mx.int32)
    # A step above the largest, so that it may be rounded up.
    exponents = mx.clip((largest + _STEP) >> 23, _LEAST, _LARGEST)
    whole = blocks.view(mx.uint32)
    bits = whole & _MAGNITUDE
    up = dither(count, bits.shape, places) & (_STEP - 1)
    codes = ((bits + up) >> _SHIFT).astype(mx.int32) - _zeros(exponents)
    least = mx.minimum(bits, 1).astype(mx.int32)  # what is not zero keeps its sign
    codes = mx.minimum(mx.maximum(codes, least), 127)
    codes = mx.where(whole > _MAGNITUDE, -codes, codes)
    codes = mx.where(bits < _INFINITY, codes, _NAN).astype(mx.int8)
    scales = (exponents.astype(mx.uint16) << 7).view(mx.bfloat16)
    return _out_of_blocks(codes, m.shape), scales.reshape(-1)


def decode(codes: mx.array, scales: mx.array) -> mx.array:
    """The float32 momentum that codes and scales stand for (L-031).

    >>> decode(mx.array([124, -116, 1, 0, -128], mx.int8), mx.ones(1, mx.bfloat16)).tolist()
    [1.5, -0.75, 3.4332275390625e-05, 0.0, nan]
    """
    code = _in_blocks(codes).astype(mx.int32)
    exponents = scales.view(mx.uint16)[:, None] >> 7
    bits = (_zeros(exponents) + mx.abs(code)) << _SHIFT
    bits = mx.where(code < 0, bits | ~_MAGNITUDE, bits)
    bits = mx.where(code == 0, 0, mx.where(code == _NAN, _LOST, bits))
    return _out_of_blocks(bits.view(mx.float32), codes.shape)


def split(
    x: mx.array, bits: int, count: mx.array, places: mx.array | None = None
) -> tuple[mx.array, mx.array]:
    """A float32 parameter as a bfloat16 one and its correction (L-032).

    Args:
        x: float32, any shape.
        bits: 8 or 16.
        count: updates done before the one that made ``x``.
        places: as in :func:`dither`.

    Returns:
        The bfloat16 nearest to ``x``, and what is missing in it, an int8 or int16 in units of the
        last place of a float32 that has ``24 - bits`` places less or none.

    >>> x, correction = split(mx.array([1 + 2**-9]), 16, mx.array(0))
    >>> x.tolist(), correction.tolist(), join(x, correction).tolist()
    ([1.0], [16384], [1.001953125])
    """
    whole = x.view(mx.int32)
    magnitude = whole & _MAGNITUDE
    unit = 16 - bits
    rounded = mx.minimum(magnitude, _INFINITY)  # so that no NaN overflows
    if unit:  # the bits that no correction holds are rounded by chance, so that decay is not lost
        up = (dither(count, x.shape, places) >> (32 - unit)).astype(mx.int32)
        rounded = (rounded + up) >> unit << unit
    rounded = mx.where(magnitude > _INFINITY, _LOST, rounded) | (whole & ~_MAGNITUDE)
    # Both are made of this alone, as MLX writes out what two kernels share. What the upper half
    # lacks is the lower half, as a number with a sign.
    upper = (rounded + 0x8000) >> 16
    correction = (rounded >> unit).astype(CORRECTIONS[bits == 16])
    return upper.astype(mx.uint16).view(mx.bfloat16), correction


def join(x: mx.array, correction: mx.array) -> mx.array:
    """The float32 parameter that a bfloat16 one and its correction stand for (L-032).

    A parameter that was written to by hand, under a correction that was made for another, is off by
    the correction at most: no zero or infinity becomes a NaN.
    """
    unit = 16 - 8 * correction.itemsize
    whole = x.view(mx.uint16).astype(mx.int32) << 16
    upper = whole & _MAGNITUDE
    top = mx.where(upper > _INFINITY, _MAGNITUDE, _INFINITY)
    magnitude = mx.clip(upper + (correction.astype(mx.int32) << unit), 0, top)
    return (magnitude | (whole & ~_MAGNITUDE)).view(mx.float32)


def scale_count(size: int) -> int:
    """How many scales so many codes have."""
    return -(-size // BLOCK)


def zero_scales(codes: mx.array) -> mx.array:
    """The scales of codes that are all zero: the least that there is."""
    return mx.full((scale_count(codes.size),), 2.0**-111, mx.bfloat16)


def load_parameter(x: mx.array, slots: Slots) -> mx.array:
    """A parameter, with its correction if it has one (L-032)."""
    return _made(join, x, slots["correction"]) if "correction" in slots else x


def load_momentum(slots: Slots) -> mx.array:
    """A momentum, in float32 if it is kept in 8 bits (L-031)."""
    return _made(decode, slots["m"], slots["m_scale"]) if "m_scale" in slots else slots["m"]


def store_parameter(
    new: mx.array,
    x: mx.array,
    slots: Slots,
    count: mx.array,
    moves: mx.array | None,
    places: mx.array | None = None,
) -> mx.array:
    """A new parameter, its correction put in place if it has one; the old ones where it stays."""
    if "correction" in slots:
        old = slots["correction"]
        new, correction = _made(split, new, 8 * old.itemsize, count, places)
        slots["correction"] = select(moves, correction, old)
    return select(moves, new, x)


def store_momentum(
    new: mx.array,
    slots: Slots,
    count: mx.array,
    moves: mx.array | None,
    places: mx.array | None = None,
) -> None:
    """Put a new momentum in place, as codes and scales if it is kept in 8 bits, where it moves."""
    if "m_scale" in slots:
        new, scales = _made(encode, new, count, places)
        slots["m_scale"] = select(moves, scales, slots["m_scale"])
    slots["m"] = select(moves, new, slots["m"])


def _in_blocks(array: mx.array) -> mx.array:
    """A row for every block, the last one filled up with zeros."""
    rows = scale_count(array.size)
    if missing := rows * BLOCK - array.size:
        array = mx.pad(array.reshape(-1), (0, missing))
    return array.reshape(rows, BLOCK)


def _zeros(exponents: mx.array) -> mx.array:
    """The upper bits that a code of 0 would stand for, beside each element of the blocks."""
    # As a byte each: kernels of MLX read what is broadcast from memory several times as slowly.
    bytes_ = (exponents.astype(mx.int32) - _OCTAVES).astype(mx.uint8)
    spread = mx.contiguous(mx.broadcast_to(bytes_, (bytes_.size, BLOCK)))
    return spread.astype(mx.int32) << _EIGHTHS


def _out_of_blocks(blocks: mx.array, shape: tuple[int, ...]) -> mx.array:
    size = math.prod(shape)
    return (blocks if blocks.size == size else blocks.reshape(-1)[:size]).reshape(shape)


def _made(function: Callable[..., Any], x: mx.array, *others: Any) -> Any:
    """What a function makes, with a few kernels where that is worth their compilation."""
    return (_compiled(function) if is_large(x) else function)(x, *others)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return mx.compile(function)
