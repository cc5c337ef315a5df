"""Small storage, in integers: a momentum of 8 bits (L-031), corrections of bfloat16 (L-032)."""

from typing import Any

import torch
from torch import Tensor

BLOCK = 128
"""Elements that share a scale."""
CORRECTIONS = {8: torch.int8, 16: torch.int16}
"""The dtypes of corrections."""

# A code is the upper 7 bits of a float below its sign: 3 of the significand, the rest an exponent.
_SHIFT = 20
_STEP = 1 << _SHIFT
_OCTAVES = 15 << 23  # from the largest code's exponent to the smallest's, in the bits of a float32
_INFINITY = 0x7F800000  # and the bits of every exponent
_LEAST_SCALE = (127 - 111) << 23  # 2**-111: the smallest code is then 2**-126 and normal
_LARGEST_SCALE = (127 + 127) << 23
_MAGNITUDE, _SIGN = 0x7FFFFFFF, -0x80000000
_NAN = -128


def dither(count: int | Tensor, size: int, start: int, device: torch.device) -> Tensor:
    """32 bits, as int32, for each element of a part of a parameter in one update (L-031).

    Args:
        count: updates done before; an int64 scalar, so that another compiles nothing again.
        size: elements of the part.
        start: elements of the parameter before it, in row-major order.
        device: of the result.
    """
    offset = _signed(count * 0x85EBCA77 + _signed(start * 0x9E3779B1))
    if isinstance(offset, Tensor):
        offset = offset.to(torch.int32)
    h: Tensor = torch.arange(size, dtype=torch.int32, device=device) * _signed(0x9E3779B1) + offset
    h = (h ^ _shifted(h, 15)) * 0x2C1B3C6D  # int32 wraps around
    h = (h ^ _shifted(h, 12)) * 0x297A2D39
    return h ^ _shifted(h, 15)


