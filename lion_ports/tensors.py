"""Named arrays as safetensors, in every dtype that a state may have, with their sha256."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from lion_ports.errors import StateError

Array = NDArray[Any]

_DTYPES = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "C64": np.dtype(np.complex64),
    "I8": np.dtype(np.int8),  # momentum and corrections
    "I16": np.dtype(np.int16),
}
# The format has no complex128: such an array is stored as pairs under this mark.
_PAIRS = "#pairs"


def to_bytes(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Arrays and text metadata as a safetensors file, whose header also has their sha256.

    Raises:
        StateError: an array is of a dtype that no state has.
    """
    stored = {}
    for name, array in arrays.items():
        if array.dtype not in (*_DTYPES.values(), np.complex128):
            raise StateError(f"{name} has the dtype {array.dtype}, which no state has")
        if array.dtype == np.complex128:
            name, array = name + _PAIRS, np.stack([array.real, array.imag], axis=-1)
        stored[name] = np.ascontiguousarray(array).reshape(array.shape)
    return save(stored, metadata={**metadata, "sha256": _sha256(stored, metadata)})


def from_bytes(content: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """What :func:`to_bytes` was given.

    Raises:
        StateError: the content is not a safetensors file, has tensors of another dtype, or is not
            what its sha256 says.
    """
    try:
        read = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise StateError(f"it is not a whole safetensors file ({error})") from None
    stored = {}
    for name, tensor in sorted(read, key=lambda named: named[0]):  # they come in any order
        if tensor["dtype"] not in _DTYPES:
            raise StateError(f"its tensor {name!r} has the dtype {tensor['dtype']}, unknown here")
        dtype = _DTYPES[tensor["dtype"]]
        stored[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"]).copy()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    metadata: dict[str, str] = header.get("__metadata__", {})
    if "sha256" not in metadata:
        raise StateError("it is a safetensors file of another program, without a sha256")
    if metadata.pop("sha256") != _sha256(stored, metadata):
        raise StateError("it is damaged: it has not the sha256 that was written with it")
    arrays = {}
    for name, array in stored.items():
        if name.endswith(_PAIRS):
            name, array = name.removesuffix(_PAIRS), array[..., 0] + 1j * array[..., 1]
        arrays[name] = array
    return arrays, metadata


def _sha256(stored: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(stored):
        digest.update(f"{name} {stored[name].dtype} {stored[name].shape}\n".encode())
        digest.update(stored[name].tobytes())
    return digest.hexdigest()
