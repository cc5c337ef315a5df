"""Tensors of the CPU as its kernels see them: their dtypes, and whether there are kernels."""

import warnings
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from lion_ports.torch.arithmetic import PLAIN

# The NumPy dtypes that a kernel knows these by; those of 16 bits stand for their bits.
KINDS: dict[torch.dtype, type[np.generic]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.bfloat16: np.uint16,
    torch.float16: np.int16,
}
LIKE = {dtype: np.empty(0, kind) for dtype, kind in KINDS.items()}
"""An array of each of them."""


def in_plain_memory(t: Tensor) -> bool:
    """Whether the numbers of a tensor are what is in its memory, on the CPU."""
    return t.is_cpu and type(t) in PLAIN and not t.is_neg()


@cache
def has_kernel() -> bool:
    """Whether Numba is there, and works. It is imported when this is asked first."""
    if find_spec("numba") is None:
        return False
    try:
        import lion_ports.torch.cpu_kernel  # noqa: F401
    except (ImportError, OSError, SystemError) as error:  # a library is missing, or made for others
        warnings.warn(f"Lion is slower without numba, which is broken: {error}", stacklevel=2)
        return False
    return True
