"""What torch tells other libraries of its tensors, by the C functions of DLPack.

They are called by code that Numba compiles, which takes a tenth of the time that Python takes to
ask for the same. https://dmlc.github.io/dlpack/latest/python_spec.html
"""

import ctypes
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.torch.cpu_numbers import compiled, tensor

# ``DLTensor`` of dlpack.h as integers of 64 bits and, where it has smaller ones, of 32.
_FIELDS = _DATA, _DEVICE, _, _SIZES, _STRIDES, _OFFSET = range(6)
_NDIM, _DTYPE = 4, 5
_INTEGERS = np.empty(0, np.int64)

# Objects of Python are looked at while no other thread can change them.
_keeping_others_out = partial(compiled, nogil=False)


class Description(NamedTuple):
    """What DLPack says of some tensors, valid as long as they are there and have their shapes.

    Args:
        table: for each a row of int64, its ``DLTensor``.
        starts: the number of elements before each, and in all of them.
        alike: whether all are contiguous, and of one dtype and one device.
    """

    table: NDArray[np.int64]
    starts: NDArray[np.int64]
    alike: bool

    @property
    def addresses(self) -> NDArray[np.int64]:
        """Where each tensor begins; 0 if it has no memory, or no elements."""
        return self.table[:, _DATA] + self.table[:, _OFFSET]

    def same_devices(self, other: "Description") -> bool:
        """Whether each is on the device of the one beside it."""
        return bool((self.table[:, _DEVICE] == other.table[:, _DEVICE]).all())

    def same_shapes(self, other: "Description") -> bool:
        """Whether each has the shape of the one beside it."""
        tables = self.table, other.table
        return bool(_same_shapes(*tables, *(table.view(np.int32) for table in tables)))


def described(tensors: Sequence[Tensor]) -> Description | None:
    """The description of tensors of torch's own classes, or None if one has none, being sparse."""
    function = _function()
    if function is None:
        return None
    objects = np.fromiter(tensors, np.object_, len(tensors))
    table = np.empty((len(tensors), len(_FIELDS)), np.int64)
    starts = np.zeros(len(tensors) + 1, np.int64)
    place = objects.__array_interface__["data"][0]
    done, alike = _describe(function, place, table, table.view(np.int32), starts)
    return Description(table, starts, alike) if done else None


class _ExchangeAPI(ctypes.Structure):
    """The beginning of ``DLPackExchangeAPI`` of dlpack.h."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("older", ctypes.c_void_p),
        ("allocator", ctypes.c_void_p),
        ("managed_tensor_from_py_object", ctypes.c_void_p),
        ("managed_tensor_to_py_object", ctypes.c_void_p),
        ("tensor_from_py_object", ctypes.c_void_p),
    )


@cache
def _function() -> int | None:
    """The address of torch's ``DLPackDLTensorFromPyObjectNoSync``; None if it is not known here."""
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    capsule = Tensor.__dlpack_c_exchange_api__
    api = _ExchangeAPI.from_address(pointer_of(capsule, b"dlpack_exchange_api"))
    # Another major version may have other structures.
    return api.tensor_from_py_object if api.major == 1 else None


@intrinsic
def _describe_into(typing: Any, function: Any, tensor: Any, out: Any) -> Any:
    """Have the ``DLTensor`` at an address filled in; False, without an exception, if it is not.

    All three are addresses.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, integer = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = ir.FunctionType(integer, [byte, byte]).as_pointer()
        callee, *pointers = map(builder.inttoptr, arguments, (function, byte, byte))
        done = builder.icmp_signed("==", builder.call(callee, pointers), integer(0))
        with builder.if_then(builder.not_(done), likely=False):
            context.get_python_api(builder).err_clear()
        return done

    return types.boolean(types.int64, types.int64, types.int64), generate


_into: Any = _describe_into  # Numba gives it the first argument


@_keeping_others_out
def _describe(function: Any, objects: Any, table: Any, halves: Any, starts: Any) -> Any:
    addresses = tensor((objects,), 0, 0, len(table), _INTEGERS)
    alike = True
    for i in range(len(table)):
        if not _into(function, addresses[i], table[i].ctypes.data):
            return False, False
        n = halves[i, _NDIM]
        sizes = tensor(table[i], _SIZES, 0, n, _INTEGERS)
        strides = tensor(table[i], _STRIDES, 0, n, _INTEGERS)
        count, contiguous = 1, True
        for k in range(n - 1, -1, -1):
            contiguous &= sizes[k] == 1 or strides[k] == count
            count *= sizes[k]
        starts[i + 1] = starts[i] + count
        one_kind = halves[i, _DTYPE] == halves[0, _DTYPE] and table[i, _DEVICE] == table[0, _DEVICE]
        alike &= one_kind and (contiguous or count == 0)
    return True, alike


@_keeping_others_out
def _same_shapes(table: Any, other: Any, halves: Any, other_halves: Any) -> Any:
    for i in range(len(table)):
        n = halves[i, _NDIM]
        if other_halves[i, _NDIM] != n:
            return False
        sizes = tensor(table[i], _SIZES, 0, n, _INTEGERS)
        others = tensor(other[i], _SIZES, 0, n, _INTEGERS)
        for k in range(n):
            if sizes[k] != others[k]:
                return False
    return True
