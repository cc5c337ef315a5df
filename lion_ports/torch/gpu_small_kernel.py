"""One pass over small state (L-031, L-032) as Triton code: blocks are loaded, updated, stored.

What ``storage.py`` defines. Integers of 32 bits wrap around, as they do there.
"""
# mypy: ignore-errors
# Triton compiles these functions, which are Python to look at only.

import torch
import triton
import triton.language as tl

from lion_ports.torch import storage
from lion_ports.torch.gpu_kernel import DTYPES as _FLOATS
from lion_ports.torch.gpu_kernel import _direction, _effective, _narrow, _updated

DTYPES = {**_FLOATS, torch.int8: tl.int8, torch.int16: tl.int16}

# Elements that share a scale.
_SHARED = tl.constexpr(storage.BLOCK)
_INFINITY, _MAGNITUDE, _SIGN = (tl.constexpr(n) for n in (0x7F800000, 0x7FFFFFFF, -0x80000000))
_QUIET_NAN = tl.constexpr(0x7FC00000)
_SHIFT, _STEP, _OCTAVES = (tl.constexpr(n) for n in (20, 1 << 20, 15 << 23))
_LEAST_SCALE, _LARGEST_SCALE = (tl.constexpr(n << 23) for n in (127 - 111, 127 + 127))


