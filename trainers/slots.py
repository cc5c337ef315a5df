"""What an optimizer keeps beside each parameter: under which names, and in which dtypes."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from lion_ports.trainers.architecture import check_tensors
from lion_ports.trainers.engine import EngineSettings, Tensors
from lion_ports.trainers.errors import DataError

ADAMW_PREFIXES = ("exp_avg.", "exp_avg_sq.")
"""AdamW's first and second moment are stored under these and the canonical name."""

MOMENTUM, SCALE, CORRECTION = "", "momentum_scale.", "correction."
"""And Lion's momentum, the scales of an int8 momentum (L-031), and the corrections (L-032)."""

DTYPES = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
}

_BLOCK = 128  # elements of a momentum that share a scale
_LEAST_SCALE = 2.0**-111


class Slot(NamedTuple):
    """One tensor of the optimizer's state."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def slots(settings: EngineSettings) -> dict[str, dict[str, Slot]]:
    """Prefix -> canonical name -> what the optimizer keeps there."""
    shapes = settings.architecture.shapes()

    def like_parameters(dtype: str) -> dict[str, Slot]:
        return {name: Slot(shape, DTYPES[dtype]) for name, shape in shapes.items()}

    if settings.optimizer == "adamw":
        return {prefix: like_parameters(settings.dtype) for prefix in ADAMW_PREFIXES}
    kept = {MOMENTUM: like_parameters(settings.momentum_dtype or settings.dtype)}
    if settings.momentum_dtype == "int8":
        kept[SCALE] = {
            name: Slot((-(-math.prod(shape) // _BLOCK),), DTYPES["bfloat16"])
            for name, shape in shapes.items()
        }
    if settings.correction_bits:
        kept[CORRECTION] = like_parameters(f"int{settings.correction_bits}")
    return kept


def stored(kept: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Prefix -> canonical name -> anything, as one mapping under the names of a checkpoint."""
    return {prefix + name: one for prefix, named in kept.items() for name, one in named.items()}


def fresh(settings: EngineSettings) -> Tensors:
    """The state before the first update (L-002), under the names of a checkpoint."""
    return {
        prefix + name: np.full(slot.shape, _LEAST_SCALE if prefix == SCALE else 0, slot.dtype)
        for prefix, named in slots(settings).items()
        for name, slot in named.items()
    }


def loaded(tensors: Tensors, settings: EngineSettings) -> dict[str, Tensors]:
    """Prefix -> canonical name -> array in the dtype that the optimizer keeps, of a checkpoint.

    Raises:
        DataError: as :func:`check_state`.
    """
    check_state(tensors, settings)
    return {
        prefix: {n: tensors[prefix + n].astype(slot.dtype) for n, slot in named.items()}
        for prefix, named in slots(settings).items()
    }


def check_state(tensors: Tensors, settings: EngineSettings) -> None:
    """Compare names, shapes and kinds of dtypes with what the optimizer keeps.

    Raises:
        DataError: naming the first tensor that is missing, unknown, of another shape, or an integer
            where a float belongs, or the reverse: no cast would make the one from the other.
    """
    expected = stored(slots(settings))
    check_tensors(tensors, {name: slot.shape for name, slot in expected.items()})
    check_dtypes(tensors, {name: slot.dtype for name, slot in expected.items()})


def check_dtypes(tensors: Tensors, dtypes: Mapping[str, np.dtype[Any]]) -> None:
    """Raise a DataError unless each tensor has its dtype, or both are floats."""
    for name, dtype in dtypes.items():
        found = tensors[name].dtype
        if found != dtype and not (_is_float(found) and _is_float(dtype)):
            raise DataError(f"the tensor {name!r} is {found}; these settings need {dtype}")


def state_bytes(settings: EngineSettings) -> int:
    """What the optimizer keeps, in bytes."""
    kept = stored(slots(settings)).values()
    return sum(math.prod(slot.shape) * slot.dtype.itemsize for slot in kept)


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype in (DTYPES["float32"], DTYPES["bfloat16"])