def encode(m: Tensor, count: int | Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
    """A momentum, or whole blocks of one, as codes and scales (L-031).

    Args:
        m: float32, any shape.
        count: updates done before the one that made ``m``.
        start: elements before it, in row-major order.

    Returns:
        int8 codes in the shape of ``m``, and one bfloat16 scale, a power of two, for every
        ``BLOCK`` elements of it in row-major order.

    >>> codes, scales = encode(torch.tensor([1.5, -0.75, 1e-9, 0, torch.nan]), 0)
    >>> codes.tolist(), scales.tolist()
    ([124, -116, 1, 0, -128], [1.0])
    """
    whole = m.reshape(-1).view(torch.int32)
    bits = whole & _MAGNITUDE
    finite = bits < _INFINITY
    largest = _in_blocks(torch.where(finite, bits, 0)).amax(-1)
    # A step above the largest, so that it may be rounded up.
    scales = ((largest + _STEP) & _INFINITY).clamp(_LEAST_SCALE, _LARGEST_SCALE)
    up = dither(count, bits.numel(), start, m.device) & (_STEP - 1)
    codes = (bits - _spread(scales, bits.numel()) + _OCTAVES + up) >> _SHIFT
    codes = codes.clamp(1, 127)  # at least 1: what is not zero keeps its sign
    codes = torch.where(bits == 0, 0, torch.where(whole < 0, -codes, codes))
    codes = torch.where(finite, codes, _NAN).to(torch.int8)
    return codes.reshape(m.shape), (scales >> 16).to(torch.int16).view(torch.bfloat16)


def decode(codes: Tensor, scales: Tensor) -> Tensor:
    """The float32 momentum that codes and scales stand for (L-031).

    >>> codes = torch.tensor([124, -116, 1, 0, -128], dtype=torch.int8)
    >>> decode(codes, torch.ones(1, dtype=torch.bfloat16)).tolist()
    [1.5, -0.75, 3.4332275390625e-05, 0.0, nan]
    """
    code = codes.reshape(-1).to(torch.int32)
    scale = _spread(scales.view(torch.int16).to(torch.int32) << 16, code.numel())
    bits = scale - _OCTAVES + (code.abs() << _SHIFT)
    bits = torch.where(code < 0, bits | _SIGN, bits)
    bits = torch.where(code == 0, 0, torch.where(code == _NAN, _INFINITY | 1 << 22, bits))
    return bits.view(torch.float32).reshape(codes.shape)


def split(x: Tensor, bits: int, count: int | Tensor, start: int = 0) -> tuple[Tensor, Tensor]:
    """A float32 parameter, or a part of one, as a bfloat16 one and its correction (L-032).

    Args:
        x: float32, any shape.
        bits: 8 or 16.
        count: updates done before the one that made ``x``.
        start: elements before it, in row-major order.

    Returns:
        The bfloat16 nearest to ``x``, and what is missing in it, an int8 or int16 in units of the
        last place of a float32 that has ``24 - bits`` places less or none.

    >>> x, correction = split(torch.tensor([1 + 2**-9]), 16, 0)
    >>> x.tolist(), correction.tolist(), join(x, correction).tolist()
    ([1.0], [16384], [1.001953125])
    """
    whole = x.reshape(-1).view(torch.int32)
    magnitude, sign = whole & _MAGNITUDE, whole >> 31 << 15  # in int16: no conversion wraps around
    unit = 16 - bits
    if unit:  # the bits that no correction holds are rounded by chance, so that decay is not lost
        up = _shifted(dither(count, magnitude.numel(), start, x.device), 32 - unit)
        rounded = (magnitude + up) >> unit << unit
        magnitude = torch.where(magnitude < _INFINITY, rounded, magnitude)
    lost = magnitude > _INFINITY
    upper = (magnitude + 0x8000) >> 16
    missing = (magnitude - (upper << 16)) >> unit
    upper = torch.where(lost, 0x7FC0, upper) | sign
    parameter = upper.to(torch.int16).view(torch.bfloat16)
    correction = torch.where(lost, 0, missing).to(CORRECTIONS[bits])
    return parameter.reshape(x.shape), correction.reshape(x.shape)


def join(x: Tensor, correction: Tensor) -> Tensor:
    """The float32 parameter that a bfloat16 one and its correction stand for (L-032).

    A parameter that was written to by hand, under a correction that was made for another, is off by
    the correction at most: no zero or infinity becomes a NaN.
    """
    unit = 16 - 8 * correction.itemsize
    whole = x.view(torch.int16).to(torch.int32) << 16
    upper = whole & _MAGNITUDE
    magnitude = (upper + (correction.to(torch.int32) << unit)).clamp(min=0)
    magnitude = torch.where(upper > _INFINITY, magnitude, magnitude.clamp(max=_INFINITY))
    return (magnitude | (whole & _SIGN)).view(torch.float32)


def scale_count(size: int) -> int:
    """How many scales so many codes have."""
    return -(-size // BLOCK)


def zero_scales(codes: Tensor) -> Tensor:
    """The scales of codes that are all zero: the least that there is."""
    count = scale_count(codes.numel())
    return torch.full((count,), 2.0**-111, dtype=torch.bfloat16, device=codes.device)


def load_parameter(x: Tensor, correction: Tensor | None) -> Tensor:
    """A parameter, with its correction if it has one (L-032)."""
    return x if correction is None else join(x, correction)


def load_momentum(m: Tensor, scale: Tensor | None) -> Tensor:
    """A momentum, in float32 if it is kept in 8 bits (L-031)."""
    return m if scale is None else decode(m, scale)


def store_parameter(
    new: Tensor, x: Tensor, correction: Tensor | None, count: int | Tensor, start: int = 0
) -> None:
    """Put in place a new parameter whose old one was loaded; without correction it is there."""
    if correction is not None:
        new, missing = split(new, 8 * correction.itemsize, count, start)
        x.copy_(new)
        correction.copy_(missing)


def store_momentum(
    new: Tensor, m: Tensor, scale: Tensor | None, count: int | Tensor, start: int = 0
) -> None:
    """Put in place a new momentum whose old one was loaded; without scales it is there."""
    if scale is not None:
        codes, scales = encode(new, count, start)
        m.copy_(codes)
        scale.copy_(scales)


def _in_blocks(array: Tensor) -> Tensor:
    """A row for every block, the last one filled up with zeros."""
    missing = -array.numel() % BLOCK
    return torch.nn.functional.pad(array, (0, missing)).view(-1, BLOCK)


def _spread(scales: Tensor, size: int) -> Tensor:
    """The scale of each element."""
    if size % BLOCK == 0:
        return scales.unsqueeze(-1).expand(-1, BLOCK).reshape(-1)
    # Not as a part of the above, and by no division: Inductor, on the CPU, splits a loop in which
    # it sees blocks of 128, and forgets the last one, which is not full.
    return scales[torch.arange(size, device=scales.device) >> BLOCK.bit_length() - 1]


def _shifted(h: Tensor, places: int) -> Tensor:
    """An int32 shifted right as if it had no sign."""
    return (h >> places) & ((1 << (32 - places)) - 1)


def _signed(number: Any) -> Any:
    """The int32 that is equal to an integer but for multiples of 2**32."""
    return ((number + 0x80000000) & 0xFFFFFFFF) - 0x80000000
