"""Initial weights: one NumPy initialiser for the three frameworks.

Each tensor has a Philox stream of its own, keyed by the seed and its canonical name, so that a
new tensor shifts no other. The distribution is uniform, because that is exact: the bits of a
Philox stream are fixed by its specification, while normal deviates go through ``log`` and
``cos``, whose last bits differ between machines.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports.trainers.architecture import Architecture


def initial_parameters(architecture: Architecture, seed: int) -> dict[str, NDArray[np.float32]]:
    """Canonical name -> float32 weights.

    Norm gains are 1. Matrices are uniform with standard deviation ``1 / sqrt(columns)``, divided
    by ``sqrt(2 * layers)`` where they write into the residual stream. The embedding follows the
    same rule: it is the output matrix as well, and Lion's steps have one size for all entries,
    so that an embedding of standard deviation 0.02 beside matrices of 0.1 learns half as fast.
    """
    parameters = {}
    for name, shape in architecture.shapes().items():
        if len(shape) == 1:
            parameters[name] = np.ones(shape, np.float32)
            continue
        std = 1 / math.sqrt(shape[1])
        if name.endswith(("out.weight", "down.weight")):
            std /= math.sqrt(2 * architecture.layers)
        parameters[name] = _uniform(f"{seed}/{name}", shape, std)
    return parameters


def digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """sha256 over the names, dtypes, shapes and bytes of the tensors, sorted by name."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        total.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        total.update(tensor.tobytes())
    return total.hexdigest()


def _uniform(stream: str, shape: tuple[int, ...], std: float) -> NDArray[np.float32]:
    """Zero mean, ``std``: 53 random bits a number, scaled to [-1, 1) times ``sqrt(3) * std``."""
    key = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(math.prod(shape))
    unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    return (unit * (math.sqrt(3) * std)).astype(np.float32).reshape(shape)
