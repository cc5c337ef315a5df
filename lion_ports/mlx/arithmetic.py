"""Dtypes, rounding and signs on MLX arrays."""

import mlx.core as mx

from lion_ports.errors import DtypeError

_COMPUTE = {
    mx.bfloat16: mx.float32,
    mx.float16: mx.float32,
    mx.float32: mx.float32,
    mx.float64: mx.float64,
    mx.complex64: mx.float32,
}

# Elements that are added up one after another before their sum is added to others.
_BLOCK = 4096


def compute_dtype(dtype: mx.Dtype, name: str = "") -> mx.Dtype:
    """The dtype to compute in: float64 for float64 parameters, else float32 (L-005).

    Raises:
        DtypeError: for integers, booleans and whatever else is not a floating-point parameter;
            the message calls it ``name``.
    """
    try:
        return _COMPUTE[dtype]
    except KeyError:
        raise DtypeError.of(name, dtype) from None


def widen(array: mx.array, dtype: mx.Dtype) -> mx.array:
    """Load an array into the compute dtype (L-005)."""
    return array.astype(dtype)


def narrow(array: mx.array, dtype: mx.Dtype) -> mx.array:
    """Store an array of the compute dtype: one rounding to nearest even (L-008)."""
    if array.dtype == mx.float64 and dtype == mx.bfloat16:
        array = _round_to_odd(array)  # MLX goes by way of float32, and would round twice
    return array.astype(dtype)


def _round_to_odd(array: mx.array) -> mx.array:
    """float64 to the float32 beside it whose last bit is 1: rounding that once more is exact."""
    near = array.astype(mx.float32)
    bits = near.view(mx.int32)
    inexact = (near.astype(mx.float64) != array) & mx.isfinite(array) & (bits & 1 == 0)
    grow = mx.abs(array) > mx.abs(near.astype(mx.float64))
    return mx.where(inexact, mx.where(grow, bits + 1, bits - 1), bits).view(mx.float32)


def sign(c: mx.array) -> mx.array:
    """-1, +0 or 1; NaN stays NaN, which ``mx.sign`` would turn into 0 (L-010)."""
    return mx.where(mx.isnan(c), c, mx.sign(c))


def as_reals(array: mx.array) -> mx.array:
    """A complex array as pairs of reals along a new last axis (L-014); any other as it is."""
    return array[..., None].view(mx.float32) if array.dtype == mx.complex64 else array


def as_complex(array: mx.array) -> mx.array:
    """The complex array of pairs of reals."""
    return array.view(mx.complex64).squeeze(-1)


def as_stored(array: mx.array, like: mx.array) -> mx.array:
    """What ``as_reals`` made, complex again if ``like`` is."""
    return as_complex(array) if like.dtype == mx.complex64 else array


def total(array: mx.array) -> mx.array:
    """The sum of all elements in their dtype, formed in blocks.

    ``mx.sum`` on the CPU adds long vectors one element after another: 2**25 float32 ones come to
    2**24.
    """
    while array.ndim:
        array = _row_sums(array)
    return array


def _row_sums(array: mx.array) -> mx.array:
    *rows, length = array.shape
    while length > _BLOCK:
        blocks, rest = divmod(length, _BLOCK)
        whole, tail = mx.split(array, [length - rest], axis=-1)
        sums = whole.reshape(*rows, blocks, _BLOCK).sum(-1)
        array = mx.concatenate([sums, tail.sum(-1, keepdims=True)], axis=-1)
        length = blocks + 1
    return array.sum(-1)


def count(mask: mx.array) -> mx.array:
    """How many are true, as an int64."""
    # MLX counts in int32, which holds the length of any one dimension.
    return total((mask.sum(-1) if mask.ndim else mask).astype(mx.int64))


def select(condition: mx.array | None, new: mx.array, old: mx.array) -> mx.array:
    """``new`` where the condition holds; None holds always, and costs nothing."""
    return new if condition is None else mx.where(condition, new, old)