@triton.jit(do_not_specialize=["count"])  # another count compiles nothing
def small_lion_kernel(
    table,
    owners,
    factors,
    scalars,
    count,
    X: tl.constexpr,
    G: tl.constexpr,
    M: tl.constexpr,
    R: tl.constexpr,
    MAXIMIZE: tl.constexpr,
    CLIP: tl.constexpr,
    CAUTIOUS_DECAY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Update the tensors of a table, in place.

    Args:
        table: int64, for each tensor the addresses of x, g, m, scales and corrections, its number
            of elements, and the number of its first block.
        owners: int32, for each block the row of its tensor in the table.
        factors, scalars: as for :func:`lion_ports.torch.gpu_kernel.lion_kernel`.
        count: updates done before this one.
        X, G: dtypes of parameters and gradients.
        M: of momenta; int8 if they are codes, which have scales.
        R: of corrections, or None.
        MAXIMIZE: L-018.
        CLIP: the direction is clipped instead of a sign (L-028).
        CAUTIOUS_DECAY: L-023.
        BLOCK: elements to a program, a multiple of 128.
    """
    block = tl.program_id(0)
    owner = tl.load(owners + block)
    row = table + owner * 7
    factor = None if factors is None else factors + owner
    x_address, g_address, m_address = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    s_address, r_address = tl.load(row + 3), tl.load(row + 4)
    start = (block - tl.load(row + 6)) * BLOCK  # int64, as all of the table
    rest = tl.minimum(tl.load(row + 5) - start, BLOCK).to(tl.int32)
    x = x_address.to(tl.pointer_type(X)) + start
    g = g_address.to(tl.pointer_type(G)) + start
    m = m_address.to(tl.pointer_type(M)) + start
    s = s_address.to(tl.pointer_type(tl.int16)) + start // _SHARED if tl.int8 == M else None
    r = None if R is None else r_address.to(tl.pointer_type(R)) + start
    dithers = start.to(tl.uint32) * 0x9E3779B1 + count.to(tl.uint32) * 0x85EBCA77
    aligned = ((x_address | g_address | m_address | r_address) & 15) == 0
    # As nearly all blocks are: with nothing masked, up to 16 bytes move at a time.
    if aligned & (rest == BLOCK):
        x, g, m = tl.multiple_of(x, 16), tl.multiple_of(g, 16), tl.multiple_of(m, 16)
        r = r if r is None else tl.multiple_of(r, 16)
        _update_small(
            x, g, m, s, r, None, dithers, factor, scalars, MAXIMIZE, CLIP, CAUTIOUS_DECAY, BLOCK
        )
    else:
        _update_small(
            x, g, m, s, r, rest, dithers, factor, scalars, MAXIMIZE, CLIP, CAUTIOUS_DECAY, BLOCK
        )


@triton.jit
def _update_small(
    x, g, m, s, r, rest, dithers, factor, scalars,
    MAXIMIZE: tl.constexpr, CLIP: tl.constexpr, CAUTIOUS_DECAY: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Update what begins at the pointers: the first ``rest`` elements, if that is not None."""
    C: tl.constexpr = tl.float64 if tl.float64 == x.dtype.element_ty else tl.float32  # L-005
    row = tl.arange(0, BLOCK // _SHARED)
    lane = row[:, None] * _SHARED + tl.arange(0, _SHARED)[None, :]
    there = None if rest is None else lane < rest
    row_there = None if rest is None else row * _SHARED < rest

    g_ = _effective(tl.load(g + lane, there).to(C), scalars, factor)
    if MAXIMIZE:
        g_ = g_ * -1.0
    m_ = tl.load(m + lane, there)
    if s is not None:
        m_ = _decoded(m_, tl.load(s + row, row_there))
    m_ = m_.to(C)
    x_ = tl.load(x + lane, there)
    if r is not None:
        x_ = _joined(x_, tl.load(r + lane, there))
    x_ = x_.to(C)

    u = _direction(g_, m_, scalars, CLIP)
    x_, m_ = _updated(x_, g_, m_, u, scalars, CAUTIOUS_DECAY)

    # First what takes no more than rounding: fewer registers are needed, and none are spilled.
    if s is None:
        tl.store(m + lane, _narrow(m_, m.dtype.element_ty), there)
    if r is None:
        tl.store(x + lane, _narrow(x_, x.dtype.element_ty), there)
    dither = _dither(dithers, lane)
    if r is not None:
        upper, missing = _split(x_, dither, r.dtype.element_ty)
        tl.store(x + lane, upper, there)
        tl.store(r + lane, missing, there)
    if s is not None:
        codes, scales = _encoded(m_.to(tl.float32), dither, there)
        tl.store(m + lane, codes, there)
        tl.store(s + row, scales, row_there)


@triton.jit
def _dither(dithers, lane):
    """32 bits for each element, from what place and count of the first one make of them."""
    h = lane.to(tl.uint32) * 0x9E3779B1 + dithers
    h = (h ^ (h >> 15)) * 0x2C1B3C6D
    h = (h ^ (h >> 12)) * 0x297A2D39
    return h ^ (h >> 15)


@triton.jit
def _decoded(codes, scales):
    """Rows of codes as float32, each with its scale: the bits of a bfloat16, an int16."""
    codes = codes.to(tl.int32)
    base = (scales.to(tl.int32) << 16) - _OCTAVES
    bits = base[:, None] + (tl.abs(codes) << _SHIFT)
    bits = tl.where(codes < 0, bits | _SIGN, bits)
    bits = tl.where(codes == 0, 0, tl.where(codes == -128, _QUIET_NAN, bits))
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _encoded(m, dither, there):
    """Rows of float32 as codes and scales. Those that are not there have no part in a scale."""
    whole = m.to(tl.int32, bitcast=True)
    bits = whole & _MAGNITUDE
    finite = bits < _INFINITY
    counted = finite if there is None else finite & there
    largest = tl.max(tl.where(counted, bits, 0), axis=1)
    scales = tl.maximum((largest + _STEP) & _INFINITY, _LEAST_SCALE)
    scales = tl.minimum(scales, _LARGEST_SCALE)
    up = (dither & (_STEP - 1)).to(tl.int32)
    codes = (bits - (scales - _OCTAVES)[:, None] + up) >> _SHIFT
    codes = tl.minimum(tl.maximum(codes, 1), 127)
    codes = tl.where(bits == 0, 0, tl.where(whole < 0, -codes, codes))
    return tl.where(finite, codes, -128).to(tl.int8), (scales >> 16).to(tl.int16)


@triton.jit
def _joined(x, correction):
    """bfloat16 and correction as float32."""
    UNIT: tl.constexpr = 16 - correction.dtype.primitive_bitwidth
    whole = x.to(tl.int16, bitcast=True).to(tl.int32) << 16
    upper = whole & _MAGNITUDE
    magnitude = tl.maximum(upper + (correction.to(tl.int32) << UNIT), 0)
    magnitude = tl.where(upper > _INFINITY, magnitude, tl.minimum(magnitude, _INFINITY))
    return (magnitude | (whole & _SIGN)).to(tl.float32, bitcast=True)


@triton.jit
def _split(x, dither, R: tl.constexpr):
    """float32 as bfloat16 and correction."""
    UNIT: tl.constexpr = 16 - R.primitive_bitwidth
    whole = x.to(tl.int32, bitcast=True)
    magnitude = whole & _MAGNITUDE
    if UNIT > 0:
        up = (dither >> (32 - UNIT)).to(tl.int32)
        rounded = (magnitude + up) >> UNIT << UNIT
        magnitude = tl.where(magnitude < _INFINITY, rounded, magnitude)
    lost = magnitude > _INFINITY
    upper = (magnitude + 0x8000) >> 16
    missing = tl.where(lost, 0, (magnitude - (upper << 16)) >> UNIT)
    upper = tl.where(lost, _QUIET_NAN >> 16, upper) | (whole >> 31 << 15)
    return upper.to(tl.int16).to(tl.bfloat16, bitcast=True), missing.to(R)
