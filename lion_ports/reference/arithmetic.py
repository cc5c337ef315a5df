"""Dtypes, rounding and signs: what the reference computes with."""

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

from lion_ports.errors import DtypeError

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Flush = Callable[[Any], Any]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_COMPUTE: dict[np.dtype[Any], type[np.floating[Any]]] = {
    BFLOAT16: np.float32,
    np.dtype(np.float16): np.float32,
    np.dtype(np.float32): np.float32,
    np.dtype(np.float64): np.float64,
    np.dtype(np.complex64): np.float32,
    np.dtype(np.complex128): np.float64,
}


def compute_dtype(dtype: DTypeLike, name: str = "") -> type[np.floating[Any]]:
    """The dtype to compute in: float64 for float64 parameters, else float32 (L-005).

    Raises:
        DtypeError: for integers, booleans and whatever else is not a floating-point parameter;
            the message calls it ``name``.
    """
    try:
        return _COMPUTE[np.dtype(dtype)]
    except (KeyError, TypeError):
        raise DtypeError.of(name, dtype) from None


def widen(array: Array, dtype: DTypeLike) -> Array:
    """Load an array into the compute dtype (L-005)."""
    return array.astype(dtype)


def narrow(array: Array, dtype: DTypeLike) -> Array:
    """Store an array of the compute dtype: one rounding to nearest even (L-008)."""
    if array.dtype == np.float64 and dtype == BFLOAT16:
        array = _round_to_odd(array)  # ml_dtypes goes by way of float32, and would round twice
    return np.asarray(array.astype(dtype))  # NumPy turns 0-d results into scalars


def _round_to_odd(array: Array) -> Array:
    """float64 to the float32 beside it whose last bit is 1: rounding that once more is exact."""
    near = array.astype(np.float32)
    bits = near.view(np.uint32)
    inexact = (near.astype(np.float64) != array) & np.isfinite(array) & (bits & 1 == 0)
    grow = np.abs(array) > np.abs(near.astype(np.float64))
    return np.where(inexact, np.where(grow, bits + 1, bits - 1), bits).view(np.float32)


def sign(c: Array) -> Array:
    """-1, +0 or 1; NaN stays NaN, and both zeros give +0 (L-010)."""
    return np.where(np.isnan(c), c, np.sign(c) + c.dtype.type(0))


def as_reals(array: Array) -> Array:
    """A complex array as pairs of reals along a new last axis (L-014); any other as it is."""
    return np.stack([array.real, array.imag], axis=-1) if np.iscomplexobj(array) else array


def as_complex(array: Array) -> Array:
    """The complex array of pairs of reals."""
    result = np.empty(array.shape[:-1], np.result_type(array.dtype, np.complex64))
    result.real, result.imag = array[..., 0], array[..., 1]
    return result


def kept(array: Any) -> Any:
    """Subnormal numbers as they are (L-012)."""
    return array


def flushing(flush: bool) -> Flush:
    """What each operand and each result goes through: nothing, or L-012's replacement by zero."""
    return _flushed if flush else kept


def _flushed(array: Any) -> Any:
    """Subnormal numbers become zeros of their sign."""
    tiny = np.finfo(array.dtype).smallest_normal
    return np.where(np.abs(array) < tiny, np.copysign(array.dtype.type(0), array), array)
