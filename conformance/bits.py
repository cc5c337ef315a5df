"""Bit patterns of floating-point arrays: equality, distance in ulp, hexadecimal."""

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name) for name in ("float16", "float32", "float64", "complex64", "complex128")
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
"""The dtypes that a parameter may have, by name."""


def reals(array: Array) -> Array:
    """A complex array as an array of reals with a last axis of 2; any other array as it is."""
    if array.dtype.kind != "c":
        return array
    return np.stack([array.real, array.imag], axis=-1)


def same(a: Array, b: Array) -> Array:
    """Where two real arrays of one dtype have equal bits, any NaN being equal to any other.

    IEEE 754 leaves the sign and the payload of a NaN open, and they differ from processor to
    processor, so the specification does not fix them (L-010).
    """
    return np.asarray((_integers(a) == _integers(b)) | (np.isnan(a) & np.isnan(b)))


def ulps(a: Array, b: Array) -> int:
    """The largest distance, counted in representable numbers; non-finite pairs count if unequal."""
    if a.size == 0:
        return 0
    distance = np.abs(_ordered(a).astype(object) - _ordered(b).astype(object))
    distance[(np.isnan(a) & np.isnan(b)) | (a == b)] = 0
    return int(distance.max())


def hexadecimal(value: Any) -> str:
    """A scalar as a hexadecimal float, exact for every dtype."""
    return float(value).hex()


def _integers(a: Array) -> Array:
    return a.view(f"i{a.dtype.itemsize}")


def _ordered(a: Array) -> Array:
    """Integers in the order of the numbers, neighbours one apart, both zeros at 0."""
    bits = np.ascontiguousarray(a).view(f"i{a.dtype.itemsize}").astype(np.int64)
    magnitude = bits & np.int64(2 ** (8 * a.dtype.itemsize - 1) - 1)
    return np.where(bits < 0, -magnitude, magnitude)
