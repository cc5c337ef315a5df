"""Arrays as JSON: dtype, shape, and the bytes in hexadecimal."""

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports.conformance.bits import DTYPES


class WireError(ValueError):
    """JSON that is no array."""


def encode(array: NDArray[Any]) -> dict[str, Any]:
    """An array as JSON: C order, each element little-endian, two hexadecimal digits a byte.

    >>> encode(np.array([1.0, -2.0], np.float32))
    {'dtype': 'float32', 'shape': [2], 'hex': '0000803f000000c0'}
    """
    content = _little_endian(array).tobytes(order="C")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "hex": content.hex()}


def decode(given: Any) -> NDArray[Any]:
    """The array that ``encode`` would give so.

    Raises:
        WireError: a field is missing or wrong, or there are more bytes or fewer than that.

    >>> decode({"dtype": "float32", "shape": [2], "hex": "0000803f000000c0"})
    array([ 1., -2.], dtype=float32)
    """
    if not isinstance(given, dict) or not {"dtype", "shape", "hex"} <= given.keys():
        raise WireError("an array is an object with dtype, shape and hex")
    if given["dtype"] not in DTYPES:
        raise WireError(f"dtype {given['dtype']!r} is not one of {', '.join(DTYPES)}")
    shape, dtype = given["shape"], DTYPES[given["dtype"]]
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise WireError(f"shape {shape!r} is not a list of whole numbers")
    try:
        content = bytes.fromhex(given["hex"])
    except (TypeError, ValueError) as error:
        raise WireError("hex is not a string of hexadecimal digits, two for a byte") from error
    if len(content) != (due := math.prod(shape) * dtype.itemsize):
        raise WireError(f"{given['dtype']}{shape} takes {due} bytes, and {len(content)} came")
    array = np.frombuffer(bytearray(content), dtype)  # a copy, that can be written to
    return _little_endian(array).reshape(shape)


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """To and from the order of the wire."""
    return array.byteswap() if sys.byteorder == "big" else array
