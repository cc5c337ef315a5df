"""Sums over whole tensors of the CPU, in one pass over their memory, where Numba is installed.

Tensors are cut into chunks, whatever the number of threads, so that a sum does not depend on it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.torch.column import Column
from lion_ports.torch.cpu_table import KINDS, LIKE
from lion_ports.torch.threads import in_blocks

# Elements that are summed by one thread, which keeps their sum to itself.
_CHUNK = 1 << 14


def squared_norms(gs: Sequence[Tensor], unscale: float | None, dtype: torch.dtype) -> NDArray[Any]:
    """The sum of squares of each gradient (L-027).

    Args:
        gs: contiguous, in plain memory, and of one dtype.
        unscale: what they are multiplied by before (L-024, L-025), or None.
        dtype: to compute in, and of the result, which has an element for each gradient.
    """
    from lion_ports.torch import cpu_sums_kernel

    compute = KINDS[dtype]
    with np.errstate(over="ignore"):
        factor = None if unscale is None else compute(unscale)
    gs = Column.of(gs)
    starts = gs.starts
    counts = -(-np.diff(starts) // _CHUNK)  # of chunks
    owners = np.repeat(np.arange(len(gs)), counts)
    places = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = starts[owners] + places * _CHUNK
    sums = np.empty(len(owners))
    work = partial(
        cpu_sums_kernel.sum_squares,
        (gs.addresses, starts, owners, begins),
        (LIKE[gs[0].dtype], LIKE[dtype]),
        factor,
        sums,
    )
    in_blocks(work, int(starts[-1]))
    with np.errstate(over="ignore"):
        return np.bincount(owners, sums, len(gs)).astype(compute)


def clip_factors(squared: NDArray[Any], bound: float) -> NDArray[Any]:
    """What brings each norm within ``bound``, from their squares; 1 where it is (L-027).

    Not by operations of torch, which would wake its threads for thousands of norms.
    """
    rounded = squared.dtype.type(min(bound, float(np.finfo(squared.dtype).max)))
    with np.errstate(invalid="ignore"):  # of a bound that is rounded to nothing
        factors: NDArray[Any] = rounded / np.maximum(np.sqrt(squared), rounded)
    return factors


def count_agreeing(
    count: Callable[[NDArray[np.int64], int, int], None], tensors: int, elements: int, grain: int
) -> NDArray[np.int64]:
    """By tensor, the elements whose direction the gradient agrees with (L-022).

    Args:
        count: adds to an array, by tensor, those from one element, or block, to another.
        tensors: how many.
        elements: how many, or blocks, in all.
        grain: of them, as for :func:`lion_ports.torch.threads.in_blocks`.
    """
    counts: list[NDArray[np.int64]] = []

    def count_own(first: int, last: int) -> None:
        own = np.zeros(tensors, np.int64)
        count(own, first, last)
        counts.append(own)

    in_blocks(count_own, elements, grain=grain)
    total: NDArray[np.int64] = np.sum(counts, axis=0)
    return total


def cautious_scales(
    agreeing: NDArray[np.int64], sizes: NDArray[np.int64], compute: Any, cap: float
) -> NDArray[Any]:
    """What each direction is multiplied by in the compute dtype, at most ``cap`` (L-022)."""
    with np.errstate(over="ignore"):
        bound = compute(cap)
    total = agreeing + np.int64(1)
    scales: NDArray[Any] = np.minimum(sizes.astype(compute) / total.astype(compute), bound)
    return scales
