"""Small storage, in integers: a momentum of 8 bits (L-031), corrections of bfloat16 (L-032)."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import NamedSharding

from lion_ports.jax.arithmetic import after, chosen
from lion_ports.jax.meshes import divided, division, division_by_rows

BLOCK = 128
"""Elements that share a scale."""
CORRECTIONS = (jnp.dtype(jnp.int8), jnp.dtype(jnp.int16))
"""The dtypes of corrections."""

# A code is the upper 7 bits of a float below its sign: 3 of the significand, the rest an exponent.
_SHIFT = 20
_STEP = 1 << _SHIFT
_OCTAVES = 15 << 23  # from the largest code's exponent to the smallest's, in the bits of a float32
_INFINITY = 0x7F800000  # and the bits of every exponent
_LEAST, _LARGEST = 127 - 111, 127 + 127  # exponents: at 2**-111 the smallest code is 2**-126
_MAGNITUDE = 0x7FFFFFFF
_NAN = -128


def dither(count: Array, shape: tuple[int, ...]) -> Array:
    """uint32 bits for each element of a parameter in one update (L-031).

    Args:
        count: updates done before, an integer scalar.
        shape: of the parameter, or of its elements in blocks.
    """
    # The place in row-major order, by its coordinates: of a part, it needs no other part.
    strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
    h = jnp.zeros(shape, jnp.uint32)
    for k, stride in enumerate(strides):
        h += lax.broadcasted_iota(jnp.uint32, shape, k) * _uint32(stride)
    h = h * _uint32(0x9E3779B1) + count.astype(jnp.uint32) * _uint32(0x85EBCA77)
    h = (h ^ (h >> 15)) * _uint32(0x2C1B3C6D)
    h = (h ^ (h >> 12)) * _uint32(0x297A2D39)
    return h ^ (h >> 15)


def encode(m: Array, count: Array) -> tuple[Array, Array]:
    """A momentum as codes and scales (L-031).

    Args:
        m: float32, any shape.
        count: updates done before the one that made ``m``.

    Returns:
        int8 codes in the shape of ``m``, and one bfloat16 scale, a power of two, for every
        ``BLOCK`` elements of it in row-major order.

    >>> m = jnp.array([1.5, -0.75, 1e-9, 0, jnp.nan], jnp.float32)
    >>> codes, scales = encode(m, jnp.array(0))
    >>> codes.tolist(), scales.tolist()
    ([124, -116, 1, 0, -128], [1.0])
    """
    whole = lax.bitcast_convert_type(m, jnp.int32)
    bits = whole & _MAGNITUDE
    finite = bits < _INFINITY
    largest = _in_blocks(jnp.where(finite, bits, 0))
    largest = lax.platform_dependent(largest, cpu=_largest_fused, default=_largest)
    # A step above the largest, so that it may be rounded up.
    scales = jnp.clip((largest + _STEP) >> 23, _LEAST, _LARGEST).astype(jnp.uint16) << 7
    scales = lax.bitcast_convert_type(scales, jnp.bfloat16).reshape(-1)
    up = (dither(count, m.shape) & (_STEP - 1)).astype(jnp.int32)
    codes = (bits - _spread(scales, m.shape) + _OCTAVES + up) >> _SHIFT
    codes = jnp.clip(codes, 1, 127)  # at least 1: what is not zero keeps its sign
    codes = jnp.where(bits == 0, 0, jnp.where(whole < 0, -codes, codes))
    return jnp.where(finite, codes, _NAN).astype(jnp.int8), scales


def decode(codes: Array, scales: Array) -> Array:
    """The float32 momentum that codes and scales stand for (L-031).

    >>> decode(jnp.array([124, -116, 1, 0, -128], jnp.int8), jnp.ones(1, jnp.bfloat16)).tolist()
    [1.5, -0.75, 3.4332275390625e-05, 0.0, nan]
    """
    code = codes.astype(jnp.int32)
    bits = _spread(scales, codes.shape) - _OCTAVES + (jnp.abs(code) << _SHIFT)
    bits = jnp.where(code < 0, bits | ~_MAGNITUDE, bits)
    bits = jnp.where(code == 0, 0, jnp.where(code == _NAN, _INFINITY | 1 << 22, bits))
    return lax.bitcast_convert_type(bits, jnp.float32)


def split(x: Array, bits: int, count: Array) -> tuple[Array, Array]:
    """A float32 parameter as a bfloat16 one and its correction (L-032).

    Args:
        x: float32, any shape.
        bits: 8 or 16.
        count: updates done before the one that made ``x``.

    Returns:
        The bfloat16 nearest to ``x``, and what is missing in it, an int8 or int16 in units of the
        last place of a float32 that has ``24 - bits`` places less or none.

    >>> x, correction = split(jnp.float32([1 + 2**-9]), 16, jnp.array(0))
    >>> x.tolist(), correction.tolist(), join(x, correction).tolist()
    ([1.0], [16384], [1.001953125])
    """
    whole = lax.bitcast_convert_type(x, jnp.uint32)
    magnitude, sign = whole & _MAGNITUDE, whole >> 31 << 15
    unit = 16 - bits
    if unit:  # the bits that no correction holds are rounded by chance, so that decay is not lost
        rounded = (magnitude + (dither(count, x.shape) >> (32 - unit))) >> unit << unit
        magnitude = jnp.where(magnitude < _INFINITY, rounded, magnitude)
    upper = (magnitude + 0x8000) >> 16
    missing = (magnitude - (upper << 16)).astype(jnp.int32) >> unit
    lost = magnitude > _INFINITY
    upper = jnp.where(lost, 0x7FC0, upper) | sign
    parameter = lax.bitcast_convert_type(upper.astype(jnp.uint16), jnp.bfloat16)
    return parameter, jnp.where(lost, 0, missing).astype(CORRECTIONS[bits == 16])


def join(x: Array, correction: Array) -> Array:
    """The float32 parameter that a bfloat16 one and its correction stand for (L-032).

    A parameter that was written to by hand, under a correction that was made for another, is off by
    the correction at most: no zero or infinity becomes a NaN.
    """
    unit = 16 - 8 * correction.dtype.itemsize
    whole = lax.bitcast_convert_type(x, jnp.uint16).astype(jnp.int32) << 16
    upper = whole & _MAGNITUDE
    top = jnp.where(upper > _INFINITY, _MAGNITUDE, _INFINITY)
    magnitude = jnp.clip(upper + (correction.astype(jnp.int32) << unit), 0, top)
    return lax.bitcast_convert_type(magnitude | (whole & ~_MAGNITUDE), jnp.float32)


def scale_count(size: int) -> int:
    """How many scales so many codes have."""
    return -(-size // BLOCK)


def zero_scales(codes: Array) -> Array:
    """The scales of codes that are all zero: the least that there is."""

    def least(codes: Array) -> Array:
        scales = jnp.full(scale_count(codes.size), 2.0**-111, jnp.bfloat16)
        on_the_same_devices: Array = lax.optimization_barrier((scales, codes))[0]
        return on_the_same_devices

    scales: Array = divided(least, _division_of_scales(codes))(codes)
    return scales


def load_parameter(x: Array, correction: Array | None) -> Array:
    """A parameter, with its correction if it has one (L-032)."""
    return x if correction is None else join(x, correction)


def load_momentum(m: Array, scale: Array | None) -> Array:
    """A momentum, in float32 if it is kept in 8 bits (L-031)."""
    return m if scale is None else divided(decode, division(m))(m, scale)


def store_parameter(
    new: Array, x: Array, correction: Array | None, count: Array, zero: Array, moves: Any
) -> tuple[Array, Array | None]:
    """A new parameter, and its correction if it has one; then the old ones where it stays."""
    if correction is None:
        return new, None
    new_x, new_correction = split(new, 8 * correction.dtype.itemsize, count)
    moves = (zero == 0) & moves
    new_correction = chosen(moves, new_correction, correction)
    # Written over the old one first, so that a copy of that is all that the parameter needs.
    return chosen(moves, after(new_x, new_correction, zero), x), new_correction


def store_momentum(
    new: Array, m: Array, scale: Array | None, count: Array, moves: Any
) -> tuple[Array, Array | None]:
    """A new momentum, and its scales if it has them; then the old ones where it stays."""
    if scale is None:
        return new, None
    codes, scales = divided(encode, division(m), _division_of_scales(m))(new, count)
    return chosen(moves, codes, m), chosen(moves, scales, scale)


def _division_of_scales(codes: Array) -> NamedSharding | None:
    return division_by_rows(codes, parts=_fill_blocks(codes.shape))


def _in_blocks(array: Array) -> Array:
    """With blocks as the last axis, the last one filled up with zeros."""
    shape = _block_shape(array.shape)
    if array.size < math.prod(shape):
        array = jnp.pad(array.reshape(-1), (0, math.prod(shape) - array.size))
    return array.reshape(shape)


def _largest(blocks: Array) -> Array:
    return jnp.max(blocks, -1)


def _largest_fused(blocks: Array) -> Array:
    """In two steps: XLA on the CPU computes a few together with their largest, and would write down
    an array of many."""
    return jnp.max(jnp.max(blocks.reshape(*blocks.shape[:-1], 8, BLOCK // 8), -1), -1)


def _spread(scales: Array, shape: tuple[int, ...]) -> Array:
    """The bits, as a float32, of the scale of each element."""
    blocks, size = _block_shape(shape), math.prod(shape)
    bits = lax.bitcast_convert_type(scales, jnp.uint16).astype(jnp.int32) << 16
    spread = jnp.broadcast_to(bits.reshape(*blocks[:-1], 1), blocks)
    return (spread if spread.size == size else spread.reshape(-1)[:size]).reshape(shape)


def _block_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks in rows where they fill them, so that nothing is sent where rows are divided."""
    if _fill_blocks(shape):
        return *shape[:-1], shape[-1] // BLOCK, BLOCK
    return scale_count(math.prod(shape)), BLOCK


def _fill_blocks(shape: tuple[int, ...]) -> bool:
    return bool(shape) and shape[-1] % BLOCK == 0


def _uint32(number: int) -> Array:
    return jnp.array(number & 0xFFFFFFFF, jnp.uint32)
