"""What the kernels for the CPU are written in: compilation by Numba, memory, and numbers in it.

Numba does not look whether this file is newer than what it kept of the kernels: after a change
here, touch them as well.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

_njit: Any = numba.njit
_carray: Any = numba.carray  # type: ignore[attr-defined]

# Floats of 16 bits come as integers of 16 bits, whose sign tells which floats they are.
BFLOAT16, FLOAT16 = np.uint16, np.int16

_U32, _F32 = np.uint32, np.float32

# Bytes of a parameter that are updated in one go, after those so far ahead of them were asked for.
_PIECE, _AHEAD, _LINE = 512, 2048, 64


def compiled(function: Any, *, inlined: bool = False, nogil: bool = True) -> Any:
    """Compiled at the first call for each mixture of dtypes, and kept for the next process."""
    options = {"nogil": nogil, "error_model": "numpy", "forceinline": inlined}
    try:
        return _njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder to keep it in that can be written to
        return _njit(**options)(function)


@intrinsic
def _pointer_to(typing: Any, address: Any, like: Any) -> Any:
    """An address as a pointer to elements of the dtype of the array ``like``."""
    pointer: Any = types.CPointer(like.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, like), generate


@intrinsic
def _prefetch_of(typing: Any, array: Any, i: Any) -> Any:
    """Have the memory of element ``i`` brought into the cache; there need not be any.

    ``array`` may be None.
    """

    def nothing(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_dummy_value()

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        takes = ir.FunctionType(ir.VoidType(), [byte, integer, integer, integer])
        prefetch = cgutils.get_or_insert_function(builder.module, takes, "llvm.prefetch.p0")
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        line = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        builder.call(prefetch, [line, integer(0), integer(3), integer(1)])  # data, to read soon
        return context.get_dummy_value()

    return types.void(array, i), nothing if array == types.none else generate


_pointer: Any = _pointer_to  # Numba gives these the first argument
prefetch: Any = _prefetch_of


def tensor(addresses: Any, t: Any, start: Any, n: Any, kind: Any) -> Any:
    """``n`` elements of tensor ``t`` from ``start`` on, or None.

    Args:
        addresses: of many tensors, int64; or None.
        t: the number of one of them.
        start: elements of it that come before.
        n: elements.
        kind: an array of its dtype.
    """


def at(array: Any, i: Any) -> Any:
    """An element of an array, or a slice of it; or None, if that is what the array is."""


def widen(value: Any, like: Any) -> Any:
    """A stored number in the compute dtype, which is that of ``like`` (L-005)."""


def narrow(value: Any, like: Any) -> Any:
    """A number of the compute dtype rounded once to the dtype of the array ``like`` (L-008)."""


def _to_odd(value: Any) -> Any:
    """The float32 that rounds to 16 bits as ``value`` does: itself, or the odd one beside it."""


@overload(tensor)
def _tensor_of(addresses: Any, t: Any, start: Any, n: Any, kind: Any) -> Callable[..., Any]:
    def in_memory(addresses: Any, t: Any, start: Any, n: Any, kind: Any) -> Any:
        return _carray(_pointer(addresses[t] + start * kind.itemsize, kind), n)

    def none(addresses: Any, t: Any, start: Any, n: Any, kind: Any) -> Any:
        return None

    return none if addresses == types.none else in_memory


@overload(at)
def _at_of(array: Any, i: Any) -> Callable[..., Any]:
    def item(array: Any, i: Any) -> Any:
        return array[i]

    def none(array: Any, i: Any) -> Any:
        return None

    return none if array == types.none else item


@overload(widen)
def _widen_of(value: Any, like: Any) -> Callable[..., Any]:
    def of_bfloat16(value: Any, like: Any) -> Any:
        return type(like)(_U32(_U32(value) << _U32(16)).view(_F32))

    def of_float16(value: Any, like: Any) -> Any:
        size = _U32(_U32(value) & _U32(0x7FFF))
        small = _F32(_F32(np.int32(size)) * _F32(2.0**-24)).view(_U32)  # if subnormal
        normal = _U32(_U32(size << _U32(13)) + _U32(112 << 23))
        special = _U32(_U32(size << _U32(13)) | _U32(0x7F800000))  # infinity or NaN
        wide = small if size < _U32(0x0400) else (normal if size < _U32(0x7C00) else special)
        sign = _U32(_U32(_U32(value) & _U32(0x8000)) << _U32(16))
        return type(like)(_U32(wide | sign).view(_F32))

    def of_float(value: Any, like: Any) -> Any:
        return type(like)(value)

    return {types.uint16: of_bfloat16, types.int16: of_float16}.get(value, of_float)


@overload(narrow)
def _narrow_to(value: Any, like: Any) -> Callable[..., Any]:
    def to_bfloat16(value: Any, like: Any) -> Any:
        bits = _F32(_to_odd(value)).view(_U32)
        odd = _U32(_U32(bits >> _U32(16)) & _U32(1))
        rounded = _U32(_U32(bits + _U32(0x7FFF)) + odd)
        return BFLOAT16(_U32(rounded >> _U32(16)) if value == value else _U32(0x7FC0))

    def to_float16(value: Any, like: Any) -> Any:
        bits = _F32(_to_odd(value)).view(_U32)
        size = _U32(bits & _U32(0x7FFFFFFF))
        # Subnormal: a sum with 0.5 rounds to multiples of 2**-24.
        small = _U32(_F32(_U32(size).view(_F32) + _F32(0.5)).view(_U32) - _U32(126 << 23))
        odd = _U32(_U32(size >> _U32(13)) & _U32(1))
        normal = _U32(_U32(size + _U32(0xFFF - (112 << 23) + (1 << 32))) + odd)
        half = small if size < _U32(113 << 23) else _U32(normal >> _U32(13))
        half = half if half < _U32(0x7C00) else _U32(0x7C00)
        half = half if value == value else _U32(0x7E00)
        sign = _U32(_U32(bits >> _U32(16)) & _U32(0x8000))
        return FLOAT16(_U32(half | sign))

    def to_float(value: Any, like: Any) -> Any:
        return value

    return {types.uint16: to_bfloat16, types.int16: to_float16}.get(like.dtype, to_float)


@overload(_to_odd)
def _to_odd_of(value: Any) -> Callable[..., Any]:
    def of_float64(value: Any) -> Any:
        near = _F32(value)
        bits = near.view(_U32)
        grows = abs(value) > abs(near)
        shrinks = abs(value) < abs(near) and abs(value) < np.inf
        even = (bits & _U32(1)) == 0
        return _U32(bits + (grows and even) - (shrinks and even)).view(_F32)

    def of_float32(value: Any) -> Any:
        return value

    return of_float64 if value == types.float64 else of_float32


def strides(array: Any) -> Any:
    """Piece, what is ahead, and line, in elements: constants, or no piece would be vectorized."""


@overload(strides)
def _strides_of(array: Any) -> Callable[..., Any]:
    strides = tuple(8 * size // array.dtype.bitwidth for size in (_PIECE, _AHEAD, _LINE))

    def constants(array: Any) -> Any:
        return strides

    return constants
